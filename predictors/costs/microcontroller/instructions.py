"""Instructions of one inference on a Cortex-M, as a table: counted operator by operator, then fitted.

CMSIS-NN's kernels do a fixed number of instructions for each shape, so a count needs no repeats, and a handful of
whole subnets shows all of an operator's loops: ``features`` names them. They are instructions, not cycles or time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import nnls
from tqdm import tqdm

from ofa.export.microcontroller.scratch import MVE_CHANNELS
from ofa.predictors.costs.counts import at_each_side, fold_table, macs_table
from ofa.predictors.costs.table import Table
from ofa.predictors.metrics import cost_quality
from ofa.predictors.sampling import fit_and_test
from ofa.supernet.integers import ceil_div
from ofa.supernet.operators import Operator, Operators, Shape
from ofa.supernet.space import SearchSpace, Subnet
from ofa.supernet.supernet import FAMILIES

Kind = tuple[str, int]


class Work(NamedTuple):
    """One operator's work. ``pixels`` are those that it writes, ``given`` and ``wanted`` channels, ``taps`` the pairs
    of a written pixel and a kernel's place that lies inside the map."""

    kind: str
    kernel: int
    pixels: int
    given: int
    wanted: int
    taps: int = 0


def conv(size: int, given: int, wanted: int, *, kernel: int = 1, stride: int = 1, depthwise: bool = False) -> Work:
    """A convolution, padded by half its kernel, that reads a map of ``size`` x ``size``."""
    out = ceil_div(size, stride)
    rows = sum(0 <= start * stride - kernel // 2 + place < size for start in range(out) for place in range(kernel))
    return Work("depthwise" if depthwise else "conv", kernel, out * out, given, wanted, rows * rows)


def features(work: Work) -> np.ndarray:
    """How often each loop of the operator's kernels runs: what instructions are a sum of."""
    _, kernel, pixels, given, wanted, taps = work
    if work.kind == "depthwise":
        fours, area, left = ceil_div(wanted, 4), kernel * kernel, pixels % 4
        passes = ceil_div(wanted, MVE_CHANNELS)
        sixteens = wanted // MVE_CHANNELS * ceil_div(MVE_CHANNELS, 16) + ceil_div(wanted % MVE_CHANNELS, 16)
        return np.array(
            [
                *(1, pixels, pixels * wanted, pixels * area * wanted, taps, taps * wanted, pixels * area),
                *(taps * sixteens, taps * passes, pixels * area * sixteens, pixels * area * passes),
                *(pixels // 4 * fours, pixels // 4 * fours * area, left * fours, left * fours * area),
            ],
            float,
        )
    if work.kind == "conv" and kernel == 1:
        blocks, left = ceil_div(given, 16), pixels % 4
        return np.array(
            [
                *(1, pixels, wanted, given * wanted, pixels * wanted, pixels * wanted * (given // 16)),
                *(pixels * wanted * (given % 16 // 4), pixels * wanted * (given % 4)),
                *(pixels // 4 * wanted, pixels // 4 * wanted * blocks, left * wanted, left * wanted * blocks),
                *(pixels % 2 * wanted, pixels % 2 * wanted * given),
            ],
            float,
        )
    if work.kind == "conv":
        return np.array([1, pixels, taps, taps * given, pixels * wanted, pixels * wanted * given * kernel**2], float)
    return np.array([1, pixels, wanted, pixels * wanted, given * wanted], float)


class Model(NamedTuple):
    """Instructions per run of each loop, by kind of operator and kernel."""

    weights: dict[Kind, np.ndarray]

    def predict(self, work: Work) -> float:
        """Raises ``ValueError`` for a kind of operator that was in no measured subnet."""
        key = (work.kind, work.kernel)
        if key not in self.weights:
            raise ValueError(f"no {work.kind} with kernel {work.kernel} was counted; measure more subnets")
        return float(features(work) @ self.weights[key])


def fit(counted: Iterable[tuple[Work, int]]) -> Model:
    """Least squared relative error, no loop below zero instructions."""
    groups: dict[Kind, list[tuple[np.ndarray, int]]] = {}
    for work, count in counted:
        groups.setdefault((work.kind, work.kernel), []).append((features(work), count))
    weights = {}
    for key, rows in groups.items():
        x, y = np.array([row for row, _ in rows]), np.array([count for _, count in rows], float)
        scale = np.abs(x / y[:, None]).max(axis=0)
        scale[scale == 0] = 1
        weights[key] = nnls(x / y[:, None] / scale, np.ones(len(y)))[0] / scale
    return Model(weights)


def works(part: Operators, side: int) -> list[Work]:
    """The work of each operator of ``part``, which reads a map of ``side`` x ``side``."""
    shapes = part.shapes(side)
    return [
        _work(operator, shapes[operator.inputs[0]], written) for operator, written in zip(part, shapes[1:], strict=True)
    ]


def _work(operator: Operator, read: Shape, written: Shape) -> Work:
    """Raises ``ValueError`` for a kind of operator that no program has."""
    channels = written.channels
    if operator.kind in ("conv", "depthwise"):
        depthwise = operator.kind == "depthwise"
        return conv(
            read.side, read.channels, channels, kernel=operator.kernel, stride=operator.stride, depthwise=depthwise
        )
    if operator.kind == "add":
        return Work("add", 0, written.positions, 0, channels)
    if operator.kind == "pool":
        return Work("pool", 0, read.positions, 0, channels)
    if operator.kind == "linear":
        return Work("linear", 0, 1, read.channels, channels)
    raise ValueError(f"no instruction count is known for {operator.kind}")


def counted_work(operator: Any) -> Work:
    """The work of an operator that ``runtimes.cortex_m.operators`` counted.

    Raises ``ValueError`` for an operator that no block of our spaces has.
    """
    given, wanted, kernel = operator.given, operator.wanted, operator.kernel
    if operator.kind in ("conv2d_s8", "depthwise_conv2d_s8"):
        depthwise = operator.kind.startswith("depthwise")
        side = kernel[0] if depthwise else kernel[1]
        if operator.padding == side // 2 and given[0] == given[1]:
            return conv(given[0], given[2], wanted[2], kernel=side, stride=operator.stride, depthwise=depthwise)
    elif operator.kind == "add_s8":
        return Work("add", 0, wanted[0] * wanted[1], 0, wanted[2])
    elif operator.kind == "average_pool2d_s8" and wanted[:2] == (1, 1):
        return Work("pool", 0, given[0] * given[1], 0, wanted[2])
    elif operator.kind == "linear_s8":
        return Work("linear", 0, 1, given[-1], wanted[-1])
    raise ValueError(f"no instruction count is known for {operator}")


def table(space: SearchSpace, model: Model, *, num_classes: int, in_chans: int = 3) -> Table:
    """The fitted model at every resolution, slot and option of a space."""

    fold = at_each_side(lambda part, side: sum(map(model.predict, works(part, side))))
    head = {"num_classes": num_classes, "in_chans": in_chans}
    return fold_table(space, "instructions", "instructions", fold, **head)


def measure(
    space: SearchSpace,
    *,
    num_classes: int,
    in_chans: int = 3,
    cpu: str = "cortex_m4",
    fit_subnets: int = 10,
    test_subnets: int = 6,
    seed: int = 0,
    progress: bool = True,
) -> Table:
    """Instructions for one image on ``cpu`` (``cortex_m4`` or ``cortex_m55``), from int8 programs run under QEMU.

    Every operator of ``fit_subnets`` whole subnets is counted; ``info["quality"]`` reports the error on
    ``test_subnets`` others: ``mape``, ``largest`` relative error and ``kendall_tau``.

    Raises ``ValueError`` when a compiler or QEMU is missing, and naming the layer when a space has operators that no C
    is known for (the space ``mcu`` has none).
    """
    from ofa.export.runtimes import cortex_m

    environment = cortex_m.environment(threads=1, cpu=cpu)
    head = {"num_classes": num_classes, "in_chans": in_chans}
    rng = np.random.default_rng([seed, 2])
    fitted_codes, test = fit_and_test(space, macs_table(space, **head), fit=fit_subnets, test=test_subnets, rng=rng)
    codes = np.concatenate([fitted_codes, test])
    counted: list[tuple[Work, int]] = []
    totals = []
    for number, code in enumerate(tqdm(codes, desc=f"count on {cpu}", disable=None if progress else True)):
        session = cortex_m.load(int8_program(space, space.decode(code), **head), cpu=cpu)
        if number < len(fitted_codes):
            counted += [(counted_work(operator), operator.instructions) for operator in cortex_m.operators(session)]
        else:
            totals.append(cortex_m.figures(session).instructions)
    model = fit(counted)
    found = table(space, model, **head)
    predicted, measured = found.predict(test), np.array(totals, float)
    info = {
        "made_with": environment["version"],
        "cpu": cpu,
        "operators": _per_value(counted),
        "quality": {
            **cost_quality(predicted, measured, fit_subnets=len(fitted_codes)),
            "largest": float((np.abs(predicted - measured) / measured).max()) if totals else None,
        },
    }
    return replace(found, info=info)


def int8_program(space: SearchSpace, subnet: Subnet, *, num_classes: int, in_chans: int) -> bytes:
    """The int8 TFLite model of a subnet; its weights and ranges do not matter."""
    from ofa.export.runtimes import cortex_m

    family = FAMILIES[space.family]
    module = family.build(family.describe(space, subnet, num_classes=num_classes, in_chans=in_chans)).eval()
    return cortex_m.part(module, (in_chans, subnet.resolution, subnet.resolution))


def _per_value(counted: Sequence[tuple[Work, int]]) -> dict[str, float]:
    """Instructions per multiply-accumulate (per value that is read, where nothing is multiplied) by kind."""
    sums: dict[str, list[float]] = {}
    for work, count in counted:
        total = sums.setdefault(f"{work.kind} {work.kernel}x{work.kernel}" if work.kernel else work.kind, [0.0, 0.0])
        total[0] += count
        total[1] += work_values(work)
    return {name: round(count / values, 3) for name, (count, values) in sums.items()}


def work_values(work: Work) -> int:
    """Multiply-accumulates, or values read of operators that have none."""
    area = max(work.kernel, 1) ** 2
    return work.pixels * work.wanted * (area if work.kind == "depthwise" else area * max(work.given, 1))
