"""Two targets with one network: the report says so, and the reason is the true one."""

import copy

import pytest

from ofa.pipeline.artefacts.report import Report
from ofa.report.shared import shared_notes


def candidate(name, latency, accuracy=None, *, chosen=False):
    measured = {"latency": latency} | ({} if accuracy is None else {"accuracy": accuracy})
    predicted = {"latency": latency, "macs": 1e6 * latency}
    return {"id": name, "predicted": predicted, "measured": measured, "chosen": chosen}


def target(limits, *candidates, runtime="onnxruntime"):
    chosen = next(one for one in candidates if one["chosen"])
    table = {"runtime": runtime, "bits": 32, "threads": 1}
    return {"id": chosen["id"], "limits": limits, "candidates": list(candidates), "latency_table": table}


SMALL, SLOW = candidate("a", 0.05, 0.98, chosen=True), candidate("b", 0.07, 0.97)
OTHER = candidate("q", 0.05, 0.99, chosen=True)
SLOWER, FAST, OVER = candidate("c", 0.075, 0.98), candidate("d", 0.03, 0.9), candidate("e", 0.09)


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (
            {
                "server": target({"latency": 0.08}, SMALL, SLOW, SLOWER, OVER),
                "phone": target({"latency": 0.052}, SMALL, FAST),
            },
            "server and phone share network a: the best measured inside the limit of server also meets "
            "that of phone (<= 0.052 ms), and 2 measured networks that need more were not better.",
        ),
        (
            {"phone": target({"latency": 0.052}, SMALL), "server": target({"latency": 0.08}, SMALL, FAST)},
            "phone and server share network a: the best measured inside the limit of server also meets "
            "that of phone (<= 0.052 ms), and search proposed none that needs more.",
        ),
        (
            {name: target({"latency": limit}, SMALL, SLOW) for name, limit in (("x", 0.1), ("y", 0.06), ("z", 0.08))},
            "x, y and z share network a: the best measured inside the limit of x also meets that of y "
            "(<= 0.060 ms), and the one measured network that needs more was not better.",
        ),
        (
            {name: target({"latency": 0.06}, SMALL, SLOW) for name in ("x", "y")},
            "x and y share network a: their limits are equal.",
        ),
        (
            {"x": target({"latency": 0.06}, SMALL), "y": target({"macs": 4e4}, SMALL)},
            "x and y share network a: nothing that was measured for y was inside its limits, and this was the nearest.",
        ),
        (
            {"x": target({"latency": 0.06}, SMALL), "y": target({"macs": 1e6}, SMALL)},
            "x and y share network a: it was the best of those that measured inside each one's limits.",
        ),
        (
            {"x": target({"latency": 0.06}, SMALL), "y": target({"latency": 0.07}, SMALL, runtime="litert")},
            "x and y share network a: it was the best of those that measured inside each one's limits.",
        ),
        (
            {"x": target({"latency": 0.08}, SMALL, SLOW), "y": target({"latency": 0.06, "macs": 1e5}, SMALL)},
            "x and y share network a: the best measured inside the limit of x also meets that of y "
            "(<= 0.060 ms, <= 100 k macs), and the one measured network that needs more was not better.",
        ),
        ({"x": target({"latency": 0.06}, SMALL), "y": target({"latency": 0.06}, OTHER)}, None),
    ],
)
def test_the_reason_is_the_true_one(report_of, targets, words):
    assert shared_notes(report_of({"targets": targets})) == ([] if words is None else [words])


def test_a_run_s_report_says_it(finished):
    values = Report.load(finished.folder).to_dict()
    assert shared_notes(Report.model_validate(values)) == []
    values["targets"]["twin"] = copy.deepcopy(values["targets"]["phone"])
    (note,) = shared_notes(Report.model_validate(values))
    assert note.startswith("phone and twin share network ") and note.endswith("their limits are equal.")
    for one in values["targets"].values():
        del one["candidates"]  # a report of an older version
    assert len(shared_notes(Report.model_validate(values))) == 1
