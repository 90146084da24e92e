"""Latency tables: blocks timed apart, corrected and checked on whole subnets."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from ofa.export.runtimes import onnxruntime
from ofa.export.runtimes.timing import drift, interleaved, lower_quartile
from ofa.predictors.costs.latency.correction import cold_fraction, correction, errors
from ofa.predictors.costs.latency.parts import MakePart, Parts, Shape, add_parts, measured_resolutions
from ofa.predictors.costs.table import CostTable, along_area, fill_blocks
from ofa.predictors.sampling import stratified_sample
from ofa.supernet import families
from ofa.supernet.integers import ceil_div
from ofa.supernet.space import SearchSpace, Subnet


class Runtime(Protocol):
    """What a module of ``ofa.export.runtimes`` has that can be timed on this machine."""

    def load(self, model: Any, *, threads: int = 1) -> Any: ...

    def prepared(self, session: Any, shape: tuple[int, ...]) -> Callable[[], object]: ...

    def part(self, module: nn.Module, shape: tuple[int, int, int]) -> Any: ...

    def environment(self, *, threads: int) -> dict[str, Any]: ...


class Timer(Protocol):
    """Times models: milliseconds ``(rounds, len(models))``, as ``timing.interleaved`` measures them.

    ``models`` are what the runtime's ``part`` made, with the shape (channels, height, width) of what each reads. One
    may stand there twice, once ``cold``; ``cold`` and ``reference`` are numbers of ``models``. ``on_pace`` is given the
    reference's time in each round, in any unit.
    """

    def __call__(
        self,
        models: Sequence[tuple[Any, Shape]],
        *,
        rounds: int,
        cold: Collection[int] = (),
        reference: int | None = None,
        seed: int = 0,
        progress: bool = True,
        on_pace: Callable[[np.ndarray], None] | None = None,
    ) -> np.ndarray: ...


def in_this_process(runtime: Runtime, *, threads: int) -> Timer:
    """The timer of ``runtime`` on this machine."""

    def timer(
        models: Sequence[tuple[Any, Shape]],
        *,
        rounds: int,
        cold: Collection[int] = (),
        reference: int | None = None,
        seed: int = 0,
        progress: bool = True,
        on_pace: Callable[[np.ndarray], None] | None = None,
    ) -> np.ndarray:
        calls: dict[tuple[int, Shape], Callable[[], object]] = {}  # a torch module may be there in several shapes
        for model, shape in tqdm(models, desc="load", disable=None if progress else True):
            if (id(model), shape) not in calls:
                calls[id(model), shape] = runtime.prepared(runtime.load(model, threads=threads), (1, *shape))
        return 1e3 * interleaved(
            [calls[id(model), shape] for model, shape in models],
            rounds=rounds,
            cold=cold,
            reference=reference,
            seed=seed,
            description="time blocks",
            progress=progress,
            on_pace=on_pace,
        )

    return timer


def measure(
    space: SearchSpace,
    *,
    num_classes: int,
    in_chans: int = 3,
    runtime: Runtime = onnxruntime,
    part: MakePart | None = None,
    timer: Timer | None = None,
    threads: int = 1,
    rounds: int = 20,
    fit_subnets: int = 16,
    test_subnets: int = 8,
    seed: int = 0,
    info: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> CostTable:
    """Milliseconds for one image in a runtime, on this machine unless ``timer`` times elsewhere.

    Every distinct block, stem and head (at up to five resolutions) and ``fit_subnets + test_subnets`` whole subnets
    are timed in the same interleaved rounds, the parts from cold caches and from warm ones; the time of an empty call
    is subtracted from theirs. One whole subnet, timed over and over, tells how fast the machine is just then. On the
    first whole subnets a mixture of cold and warm and a factor for each stage are fitted: see ``latency_fit``.

    ``part`` makes the runtime's model of a module, ``runtime.part`` by default; give ``runtime.convert_int8`` where
    there is one, and say so in ``info``, which is added to the table's. With a ``timer`` of another machine, ``info``
    must have that machine's environment: by default it is ``runtime.environment`` here.

    ``info["quality"]`` reports the error on the other whole subnets, which the fit never saw: ``mape``,
    ``kendall_tau``, the ``pairs`` of predicted and measured ms, and as ``repeat_mape`` how well half of the rounds
    predicts the other half. ``info["pace_drift"]`` tells how many times slower the machine was for a third of the
    rounds than for another: the reference divides that out, as far as all networks became slower alike.
    """
    sides = measured_resolutions(space)
    small = SearchSpace.from_dict({**space.to_dict(), "resolutions": sides})  # the same layout
    parts = Parts(part or runtime.part)
    head = {"num_classes": num_classes, "in_chans": in_chans}
    with _same_weights():
        layout = add_parts(parts, small, **head, progress=progress)
    empty = parts.add("empty", nn.Identity().eval(), (1, 1, 1))
    apart = len(parts.models)

    rng = np.random.default_rng([seed, 1])
    codes = rng.permutation(stratified_sample(space, fit_subnets + test_subnets, CostTable.macs(space, **head), rng))
    if len(codes) < fit_subnets + test_subnets:  # the space has no more networks: share those that there are
        share = ceil_div(len(codes) * fit_subnets, fit_subnets + test_subnets)
        fit_subnets = max(1, min(share, len(codes) - 1))
    wholes = [
        _add_whole(parts, space, space.decode(code), **head)
        for code in tqdm(codes, desc="write whole subnets", disable=None if progress else True)
    ]
    timer = timer or in_this_process(runtime, threads=threads)
    paces: list[np.ndarray] = []
    times = timer(
        [*parts.models, *parts.models[:apart]],  # the parts warm, behind all others
        rounds=rounds,
        cold=range(apart),
        reference=wholes[0],
        seed=seed,
        progress=progress,
        on_pace=paces.append,
    )
    usual = lower_quartile(times)
    tables = []
    for alone in (usual[:apart], usual[len(parts.models) :]):
        alone = np.maximum(alone - alone[empty], 0.0)
        ends = np.array([alone[list(pair)] for pair in layout.ends])
        blocks = fill_blocks(small, lambda slot, k, e, size, alone=alone: alone[layout.blocks[slot, k, e, size]])
        tables.append((along_area(space, sides, ends), along_area(space, sides, blocks)))
    table = _corrected(space, tables, codes[:fit_subnets], usual[wholes[:fit_subnets]])
    tested = wholes[fit_subnets:]
    predicted, measured = table.predict(codes[fit_subnets:]), usual[tested]
    first, second = (lower_quartile(times[half::2])[tested] for half in (0, 1)) if rounds > 1 else (measured, measured)
    found = {
        **runtime.environment(threads=threads),
        "date": datetime.date.today().isoformat(),
        "blocks": apart - 1,
        "measured_resolutions": list(sides),
        "rounds": rounds,
        **table.info,
        **(info or {}),
        "reference": {"subnet": space.decode(codes[0]).to_dict(), "ms": float(usual[wholes[0]])},
        **({"pace_drift": drift(paces[0])} if paces else {}),
        "quality": {
            "test_subnets": len(tested),
            "fit_subnets": fit_subnets,
            **errors(predicted, measured),
            **{f"repeat_{name}": value for name, value in errors(first, second).items()},
            "pairs": np.column_stack([predicted, measured]).tolist(),
        },
    }
    return replace(table, info=found)


def time_subnets(
    space: SearchSpace,
    subnets: Sequence[Subnet],
    *,
    num_classes: int,
    in_chans: int = 3,
    runtime: Runtime = onnxruntime,
    part: MakePart | None = None,
    timer: Timer | None = None,
    threads: int = 1,
    rounds: int = 50,
    reference: Mapping[str, Any] | None = None,
) -> np.ndarray:
    """Milliseconds for one image of each whole subnet ``(n,)``, timed in interleaved rounds; weights do not matter.

    With ``reference``, a table's ``info["reference"]``, that network is timed beside them, and the times are what they
    would be if it took as long as when the table was made: comparable with the table's, also on a busy machine.
    """
    parts = Parts(part or runtime.part)
    also = [Subnet.from_dict(reference["subnet"])] if reference else []
    wholes = [
        _add_whole(parts, space, subnet, num_classes=num_classes, in_chans=in_chans) for subnet in [*subnets, *also]
    ]
    timer = timer or in_this_process(runtime, threads=threads)
    times = lower_quartile(timer([parts.models[whole] for whole in wholes], rounds=rounds, progress=False))
    return times[:-1] * reference["ms"] / times[-1] if reference else times


def reference_model(
    space: SearchSpace, reference: Mapping[str, Any], *, num_classes: int, in_chans: int = 3, part: MakePart
) -> tuple[Any, Shape]:
    """The runtime's model of a table's ``info["reference"]``, and the shape of its input: to be timed beside others."""
    parts, subnet = Parts(part), Subnet.from_dict(reference["subnet"])
    return parts.models[_add_whole(parts, space, subnet, num_classes=num_classes, in_chans=in_chans)]


def _add_whole(parts: Parts, space: SearchSpace, subnet: Subnet, *, num_classes: int, in_chans: int) -> int:
    family = families.model(space.family)
    with _same_weights():
        model = family.build(family.describe(space, subnet, num_classes=num_classes, in_chans=in_chans)).eval()
    return parts.add(str(subnet), model, (in_chans, subnet.resolution, subnet.resolution))


@contextmanager
def _same_weights() -> Iterator[None]:
    """New modules get the same weights each time: a measurement that goes on is recognised by its models' digests."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def _corrected(
    space: SearchSpace, tables: Sequence[tuple[np.ndarray, np.ndarray]], codes: np.ndarray, measured: np.ndarray
) -> CostTable:
    """The table that fits what ``codes`` took, of cold and of warm times of stem and head ``(resolutions, 2)`` and
    blocks."""
    stages = np.array([slot.stage for slot in space.slots])[:, None, None]
    none = np.zeros(len(space.resolutions))

    def groups(ends: np.ndarray, blocks: np.ndarray) -> np.ndarray:
        columns = [ends[codes[:, 0], 0], ends[codes[:, 0], 1]]
        for number in range(len(space.stages)):
            columns.append(CostTable(space, "", "", none, np.where(stages == number, blocks, 0.0)).predict(codes))
        return np.column_stack(columns)

    cold, warm = (groups(*table) for table in tables)
    share = cold_fraction(cold, warm, measured)
    factors, intercept = correction(share * cold + (1 - share) * warm, measured)
    ends, blocks = (share * one + (1 - share) * other for one, other in zip(*tables, strict=True))
    scaled = blocks * factors[2:][np.broadcast_to(stages, blocks.shape[1:])]
    return CostTable(
        space,
        "latency",
        "ms",
        ends @ factors[:2],
        scaled,
        intercept=intercept,
        info={"cold_share": share},
        floor=float(measured.min()) / 2,
    )
