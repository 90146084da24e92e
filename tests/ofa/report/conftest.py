"""Reports made from the few values that a test is about."""

import pytest

from ofa.pipeline.artefacts.report import Report

SUBNET = {"resolution": 16, "depths": [1], "kernels": [3], "expands": [2]}
MEASURED = {"validation_accuracy": 0.5, "test_accuracy": 0.5}
REPORT = {
    "name": "small",
    "date": "2026-11-22",
    "data": {"source": "digits", "images": {"train": 1, "validation": 1, "test": 1}},
    "machine": {},
    "versions": {},
    "predictor": {"kendall_tau": 0.0, "rmse": 0.0},
    "latency_table": {},
}
TARGET = {"subnet": SUBNET, "id": "0", "limits": {}, "predicted": {}, "verified": {}, "model": "model.onnx"}


@pytest.fixture
def report_of():
    """``report_of(values)``: a report of which only these are given, with candidates that need no subnet."""

    def make(values: dict) -> Report:
        targets = {name: TARGET | target for name, target in values["targets"].items()}
        for target in targets.values():
            target["measured"] = MEASURED | target.get("measured", {})
            target["candidates"] = [{"subnet": SUBNET, **one} for one in target.get("candidates", ())]
        return Report.model_validate(REPORT | values | {"targets": targets})

    return make
