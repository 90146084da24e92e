"""Published subnets of Once-for-All's supernet: a CSV file with accuracies, and HELP's latencies as NPZ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ofa.predictors.benchmarks.benchmark import Benchmark
from ofa.predictors.benchmarks.csv_rows import accuracies_of, costs_of, read_rows
from ofa.supernet.space import SearchSpace, Subnet

SPACE = "ofa_mbv3"
LISTS = ("depths", "kernels", "expands")


def read_csv(path: Path) -> Benchmark:
    """Columns ``resolution``, ``depths``, ``kernels``, ``expands`` (numbers joined by ``-``), accuracies and costs.

    Raises ``ValueError`` naming file and line of a network that is not of the space.
    """
    rows = read_rows(path)
    choices = []
    for number, row in enumerate(rows, start=2):
        try:
            choices.append([int(row["resolution"]), *([int(part) for part in row[key].split("-")] for key in LISTS)])
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from error
    accuracies = accuracies_of(path, rows, dataset="imagenet")
    if not accuracies:
        raise ValueError(f"{path} has no column of accuracies, such as top1, among {', '.join(rows[0])}")
    costs, units = costs_of(path, rows)
    return _benchmark(path, "Once-for-All", choices, accuracies, costs, units)


def read_npz(path: Path) -> Benchmark:
    """Latencies on each device, such as ``v100_64``, in ms; there are no accuracies.

    Raises ``ValueError`` naming the file when arrays are missing, of other lengths or pickled.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        choices = [arrays.pop(name).tolist() for name in ("resolution", *LISTS)]
        devices = {name: np.asarray(values, float) for name, values in arrays.items()}
        if {len(values) for values in (*choices, *devices.values())} != {len(choices[0])}:
            raise ValueError("its arrays have different lengths")
    except Exception as error:  # zipfile and numpy raise many kinds for a file that is cut short
        raise ValueError(f"{path} is damaged, or no table of latencies: {error}; download it again") from error
    units = dict.fromkeys(devices, "ms")
    return _benchmark(path, "HELP", list(zip(*choices, strict=True)), {}, devices, units)


def _benchmark(
    path: Path,
    name: str,
    choices: Sequence[Sequence[Any]],
    accuracies: dict[str, np.ndarray],
    costs: dict[str, np.ndarray],
    units: dict[str, str],
) -> Benchmark:
    # What the file has of the preset's resolutions: of others its rows say nothing.
    preset = SearchSpace.preset(SPACE)
    resolutions = sorted({resolution for resolution, *_ in choices} & set(preset.resolutions))
    space = SearchSpace.from_dict({**preset.to_dict(), "resolutions": resolutions}) if resolutions else preset
    codes = np.empty((len(choices), space.num_genes), np.int8)
    for row, (resolution, *lists) in enumerate(choices):
        try:
            codes[row] = space.encode(Subnet(resolution, *map(tuple, lists)))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}, network {row}: {error}") from error
    return Benchmark(name=name, space=space, codes=codes, accuracies=accuracies, known_costs=costs, units=units)
