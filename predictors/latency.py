"""Latency tables: blocks timed apart, corrected and checked on whole subnets."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
from scipy.stats import kendalltau
from torch import nn
from tqdm import tqdm

from ofa.export.graph import onnx_graph
from ofa.export.runtimes import onnxruntime
from ofa.export.runtimes.timing import interleaved
from ofa.predictors.collect import spread_sample
from ofa.predictors.cost import CostTable, along_area, fill_blocks
from ofa.supernet.space import SearchSpace, Slot, Subnet
from ofa.supernet.supernet import FAMILIES

MOST_RESOLUTIONS = 5  # measured; those between are interpolated

Shape = tuple[int, int, int]


def measure(
    space: SearchSpace,
    *,
    num_classes: int,
    in_chans: int = 3,
    threads: int = 1,
    rounds: int = 20,
    fit_subnets: int = 8,
    test_subnets: int = 8,
    seed: int = 0,
    progress: bool = True,
) -> CostTable:
    """Milliseconds for one image in ONNX Runtime on this machine.

    Every distinct block, stem and head (at up to five resolutions) and ``fit_subnets + test_subnets`` whole subnets
    are timed in the same interleaved rounds; the cost of an empty call is subtracted from the parts. A slope and an
    intercept are fitted on the first whole subnets, for what blocks do not show alone (warm caches, fusion over their
    borders).

    ``info["quality"]`` reports the error on the other whole subnets, which the fit never saw: ``mape`` and
    ``kendall_tau``, and as ``repeat_mape`` how well half of the rounds predicts the other half.
    """
    measured = _measured_resolutions(space)
    small = SearchSpace.from_dict({**space.to_dict(), "resolutions": measured})  # the same layout
    family = FAMILIES[space.family]
    parts = _Parts()
    heads, slots = _add_parts(parts, small, family, num_classes=num_classes, in_chans=in_chans, progress=progress)

    macs = CostTable.macs(space, num_classes=num_classes, in_chans=in_chans)
    rng = np.random.default_rng([seed, 1])
    codes = rng.permutation(spread_sample(space, fit_subnets + test_subnets, macs, rng))
    if len(codes) < fit_subnets + test_subnets:  # the space has no more networks: share those that there are
        fit_subnets = -(-len(codes) * fit_subnets // (fit_subnets + test_subnets))
        test_subnets = len(codes) - fit_subnets
    wholes = []
    for code in tqdm(codes, desc="export whole subnets", disable=None if progress else True):
        subnet = space.decode(code)
        model = family.build(family.describe(space, subnet, num_classes=num_classes, in_chans=in_chans)).eval()
        wholes.append(parts.add(str(subnet), model, (in_chans, subnet.resolution, subnet.resolution)))

    empty = parts.add("empty", nn.Identity().eval(), (1, 1, 1))
    calls = []
    for graph, shape in tqdm(parts.graphs, desc="load blocks", disable=None if progress else True):
        calls.append(onnxruntime.prepared(onnxruntime.load(graph, threads=threads), (1, *shape)))
    times = 1e3 * interleaved(calls, rounds=rounds, description="time blocks", progress=progress)
    medians = np.median(times, axis=0)
    alone = np.maximum(medians - medians[empty], 0.0)

    fixed = np.array([alone[stem] + alone[head] for stem, head in heads])
    blocks = fill_blocks(small, lambda slot, kernel, expand, size: alone[slots[slot, kernel, expand, size]])
    table = CostTable(
        space,
        "latency",
        "ms",
        *(along_area(space, measured, values) for values in (fixed, blocks)),
    )
    slope, intercept = _affine(table.predict(codes[:fit_subnets]), medians[wholes[:fit_subnets]])
    table = replace(table, slope=slope, intercept=intercept)
    tested, halves = wholes[fit_subnets:], [np.median(times[part::2], axis=0) for part in (0, 1)]
    info = {
        **onnxruntime.environment(threads=threads),
        "date": datetime.date.today().isoformat(),
        "blocks": len(parts.graphs) - len(wholes) - 1,
        "measured_resolutions": list(measured),
        "rounds": rounds,
        "quality": {
            "test_subnets": test_subnets,
            "fit_subnets": fit_subnets,
            **_error(table.predict(codes[fit_subnets:]), medians[tested]),
            **{f"repeat_{name}": value for name, value in _error(halves[0][tested], halves[1][tested]).items()},
        },
    }
    return replace(table, info=info)


def time_subnets(
    space: SearchSpace,
    subnets: Sequence[Subnet],
    *,
    num_classes: int,
    in_chans: int = 3,
    threads: int = 1,
    rounds: int = 50,
) -> np.ndarray:
    """Milliseconds for one image of each whole subnet ``(n,)``, timed in interleaved rounds; weights do not matter."""
    family, calls = FAMILIES[space.family], []
    for subnet in subnets:
        model = family.build(family.describe(space, subnet, num_classes=num_classes, in_chans=in_chans)).eval()
        shape = (in_chans, subnet.resolution, subnet.resolution)
        session = onnxruntime.load(onnx_graph(model, shape).SerializeToString(), threads=threads)
        calls.append(onnxruntime.prepared(session, (1, *shape)))
    return np.median(1e3 * interleaved(calls, rounds=rounds, progress=False), axis=0)


class _Parts:
    """The distinct things to time: one ONNX graph for each key."""

    def __init__(self) -> None:
        self.graphs: list[tuple[bytes, Shape]] = []
        self._numbers: dict[tuple[str, Shape], int] = {}

    def add(self, key: str, module: nn.Module, shape: Shape) -> int:
        number = self._numbers.setdefault((key, shape), len(self.graphs))
        if number == len(self.graphs):
            self.graphs.append((onnx_graph(module, shape).SerializeToString(), shape))
        return number


def _add_parts(
    parts: _Parts, space: SearchSpace, family: Any, *, num_classes: int, in_chans: int, progress: bool
) -> tuple[list[tuple[int, int]], dict[tuple[Slot, int, float, int], int]]:
    """Adds stems, heads and blocks; returns the numbers of (stem, head) by resolution and of each block."""
    slots: dict[tuple[Slot, int, float, int], int] = {}
    sizes = {resolution: space.sizes(resolution) for resolution in space.resolutions}
    heads: list[tuple[int, int]] = []
    for subnet in tqdm(_uniform_subnets(space), desc="write blocks", disable=None if progress else True):
        description = family.describe(space, subnet, num_classes=num_classes, in_chans=in_chans)
        stem, stages, head = family.parts(family.build(description).eval())
        if not heads:
            for side in space.resolutions:
                last = sizes[side][-1]
                stem_number = parts.add("stem", stem, (in_chans, side, side))
                heads.append((stem_number, parts.add("head", head, (space.stages[-1].width, last, last))))
        for number, slot in enumerate(space.slots):
            key = f"{slot.in_width} {description['blocks'][1 + slot.stage][slot.index]}"
            for side in space.resolutions:
                size = sizes[side][number]
                block = parts.add(key, stages[slot.stage][slot.index], (slot.in_width, size, size))
                slots[slot, subnet.kernels[number], subnet.expands[number], size] = block
    return heads, slots


def _uniform_subnets(space: SearchSpace) -> list[Subnet]:
    """Full-depth subnets that between them have every kernel and expand option in every slot."""
    stages = [space.stages[slot.stage] for slot in space.slots]
    kernels, expands = (max(len(getattr(stage, name)) for stage in stages) for name in ("kernels", "expands"))
    return [
        replace(
            space.largest,
            kernels=tuple(stage.kernels[min(k, len(stage.kernels) - 1)] for stage in stages),
            expands=tuple(stage.expands[min(e, len(stage.expands) - 1)] for stage in stages),
        )
        for k, e in product(range(kernels), range(expands))
    ]


def _measured_resolutions(space: SearchSpace) -> tuple[int, ...]:
    count = len(space.resolutions)
    if count <= MOST_RESOLUTIONS:
        return space.resolutions
    return tuple(space.resolutions[round(i)] for i in np.linspace(0, count - 1, MOST_RESOLUTIONS))


def _affine(sums: np.ndarray, measured: np.ndarray) -> tuple[float, float]:
    """Slope and intercept of least squared relative error; the slope alone when the sums do not differ."""
    weights = 1 / measured
    if len(sums) < 2 or np.ptp(sums) < 1e-9:
        return float(np.sum(measured * sums * weights**2) / np.sum((sums * weights) ** 2)), 0.0
    slope, intercept = np.polyfit(sums, measured, 1, w=weights)
    return float(slope), float(intercept)


def _error(predicted: np.ndarray, measured: np.ndarray) -> dict[str, float | None]:
    """Both None without subnets to compare on, the rank correlation also with only one."""
    if not len(measured):
        return {"mape": None, "kendall_tau": None}
    return {
        "mape": float(np.mean(np.abs(predicted - measured) / measured)),
        "kendall_tau": float(kendalltau(predicted, measured).statistic) if len(measured) > 1 else None,
    }
