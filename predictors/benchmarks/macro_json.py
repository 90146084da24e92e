"""Macro spaces as JSON: words of one letter a layer, each with its accuracies and counts.

NAS-Bench-Macro (https://arxiv.org/abs/2103.11922): 8 layers of identity, MB3 3x3 or MB6 5x5, each of the 6,561 networks
trained three times. MacroNASBenchmark (https://arxiv.org/abs/2004.08996): 14 such layers, with weights of a supernet.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ofa.predictors.benchmarks.benchmark import Benchmark
from ofa.predictors.benchmarks.choices_csv import choices

_MAX_BYTES = 2**30  # the larger one has 442 MB
_NAMES = {8: "NAS-Bench-Macro", 14: "MacroNASBenchmark"}
# A key of an entry to what it is; of two accuracies on one split the first is taken.
_ACCURACIES = {"mean_acc": "cifar10", "test_acc": "cifar10", "val_acc": "cifar10-val"}
_COUNTS = {"params": ("params", 1.0), "Params": ("params", 1.0), "flops": ("macs", 1.0), "MMACs": ("macs", 1e6)}


def read(path: Path) -> Benchmark:
    """``cifar10`` is the mean test accuracy in percent; what the files call FLOPs are multiply-accumulates.

    Raises ``ValueError`` naming the file when it is cut short or of another format.
    """
    if (size := path.stat().st_size) > _MAX_BYTES:
        raise ValueError(f"{path} has {size} bytes; a table of a macro space has at most {_MAX_BYTES}")
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is cut short or damaged: {error}; download it again") from error
    words = list(entries) if isinstance(entries, dict) else []
    lengths = {len(word) for word in words}
    if len(lengths) != 1 or not all(isinstance(entry, dict) for entry in entries.values()):
        raise ValueError(f"{path} is no table of a macro space: that is JSON of words such as 02012100, one a network")

    # Identity is first, as the letter I or the digit 0.
    letters = sorted(set().union(*words), key=lambda letter: (letter != "I", letter))
    columns = [[str(letters.index(word[layer])) for word in words] for layer in range(lengths.pop())]
    space, codes = choices([f"layer{number}" for number in range(len(columns))], columns)
    first = next(iter(entries.values()))
    accuracies: dict[str, np.ndarray] = {}
    for key, dataset in _ACCURACIES.items():
        if key in first and dataset not in accuracies:
            accuracies[dataset] = _values(path, entries, key)
    if not accuracies:
        raise ValueError(f"{path}: its networks have {', '.join(first)}, and no accuracy that is known by its name")
    accuracies = {name: 100 * values if values.max() <= 1 else values for name, values in accuracies.items()}
    return Benchmark(
        name=_NAMES.get(len(columns), path.stem),
        space=space,
        codes=codes,
        accuracies=accuracies,
        known_costs={
            name: factor * _values(path, entries, key) for key, (name, factor) in _COUNTS.items() if key in first
        },
    )


def _values(path: Path, entries: dict[str, dict[str, Any]], key: str) -> np.ndarray:
    """The number of each network, or the mean of its numbers ``(n,)``."""
    values = np.empty(len(entries))
    for row, (word, entry) in enumerate(entries.items()):
        try:
            values[row] = np.mean(entry[key])
        except (KeyError, TypeError, ValueError):
            raise ValueError(f"{path}: the network {word} has no {key}, as the first one has") from None
    return values
