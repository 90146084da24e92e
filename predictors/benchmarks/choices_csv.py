"""CSV files with a network a row and a choice a column: Accel-NASBench, and tables of macro spaces.

Columns are told apart by their names (``csv_rows``). A column of words is a choice for each part of a word: words of
one length over few letters, such as ``02012100``, or of as many numbers each, such as NATS-Bench's sizes
``8:16:24:32:40``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ofa.predictors.benchmarks.benchmark import Benchmark
from ofa.predictors.benchmarks.csv_rows import accuracies_of, choices_of, costs_of, read_rows
from ofa.supernet.categorical import CategoricalSpace
from ofa.supernet.genome import DTYPE, MAX_OPTIONS

MAX_LETTERS = 10  # of a word that is a network
_PARTS = re.compile(r"[:-]")
# A column that tells a published file: its name, the data set, and the units of its costs.
_PUBLISHED = {"block0_se": ("Accel-NASBench", "imagenet", {"macs": "M", "params": "M"})}


def read(path: Path) -> Benchmark:
    """A gene for each column of choices; its options are the values in the file, in ascending order.

    Raises ``ValueError`` naming the file when no column is an accuracy or a choice, or a network is there twice.
    """
    rows = read_rows(path)
    name, dataset, known_units = next(
        (facts for column, facts in _PUBLISHED.items() if column in rows[0]), (path.stem, "", {})
    )
    accuracies = accuracies_of(path, rows, dataset=dataset)
    columns = {column: [row[column] for row in rows] for column in choices_of(rows)}
    columns = {part: values for column in columns.items() for part, values in _parts(*column)}
    varied = {column: values for column, values in columns.items() if 1 < len(set(values)) <= MAX_OPTIONS}
    if not accuracies or not varied:
        raise ValueError(
            f"{path} is no table of networks: its columns are {', '.join(rows[0])}; name accuracies such as "
            "cifar10_test_acc, costs such as latency_pixel4, and have a column for each choice"
        )
    costs, units = costs_of(path, rows)
    space, codes = choices(list(varied), list(varied.values()))
    units = {**units, **{cost: unit for cost, unit in known_units.items() if cost in costs}}
    return Benchmark(name=name, space=space, codes=codes, accuracies=accuracies, known_costs=costs, units=units)


def choices(names: Sequence[str], columns: Sequence[Sequence[str]]) -> tuple[CategoricalSpace, np.ndarray]:
    """The space of some columns of values, and the code of each row ``(n, genes)``.

    Columns whose names differ in numbers alone, with equal options, are genes of one role.
    """
    options = [sorted(set(values), key=_in_order) for values in columns]
    roles = [
        f"{re.sub(r'[0-9]+', '', name).strip('_')} of {', '.join(of_column)}"
        for name, of_column in zip(names, options, strict=True)
    ]
    places = [{value: place for place, value in enumerate(of_column)} for of_column in options]
    codes = [[place[value] for value in values] for place, values in zip(places, columns, strict=True)]
    return CategoricalSpace([len(values) for values in options], roles=roles), np.array(codes, DTYPE).T


def _parts(name: str, values: list[str]) -> list[tuple[str, list[str]]]:
    """A column of words as a column for each part; another column as it is."""
    if len(set(values)) <= MAX_OPTIONS or values == [str(row) for row in range(len(values))]:
        return [(name, values)]
    for words in ([_PARTS.split(value) for value in values], [list(value) for value in values]):
        lengths, parts = {len(word) for word in words}, {part for word in words for part in word}
        if (
            len(lengths) == 1
            and lengths != {1}
            and len(parts) <= (MAX_LETTERS if max(map(len, parts)) == 1 else MAX_OPTIONS)
        ):
            return [(f"{name}_{place}", list(of_place)) for place, of_place in enumerate(zip(*words, strict=True))]
    return [(name, values)]


def _in_order(value: str) -> tuple[bool, float, str]:
    try:
        return False, float(value), value
    except ValueError:
        return True, 0.0, value
