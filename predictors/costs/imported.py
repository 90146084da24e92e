"""Costs that were measured elsewhere: the published OFA look-up tables, and CSV files of whole networks."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ofa.predictors.costs.counts import at_each_side, fold_blocks
from ofa.predictors.costs.part_genes import distinct, every_choice, parts_of
from ofa.predictors.costs.regression import fit_costs
from ofa.predictors.costs.resolutions import along_area
from ofa.predictors.costs.table import Table
from ofa.predictors.metrics import cost_quality
from ofa.predictors.plain_yaml import PlainLoader
from ofa.supernet.families.operators import operators_of_family
from ofa.supernet.operators import Operator, Operators, Shape
from ofa.supernet.space import TEXT_FIELDS, SearchSpace, Subnet

_MAX_CHARACTERS = 10_000_000


def published_table(
    space: SearchSpace,
    paths: Iterable[Path],
    *,
    num_classes: int = 1000,
    in_chans: int = 3,
    extrapolate: bool = False,
) -> Table:
    """Latency in ms from the look-up tables of "Once-for-All", one YAML file a resolution.

    An entry is an operator's name and shapes (``Conv-input:160x160x3-output:80x80x24``) with ``mean``,
    ``std`` and ``count``. Between the files' resolutions costs are linear in the image's area, and with
    ``extrapolate`` also beyond them.

    Raises ``ValueError`` naming the file and the entry that is missing or wrong (of a network of another
    width, for example), or the resolutions outside those of the files.
    """
    # One table for each resolution, which together must cover the space.
    files = sorted((_LookUpTable(Path(path), in_chans=in_chans) for path in paths), key=lambda file: file.resolution)
    if not files:
        raise ValueError("there is no look-up table; pass one YAML file a resolution")
    measured = [file.resolution for file in files]
    if len(set(measured)) < len(measured):
        raise ValueError(f"two look-up tables have one resolution: {measured}; pass one file a resolution")
    low, high = measured[0], measured[-1]
    beyond = [resolution for resolution in space.resolutions if not low <= resolution <= high]
    if beyond and (len(measured) == 1 or not extrapolate):
        raise ValueError(
            f"the look-up tables reach from {low} to {high}, not the resolutions {beyond}; narrow the space"
            + (", or pass extrapolate=True" if len(measured) > 1 else ", or pass the tables of two resolutions")
        )

    # The costs of stem, head and blocks at the files' own resolutions, and then at those of the space.
    family, columns = operators_of_family(space), space.part_columns
    ends = np.empty((len(files), *space.num_options[list(distinct(columns.stem, columns.head))]))
    rows = []
    for number, file in enumerate(files):
        for index, (of_stem, of_head) in every_choice(space, columns.stem, columns.head):
            stem = family.stem(space, in_chans=in_chans, **of_stem)
            head = family.head(space, num_classes=num_classes, **of_head)
            parts = [(stem, file.resolution), (head, space.strided_sizes(file.resolution, of_head)[-1])]
            ends[(number, *index)] = sum(
                file.mean(name) for part, side in parts for name in published_names(part, side)
            )
        single = SearchSpace.from_dict({**space.to_dict(), "resolutions": [file.resolution]})
        rows.append(fold_blocks(single, at_each_side(file.cost)))

    spreads = [entry["std"] / entry["mean"] for file in files for entry in file.entries.values() if "std" in entry]
    info = {
        "source": "published look-up tables",
        "files": [file.path.name for file in files],
        "measured_resolutions": measured,
        "extrapolated_resolutions": beyond,
        "quality": cost_quality(np.zeros(0), np.zeros(0), fit_subnets=0, pairs=False),  # no network to check it on
        "entry_spread": float(np.mean(spreads)) if spreads else None,  # standard deviation over mean
    }
    blocks = [along_area(space, measured, np.concatenate(costs)) for costs in zip(*rows, strict=True)]
    parts = parts_of(space, along_area(space, measured, ends), blocks)
    return Table(space, "latency", "ms", parts, info=info)


class _Loader(PlainLoader):
    """``SafeLoader`` without aliases and long numbers, with which a small file could take all memory and time."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "an alias; write it out", self.peek_event().start_mark)
        return super().compose_node(parent, index)


class _LookUpTable:
    """One file: ``entries`` by name, and the resolution of its first convolution."""

    def __init__(self, path: Path, *, in_chans: int) -> None:
        self.path, text = path, path.read_text(encoding="utf-8", errors="replace")
        self._lines = text.splitlines()
        try:
            if len(text) > _MAX_CHARACTERS:
                raise ValueError(f"{path} has {len(text)} characters; a look-up table has at most {_MAX_CHARACTERS}")
            entries = yaml.load(text, Loader=_Loader)
        except (yaml.YAMLError, RecursionError) as error:
            raise ValueError(f"{path} is no YAML file: {error}") from error
        if not isinstance(entries, dict) or not entries:
            raise ValueError(f"{path} is no look-up table: it must map operators to their mean latency")
        self.entries: dict[str, Any] = entries

        for name, entry in entries.items():
            mean = entry.get("mean") if isinstance(entry, dict) else None
            if not isinstance(mean, int | float) or not math.isfinite(mean) or mean < 0:
                raise ValueError(f"{self._where(name)}: {name} has the mean {mean}; it must be a latency in ms")

        # The image's side is that of the first convolution.
        stems = [str(name) for name in entries if str(name).startswith("Conv-input:")]
        sides = {name.split(":")[1].split("x")[0] for name in stems}
        if len(sides) != 1 or not (side := sides.pop()).isdigit():
            raise ValueError(
                f"{path} must have one first convolution (Conv-input:224x224x{in_chans}...), it has {stems}"
            )
        self.resolution = int(side)

    def mean(self, name: str) -> float:
        """The mean latency of an entry. Raises ``ValueError`` when there is no such entry."""
        if name in self.entries:
            return float(self.entries[name]["mean"])
        raise ValueError(f"{self.path} has no entry {name}; it was measured on another network than this space's")

    def cost(self, part: Operators, side: int) -> float:
        """The sum of the means of the entries of ``part``."""
        return sum(map(self.mean, published_names(part, side)))

    def _where(self, name: object) -> str:
        lines = (number for number, line in enumerate(self._lines, start=1) if line.startswith(f"{name}:"))
        return f"{self.path}, line {next(lines, '?')}"


