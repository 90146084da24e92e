"""Latency tables: blocks timed apart, corrected and checked on whole subnets."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn
from tqdm import tqdm

from ofa.export.runtimes import onnxruntime
from ofa.export.runtimes.timing import drift, lower_quartile
from ofa.predictors.costs.counts import fold_blocks, fold_ends, macs_table
from ofa.predictors.costs.latency.correction import corrected_table
from ofa.predictors.costs.latency.networks import timed_networks
from ofa.predictors.costs.latency.parts import Layout, MakePart, Models, add_parts, add_subnet
from ofa.predictors.costs.latency.timer import ModelTimer, Runtime, TimedModel, in_this_process
from ofa.predictors.costs.latency.widths import along_macs, timed_options
from ofa.predictors.costs.memory import flash
from ofa.predictors.costs.part_genes import end_genes, part_genes
from ofa.predictors.costs.resolutions import along_area, measured_resolutions
from ofa.predictors.costs.table import Table
from ofa.predictors.metrics import cost_errors, cost_quality
from ofa.supernet.operators import macs
from ofa.supernet.space import SearchSpace, Subnet


def measure(
    space: SearchSpace,
    *,
    num_classes: int,
    in_chans: int = 3,
    runtime: Runtime = onnxruntime,
    part: MakePart | None = None,
    timer: ModelTimer | None = None,
    threads: int = 1,
    rounds: int = 20,
    fit_subnets: int = 16,
    test_subnets: int = 8,
    seed: int = 0,
    info: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> Table:
    """Milliseconds for one image in a runtime, on this machine unless ``timer`` times elsewhere.

    Every distinct block, stem and head (at up to five resolutions) and ``fit_subnets + test_subnets`` whole subnets
    are timed in the same interleaved rounds, the parts from cold caches and from warm ones; the time of an empty call
    is subtracted from theirs. One whole subnet, timed over and over, tells how fast the machine is just then. On the
    first whole subnets a mixture of cold and warm and a factor for each stage are fitted: see ``correction``. Where
    some networks fit in the caches and others do not, the mixture depends on the bytes of a network's weights.

    ``part`` makes the runtime's model of a module, ``runtime.convert`` by default; give ``runtime.convert_int8`` where
    there is one, and say so in ``info``, which is added to the table's. With a ``timer`` of another machine, ``info``
    must have that machine's environment: by default it is ``runtime.environment`` here.

    ``info["quality"]`` reports the error on the other whole subnets, which the fit never saw: ``metrics.cost_quality``,
    and as ``repeat_mape`` how well half of the rounds predicts the other half. ``info["pace_drift"]`` tells how many
    times slower the machine was for a third of the rounds than for another: the reference divides that out, as far as
    all networks became slower alike.
    """
    head = {"num_classes": num_classes, "in_chans": in_chans}
    # What is timed apart: every distinct part at the measured resolutions, and the call of a model that does nothing.
    models = Models(part or runtime.convert)
    resolutions = measured_resolutions(space)
    few = SearchSpace.from_dict({**space.to_dict(), "resolutions": resolutions})  # the same layout
    layout = add_parts(models, few, head, progress=progress)
    empty = models.add("empty", nn.Identity().eval(), (1, 1, 1))
    n_parts = len(models.timed)

    # What is timed whole: subnets for the fit, and others to judge it on.
    rng = np.random.default_rng([seed, 1])
    weights = flash(space, **head, bits=8 if (info or {}).get("bits") == 8 else 32)
    counts = {"fit": fit_subnets, "test": test_subnets}
    fit, test = timed_networks(space, macs_table(space, **head), weights, **counts, rng=rng)
    codes = np.concatenate([fit, test])
    subnet_ids = [
        add_subnet(models, space, space.decode(code), head)
        for code in tqdm(codes, desc="write whole subnets", disable=None if progress else True)
    ]

    # All in the same rounds: the parts cold, the subnets, and last the parts warm. The first subnet tells the pace.
    paces: list[np.ndarray] = []
    times = (timer or in_this_process(runtime, threads=threads))(
        [*models.timed, *models.timed[:n_parts]],
        rounds=rounds,
        cold=range(n_parts),
        reference=subnet_ids[0],
        seed=seed,
        progress=progress,
        on_pace=paces.append,
    )

    # Times of parts become costs at every resolution; sums of them are corrected to what whole subnets took.
    typical = lower_quartile(times)
    cold, warm = (
        _part_costs(space, few, layout, np.maximum(part_times - part_times[empty], 0.0), head)
        for part_times in (typical[:n_parts], typical[len(models.timed) :])
    )
    net_times = typical[subnet_ids]
    table = corrected_table(space, cold, warm, weights, fit, net_times[: len(fit)])

    # Where it was measured, and the error on the subnets that the fit has not seen.
    measured_with = {
        **runtime.environment(threads=threads),
        "date": datetime.date.today().isoformat(),
        "blocks": n_parts - 1,
        "measured_resolutions": list(resolutions),
        "rounds": rounds,
        **table.info,
        **(info or {}),
        "reference": {"subnet": space.decode(codes[0]).to_dict(), "ms": float(net_times[0])},
        **({"pace_drift": drift(paces[0])} if paces else {}),
        "quality": _quality(table, test, times[:, subnet_ids[len(fit) :]], fit_subnets=len(fit)),
    }
    return replace(table, info=measured_with)


def time_subnets(
    space: SearchSpace,
    subnets: Sequence[Subnet],
    *,
    num_classes: int,
    in_chans: int = 3,
    runtime: Runtime = onnxruntime,
    part: MakePart | None = None,
    timer: ModelTimer | None = None,
    threads: int = 1,
    rounds: int = 50,
    reference: Mapping[str, Any] | None = None,
) -> np.ndarray:
    """Milliseconds for one image of each whole subnet ``(n,)``, timed in interleaved rounds; weights do not matter.

    With ``reference``, a table's ``info["reference"]``, that network is timed beside them, and the times are what they
    would be if it took as long as when the table was made: comparable with the table's, also on a busy machine.
    """
    head = {"num_classes": num_classes, "in_chans": in_chans}
    models = Models(part or runtime.convert)
    also = [Subnet.from_dict(reference["subnet"])] if reference else []
    subnet_ids = [add_subnet(models, space, subnet, head) for subnet in [*subnets, *also]]
    timer = timer or in_this_process(runtime, threads=threads)
    times = lower_quartile(timer([models.timed[index] for index in subnet_ids], rounds=rounds, progress=False))
    return times[:-1] * reference["ms"] / times[-1] if reference else times


def reference_model(
    space: SearchSpace, reference: Mapping[str, Any], *, num_classes: int, in_chans: int = 3, part: MakePart
) -> TimedModel:
    """The runtime's model of a table's ``info["reference"]``, and the shape of its input: to be timed beside others."""
    models = Models(part)
    head = {"num_classes": num_classes, "in_chans": in_chans}
    return models.timed[add_subnet(models, space, Subnet.from_dict(reference["subnet"]), head)]


def _part_costs(
    space: SearchSpace, few: SearchSpace, layout: Layout, times: np.ndarray, head: Mapping[str, int]
) -> list[np.ndarray]:
    """Milliseconds of stem, head and each block at every width and resolution, from ``times`` at those measured."""
    costs, timed = layout.costs(few, times), timed_options(few)
    if any(len(options) < count for options, count in zip(timed, few.num_options, strict=True)):
        work = [*fold_ends(few, macs, macs, **head), *fold_blocks(few, macs)]
        genes = [row.genes[1:] for row in (*end_genes(few), *part_genes(few)[1:])]
        costs = [along_macs(*part, timed) for part in zip(costs, work, genes, strict=True)]
    return [along_area(space, few.resolutions, part) for part in costs]


def _quality(table: Table, codes: np.ndarray, times: np.ndarray, *, fit_subnets: int) -> dict[str, Any]:
    """The errors on ``codes``, whose ms are ``times`` ``(rounds, n)``, beside what measuring them again would give."""
    halves = [times[::2], times[1::2]] if len(times) > 1 else [times, times]
    repeat = cost_errors(*map(lower_quartile, halves))
    return {
        **cost_quality(table.predict(codes), lower_quartile(times), fit_subnets=fit_subnets),
        **{f"repeat_{name}": value for name, value in repeat.items()},
    }
