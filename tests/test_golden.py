"""Codes, ids, counted costs and features of every preset stay what they were: results of users depend on them.

``python tests/test_golden.py`` writes the file anew, after a change that is meant to change results.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ofa.predictors.accuracy.features import features
from ofa.predictors.costs.cost_table import CostTable
from ofa.supernet import families
from ofa.supernet.space import SearchSpace

GOLDEN = Path(__file__).parent / "golden" / "presets.json"
N_SHOWN, N_HASHED = 6, 500
HEAD = {"num_classes": 10, "in_chans": 3}


def describe(preset: str) -> dict[str, Any]:
    """What must not change of a preset: a few subnets in full, and digests over many."""
    space = SearchSpace.preset(preset)
    ends = np.stack([space.encode(space.smallest), space.encode(space.largest)])
    codes = np.concatenate([ends, space.sample(N_HASHED, np.random.default_rng(0))])
    tables = {
        "macs": CostTable.macs(space, **HEAD),
        "params": CostTable.params(space, **HEAD),
        "flash float32": CostTable.flash(space, **HEAD),
        "flash int8": CostTable.flash(space, **HEAD, bits=8),
        "peak memory float32": CostTable.peak_memory(space, **HEAD),
        "peak memory int8": CostTable.peak_memory(space, **HEAD, bits=8),
    }
    if preset.startswith("mcu"):
        tables["tflm arena"] = CostTable.peak_memory(space, **HEAD, bits=8, planner="tflm")
    costs = {name: np.rint(table.predict(codes)).astype(np.int64) for name, table in tables.items()}
    shown = [
        {
            "code": "".join(map(str, codes[row])),
            "id": space.decode(codes[row]).id,
            **{name: int(values[row]) for name, values in costs.items()},
        }
        for row in range(N_SHOWN)
    ]
    return {
        "size": str(space.size),
        "genes": space.num_genes,
        "subnets": shown,
        "codes": _digest(codes.astype(np.int8)),
        "ids": _digest(np.array([space.decode(code).id for code in codes[:50]])),
        "costs": {name: _digest(values) for name, values in costs.items()},
        "features": _digest(np.rint(1e6 * features(space, codes)).astype(np.int64)),
    }


def _digest(values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:16]


@pytest.mark.parametrize("preset", sorted(families.presets()))
def test_preset_is_what_it_was(preset: str) -> None:
    assert describe(preset) == json.loads(GOLDEN.read_text(encoding="utf-8"))[preset]


if __name__ == "__main__":
    described = {name: describe(name) for name in sorted(families.presets())}
    GOLDEN.write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")
