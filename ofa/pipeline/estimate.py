"""``ofa check``: what a recipe would do (stages, subnets, steps), and how long that will take on this machine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ofa.config.finetuning import Finetuning, finetunings
from ofa.config.recipe import Recipe
from ofa.config.relaxing import relaxing
from ofa.config.schedule import training_phases
from ofa.config.target import Limit
from ofa.data.architecture import SearchImages
from ofa.data.identity import data_folder
from ofa.data.loader import Data, open_data
from ofa.data.read_images import MAX_CHECKED, check_readable, finding_lines, read_images
from ofa.data.sources import open_source
from ofa.data.summary import data_lines
from ofa.errors import UserError
from ofa.export.runtimes import RUNTIMES
from ofa.pipeline.feasibility import measure_smallest
from ofa.pipeline.stage_checks import check_stages
from ofa.pipeline.step_memory import image_bytes
from ofa.pipeline.threads import explained, training_threads
from ofa.predictors.costs.cost_table import CostTable
from ofa.predictors.costs.names import COSTS
from ofa.predictors.sampling import stratified_sample
from ofa.report.words import duration
from ofa.strategies.differentiable import published, share_of
from ofa.supernet.derived.fixed import fixed_choices
from ofa.supernet.space import SearchSpace
from ofa.supernet.supernet import Supernet
from ofa.supernet.threads import Threads
from ofa.supernet.training.phases import Phase, sample_subnets
from ofa.supernet.training.sampling import CandidateScorer, sample_resolution
from ofa.supernet.training.step import resize
from ofa.targets.requirements import check_installed

# Seconds of an export with its verification, and of a latency table; the least exact parts of the estimate.
_EXPORT_SECONDS, _MEASURE_SECONDS = 8, 20
_TRIAL_IMAGES, _TRIAL_BYTES, _TRIAL_STEPS = 64, 2**29, 50
_TRIAL_SUBNETS = 500
# Of the whole network, for an update of the architecture parameters; of other updates one.
_ARCHITECTURE_PASSES = {"second_order": 4, "mixed": 2}
_EVALUATION = 1 / 3  # of a training step's time for the same images: no backward pass


def plan(recipe: Recipe) -> Iterator[str]:
    """The plan, line by line; every image is read on the way, up to ``MAX_CHECKED`` of a split.

    Raises ``UserError`` when the data is missing or wrong, or what a target needs is not installed. When the data is
    missing, the lines that do not depend on it come first.
    """
    check_installed(recipe.targets)
    space = recipe.space
    yield f"{recipe.name}: a valid recipe"
    yield f"space     {space.size:,} networks, {space.num_genes} genes"
    yield from (f"fixed     {sentence}" for sentence in fixed_choices(space))
    folder = data_folder(recipe.data)
    if folder is not None and not folder.is_dir():
        yield from _schedule(space, training_phases(recipe), None)
        yield from _rest(recipe)
        key = "folder" if recipe.data.folder else "idx"
        raise UserError(
            f"data.{key}: {folder} is not there, so neither steps nor times can be told; give the path of a folder"
        )

    # What was read is printed before the checks, which may refuse it.
    source = open_source(recipe.data, resolution=space.resolutions[-1])
    findings = read_images(source, workers=recipe.data.workers, limit=MAX_CHECKED)
    yield from (f"image     {line}" for line in finding_lines(findings))
    if (largest := max(map(len, source.splits.values()))) > MAX_CHECKED and source.kind == "folder":
        yield f"image     {MAX_CHECKED:,} of {largest:,} images of a split were read; the run reads all of them first"
    check_readable(source, findings)
    left_out = [finding.image for finding in findings if finding.unreadable]
    data = open_data(recipe.data, resolution=space.resolutions[-1], seed=recipe.seed, left_out=left_out)
    yield from data_lines(data)

    model_kwargs = {"num_classes": len(data.classes), "in_chans": data.channels}
    lines = [*check_stages(recipe, data), *measure_smallest(recipe, model_kwargs)]
    seconds = run_seconds(recipe, data)
    lines += _schedule(space, training_phases(recipe), data.steps(recipe.train.batch_size))
    yield from [*lines, *_rest(recipe), f"threads   {explained(seconds.threads)}"]
    yield (
        f"time      about {duration(seconds.total)} on this machine: training {duration(seconds.training)}, "
        f"measuring accuracy {duration(seconds.accuracies)}, "
        + (f"differentiable search {duration(seconds.relaxing)}, " if seconds.relaxing else "")
        + f"fine-tuning {duration(seconds.finetuning)}, the rest {duration(seconds.rest)}"
    )


@dataclass(frozen=True)
class RunSeconds:
    """About how long a run takes on this machine, in seconds, and the ``threads`` with which training is fastest."""

    training: float
    accuracies: float
    finetuning: float
    rest: float
    threads: Threads
    relaxing: float = 0.0

    @property
    def total(self) -> float:
        return self.training + self.accuracies + self.finetuning + self.relaxing + self.rest


def run_seconds(recipe: Recipe, data: Data) -> RunSeconds:
    """An estimate from a few training steps of the largest network, which are timed now."""
    space, collect, counts = recipe.space, recipe.collect, data.counts
    model_kwargs = {"num_classes": len(data.classes), "in_chans": data.channels}
    macs = CostTable.macs(space, **model_kwargs)
    seconds_per_mac, threads = _seconds_per_mac(recipe, macs, model_kwargs)

    training = seconds_per_mac * training_macs(recipe, data, macs)

    # Each subnet is calibrated, then evaluated; those of a small sample cost on average what all of them do.
    images = min(collect.images or counts["validation"], counts["validation"])
    images += min(collect.calibration_images, counts["train"])
    sample = stratified_sample(space, min(collect.subnets, _TRIAL_SUBNETS), macs, np.random.default_rng(0))
    subnets = min(collect.subnets, space.size)
    accuracies = seconds_per_mac * _EVALUATION * images * macs.predict(sample).mean() * subnets
    finetuning = seconds_per_mac * finetuning_macs(recipe, data, macs)
    rest = _MEASURE_SECONDS + _EXPORT_SECONDS * len(recipe.targets)
    relaxing = seconds_per_mac * relaxing_macs(recipe, data, macs)
    return RunSeconds(training, accuracies, finetuning, rest, threads, relaxing)


def training_macs(recipe: Recipe, data: Data, macs: CostTable) -> float:
    """Of all steps of the training, in forward passes with a backward pass each."""
    size = recipe.train.batch_size
    images = data.steps(size) * size
    return sum(phase.epochs * images * macs_of_step(recipe.space, phase, macs) for phase in training_phases(recipe))


def finetuning_macs(recipe: Recipe, data: Data, macs: CostTable) -> float:
    """The most that the targets' own networks take, in forward passes with a backward pass each.

    A network is not known yet: it takes as much of the largest network's as a limit lets it.
    """
    size = recipe.train.batch_size
    largest = float(macs.predict(recipe.space.encode(recipe.space.largest)[None])[0])
    taught = _EVALUATION if recipe.train.distill_weight else 0.0
    total = 0.0
    for name, how in finetunings(recipe).items():
        limits = recipe.targets[name].limits
        shares = [limit.value if limit.relative else limit.value / largest for limit in limits if limit.cost == "macs"]
        shares += [limit.value for limit in limits if limit.relative and limit.cost != "macs"]
        total += how.epochs * data.steps(size) * size * largest * (min([1.0, *shares]) + taught)
    return total


def relaxing_macs(recipe: Recipe, data: Data, macs: CostTable) -> float:
    """Of a differentiable search, in forward passes with a backward pass each; 0 for other strategies.

    Each pass is one of the largest network, at the middle one of its resolutions.
    """
    if not (config := relaxing(recipe)):
        return 0.0
    space, size = recipe.space, recipe.train.batch_size
    method = published(config.how.method)
    steps = config.epochs * SearchImages(data, share=share_of(config.how), batch_size=size).steps
    passes = 1 + _ARCHITECTURE_PASSES.get(method.update, 1) / method.every
    code = space.encode(space.largest)
    code[space.genes_of("resolution")] = len(space.resolutions) // 2
    searches = len({target.limits for target in recipe.targets.values()})
    return searches * steps * size * passes * float(macs.predict(code[None])[0])


def _schedule(space: SearchSpace, schedule: tuple[Phase, ...], steps: int | None) -> list[str]:
    lines = []
    for phase in schedule:
        opened = "open: " + ", ".join(f"{role} {phase.num_open(role)}" for role in space.shrinking)
        count = "" if steps is None else f" = {phase.epochs * steps} steps"
        lines.append(
            f"train     {phase.name}: {phase.epochs} epochs{count}, learning rate {phase.lr:.3g}, "
            f"{phase.subnets} subnet(s) a step, {opened}"
        )
    return lines


def _rest(recipe: Recipe) -> list[str]:
    """The stages after training, and the targets."""
    collect = recipe.collect
    subnets = f"{collect.subnets} subnets"
    if collect.strategy == "active":
        subnets = f"at most {subnets}, chosen {collect.batch} at a time"
    elif collect.strategy == "proxies":
        subnets = f"{subnets}, chosen by zero-cost proxies"
    lines = [
        f"collect   accuracy of {subnets}",
        f"predict   {' with '.join([recipe.predictor.kind, *filter(None, [', '.join(recipe.predictor.features)])])}",
        *_measured(recipe),
    ]
    for name, target in recipe.targets.items():
        limits = ", ".join(_limit(limit) for limit in target.limits)
        precision = " int8" if target.bits == 8 else ""
        where = f" on {target.remote}" if target.remote else ""
        lines.append(f"target    {name}: {target.runtime}{precision}{where}, {limits}")
    if config := relaxing(recipe):
        lines.append(f"relax     {config.how.method}: {config.epochs} epochs for each set of limits")
    for how, names in _alike(finetunings(recipe)).items():
        lines.append(f"finetune  {', '.join(names)}: {how.epochs} epochs, learning rate {how.lr:.3g}")
    return lines


def _alike(found: dict[str, Finetuning]) -> dict[Finetuning, list[str]]:
    """The targets of each way to train further."""
    names: dict[Finetuning, list[str]] = {}
    for name, how in found.items():
        names.setdefault(how, []).append(name)
    return names


def _measured(recipe: Recipe) -> list[str]:
    runtimes = dict.fromkeys(target.runtime for target in recipe.targets.values() if not target.costs)
    num_whole = recipe.measure.fit_subnets + recipe.measure.test_subnets
    lines = []
    if timed := [runtime for runtime in runtimes if RUNTIMES[runtime].has_latency]:
        what = f"latency of blocks and {num_whole} whole subnets"
        if recipe.measure.known is not None:
            what = f"latency of {recipe.measure.samples} whole subnets, and {recipe.measure.known.name} for the rest,"
        lines.append(f"measure   {what} on {', '.join(timed)}")
    for name, target in recipe.targets.items():
        if target.costs:
            lines.append(f"measure   latency of {name} from {target.costs}, not measured here")
    if others := [runtime for runtime in runtimes if not RUNTIMES[runtime].has_latency]:
        lines.append(f"measure   memory and instructions of int8 programs on {', '.join(others)}")
    return lines


def _limit(limit: Limit) -> str:
    if limit.relative:
        return f"{limit.cost} at most {limit.value:g}x the largest subnet's"
    unit = COSTS[limit.cost].unit
    return f"{limit.cost} at most {limit.value:g} {'' if unit == limit.cost else unit}".rstrip()


def _seconds_per_mac(recipe: Recipe, macs: CostTable, model_kwargs: dict[str, int]) -> tuple[float, Threads]:
    """Seconds of a training step per MAC, and the threads used: a few steps of the largest network are timed."""
    space = recipe.space
    code = space.encode(space.largest)
    middle = len(space.resolutions) // 2
    code[space.genes_of("resolution")] = middle
    resolution = space.resolutions[middle]
    net = Supernet(space, **model_kwargs).train()

    # As many images as a step of the recipe has, but no more than are quick to try and fit into memory.
    fitting = _TRIAL_BYTES // image_bytes(space, resolution)
    batch = max(2, min(recipe.train.batch_size, _TRIAL_IMAGES, fitting))
    images = torch.zeros(batch, model_kwargs["in_chans"], resolution, resolution)
    labels = torch.zeros(batch, dtype=torch.long)

    def step() -> None:
        torch.nn.functional.cross_entropy(net(resize(images, images.shape[-1])), labels).backward()

    times = []
    threads = training_threads(told=lambda sentence: None, compiled=recipe.train.compile)
    with threads.used():
        if threads.due():
            threads.measure(step)
        for _ in range(4):
            started = time.perf_counter()
            step()
            times.append(time.perf_counter() - started)
    return min(times) / (batch * float(macs.predict(code[None])[0])), threads


def macs_of_step(space: SearchSpace, phase: Phase, macs: CostTable, *, draws: int = _TRIAL_STEPS) -> float:
    """Mean MACs of one image in a step of ``phase``; passes forward only (candidates, teacher) count a third."""
    rng = np.random.default_rng(0)
    trained, teacher, candidates = 0.0, 0.0, 0.0

    def loss(codes: np.ndarray) -> np.ndarray:
        nonlocal candidates
        candidates += macs.predict(codes).sum()
        return np.zeros(len(codes))

    for _ in range(draws):
        resolution = sample_resolution(space, rng)
        scorer = CandidateScorer(macs=macs.predict, loss=loss)
        codes = sample_subnets(space, phase, rng=rng, resolution=resolution, scorer=scorer)
        trained += macs.predict(codes).sum()
        if phase.teacher == "full":
            full = space.encode(space.largest)
            full[0] = resolution
            teacher += macs.predict(full[None])[0]
    return float(trained + _EVALUATION * (candidates + teacher)) / draws