def published_names(part: Operators, side: int) -> list[str]:
    """The names in the published tables of the operators of ``part``, whose input is a map of ``side`` x ``side``.

    An inverted residual is one entry: a depthwise convolution, a 1x1 convolution before it, and all that
    follows.
    """
    shapes, kinds = part.shapes(side), [operator.kind for operator in part]
    start = kinds.index("depthwise") if "depthwise" in kinds else len(part)
    if 0 < start < len(part) and part.operators[start - 1].kernel == 1:
        start -= 1

    # Each operator before it is an entry: the first convolution of a stem, all operators of a head.
    names = []
    for step, operator in enumerate(part.operators[:start]):
        input_shape, output_shape = shapes[operator.inputs[0]], shapes[step + 1]
        if operator.kind == "linear":
            names.append(f"Logits-input:{_shape_name(input_shape)}-output:{output_shape.channels}")
        elif operator.kind == "pool":
            names.append(_entry_name("AvgPool2D", input_shape, output_shape))
        elif operator.kernel > 1:
            names.append(_entry_name("Conv", input_shape, output_shape))
        else:
            names.append(_entry_name("Conv_2" if "pool" in kinds[:step] else "Conv_1", input_shape, output_shape))

    if residual := part.operators[start:]:
        input_shape = shapes[residual[0].inputs[0]]
        names.append(_entry_name("expanded_conv", input_shape, shapes[-1]) + _choices_of(residual))
    return names


def _choices_of(residual: Sequence[Operator]) -> str:
    """The end of an inverted residual's name: its expanded channels, kernel, stride and options."""
    depthwise = next(operator for operator in residual if operator.kind == "depthwise")
    kinds = {operator.kind for operator in residual}
    choices = {
        "expand": depthwise.channels,
        "kernel": depthwise.kernel,
        "stride": depthwise.stride,
        "idskip": int("add" in kinds),
        "se": int("mul" in kinds),
        "hs": int(depthwise.act == "hard_swish"),
    }
    return "".join(f"-{name}:{value}" for name, value in choices.items())


def _entry_name(operator: str, input_shape: Shape, output_shape: Shape) -> str:
    return f"{operator}-input:{_shape_name(input_shape)}-output:{_shape_name(output_shape)}"


def _shape_name(shape: Shape) -> str:
    return f"{shape.side}x{shape.side}x{shape.channels}"


def table_from_csv(
    space: SearchSpace, path: Path, *, column: str = "latency", unit: str = "ms", seed: int = 0
) -> Table:
    """A table, named ``column``, that is fitted (``fit_costs``) to whole networks of a CSV file (``read_costs``).

    Raises ``ValueError`` naming file and line.
    """
    codes, costs = read_costs(space, path, column=column)
    info = {"source": "regression on measured networks", "files": [Path(path).name]}
    try:
        return fit_costs(space, codes, costs, name=column, unit=unit, info=info, seed=seed)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_costs(space: SearchSpace, path: Path, *, column: str = "latency") -> tuple[np.ndarray, np.ndarray]:
    """Codes ``(n, genes)`` and costs ``(n,)`` of a CSV file with a network in each row.

    Columns are ``resolution``, one for each list that a subnet of this space has (``depths``, ``kernels``,
    ``widths`` ...: numbers, or names of kinds, joined by ``-``, as in ``accuracy.csv``) and ``column``. Others are
    ignored.
    Raises ``ValueError`` naming file and line for missing columns, a network that is not of this space, or
    a cost that is no positive number.
    """
    choices = list(space.largest.to_dict())
    with Path(path).open(newline="", encoding="utf-8-sig", errors="replace") as file:
        reader = csv.DictReader(file)
        rows = []
        try:
            if missing := [name for name in (*choices, column) if name not in (reader.fieldnames or [])]:
                raise ValueError(f"the columns {', '.join(missing)} are missing; there are {reader.fieldnames}")
            for row in reader:
                rows.append(_parse_row(space, row, choices, column))
        except (ValueError, csv.Error) as error:
            raise ValueError(f"{path}, line {max(reader.line_num, 1)}: {error}") from error
    if not rows:
        raise ValueError(f"{path} has no rows")
    codes, costs = zip(*rows, strict=True)
    return np.stack(codes), np.array(costs)


def _parse_row(
    space: SearchSpace, row: dict[str, str], choices: Sequence[str], column: str
) -> tuple[np.ndarray, float]:
    if None in row or None in row.values():
        raise ValueError("it has another number of columns than the header")
    values = {
        name: tuple(part if name in TEXT_FIELDS else _number(part, name) for part in row[name].split("-"))
        for name in choices
    }
    cost = _number(row[column], column)
    if not (math.isfinite(cost) and cost > 0):
        raise ValueError(f"{column} is {cost}; it must be a positive number, so drop this line or measure it again")
    return space.encode(Subnet(**{**values, "resolution": _number(row["resolution"], "resolution")})), cost


def _number(text: str, name: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{name} has {text!r}, which is no number") from None
