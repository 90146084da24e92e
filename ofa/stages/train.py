"""The stage ``train``: the recipe's schedule, its checkpoints, and a line an epoch on the screen and in files."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ofa.config.recipe import Recipe
from ofa.config.train import TrainConfig
from ofa.errors import UserError
from ofa.pipeline import checkpoints, distributed
from ofa.pipeline.job import Job, Outcome
from ofa.pipeline.run_folder import quarantine
from ofa.pipeline.signals import catch_stop_signals, raise_for
from ofa.pipeline.threads import training_threads
from ofa.predictors.costs.cost_table import CostTable
from ofa.predictors.metrics import top1
from ofa.supernet.files import write_atomic
from ofa.supernet.saving import save_weights
from ofa.supernet.space import Subnet
from ofa.supernet.supernet import Supernet
from ofa.supernet.training.checkpoint import Checkpoint, check_space, from_bytes, to_bytes
from ofa.supernet.training.errors import Diverged, OutOfMemory, Stopped, TooFewImages
from ofa.supernet.training.initial_weights import load_initial
from ofa.supernet.training.phases import SCHEDULES, Phase, min_options
from ofa.supernet.training.settings import Settings
from ofa.supernet.training.weight_sharing import train_supernet

TENSORBOARD = "train.tensorboard: true needs `pip install tensorboard`"
_WATCH_CALIBRATION = 256
_MEDIAN_OF = 101


def phases(recipe: Recipe) -> tuple[Phase, ...]:
    """The recipe's training phases, written out."""
    config = recipe.train
    if isinstance(config.phases, str):
        first, *later = SCHEDULES[config.phases](recipe.space, epochs=config.epochs, lr=config.lr)
        schedule = (first, *(replace(phase, lr=phase.lr * config.later_lr) for phase in later))
    else:
        schedule = tuple(phase.phase(first=number == 0) for number, phase in enumerate(config.phases))
    return schedule[1:] if config.skip_first_phase else schedule


def settings(recipe: Recipe) -> Settings:
    """What of ``train:`` is the same in all phases."""
    config = recipe.train
    renamed = {
        "distill_weight": config.distill,
        "distill_loss": config.loss,
        "grad_accum_steps": config.accumulate,
        "subnets_per_rank": {"same": "shared", "different": "independent"}[config.ranks],
        "seed": recipe.seed,
    }
    same = {name: getattr(config, name) for name in Settings.__dataclass_fields__ if name not in renamed}
    return Settings(**same, **renamed)


def run(job: Job) -> Outcome:
    config, data, folder = job.recipe.train, job.data, job.folder / "train"
    schedule, first_rank = phases(job.recipe), distributed.rank() == 0
    resume = checkpoints.newest(folder) if first_rank else None
    if distributed.processes() > 1:
        content = distributed.share(to_bytes(resume) if resume else None)
        resume = from_bytes(content) if content else None
    net = job.new_supernet()
    if resume:
        check_space(resume, net.space)
    elif config.init:
        left_out = start_from(net, config, schedule[0])
        if left_out and first_rank:
            print(f"{config.init}: all weights taken but {', '.join(left_out)}", flush=True)
    timer = checkpoints.Timer(steps=config.checkpoint.steps, minutes=config.checkpoint.minutes)

    def keep(checkpoint: Checkpoint) -> None:
        checkpoints.write(folder, checkpoint)
        timer.written()

    log: _Log | None = None

    def told(sentence: str) -> None:
        if log:
            log.threads(sentence)

    state = resume.values.get("threads") if resume else None
    threads = training_threads(state, told=told, compiled=config.compile)
    with ExitStack() as stack:
        stack.enter_context(threads.used())
        came = stack.enter_context(catch_stop_signals())
        log = stack.enter_context(_Log(job, schedule, done=resume.epochs if resume else 0)) if first_rank else None
        try:
            train_supernet(
                net,
                schedule,
                lambda epoch, start: data.train_batches(
                    epoch, config.batch_size, start=start, rank=distributed.rank(), ranks=distributed.processes()
                ),
                steps_per_epoch=data.steps(config.batch_size),
                normalize=data.normalize,
                settings=settings(job.recipe),
                macs=CostTable.macs(net.space, **job.head).predict,
                resume=resume,
                save_checkpoint=keep if first_rank else None,
                checkpoint_due=timer.due,
                on_epoch=log,
                stop=lambda: bool(came()),
                threads=threads,
            )
        except Stopped:
            raise_for(came())
        except Diverged as error:
            kept = sorted(folder.glob(checkpoints.PATTERN))
            where = f"; the last good checkpoint is {kept[-1]}, which train.init takes" if kept else ""
            raise UserError(f"training stopped: {error} (train.lr, train.clip_grad){where}") from error
        except TooFewImages as error:
            raise UserError(f"training stopped: {error}, of {data.counts['train']} in the training split") from error
        except OutOfMemory as error:
            raise UserError(f"training stopped: {error} (train.batch_size, train.accumulate)") from error
    if first_rank:
        save_weights(net, job.weights)
    broken = f", {len(data.broken)} unreadable images left out" if data.broken else ""
    epochs = sum(phase.epochs for phase in schedule)
    return [job.weights], f"{epochs} epochs in {len(schedule)} phases on {data.counts['train']} images{broken}"


def start_from(net: Supernet, config: TrainConfig, first: Phase) -> list[str]:
    """Loads ``train.init`` into the network; returns the names of the weights that the file has not for it.

    Raises ``UserError`` when the file does not fit, or when the ``first`` phase would learn from what it lacks.
    """
    try:
        left_out = load_initial(net, config.init)
    except ValueError as error:
        raise UserError(f"train.init: {error}") from error
    if left_out and first.teacher == "full":
        remedy = "take train.skip_first_phase out" if config.skip_first_phase else "give that phase another teacher"
        raise UserError(
            f"train.init: {config.init} is of a network with another number of classes than the {net.num_classes} of "
            f"the data, so {', '.join(left_out)} would be random, and phase {first.name} learns from them; {remedy}, "
            "or give weights trained on these classes"
        )
    return left_out


class _Log:
    """After every epoch: measures accuracies; writes ``metrics.jsonl``, TensorBoard, and a line to the screen."""

    def __init__(self, job: Job, schedule: tuple[Phase, ...], *, done: int) -> None:
        self.job, self.schedule = job, schedule
        self.path: Path = job.folder / "train" / "metrics.jsonl"
        self.rows = _rows(self.path)[:done]
        self.changes: list[str] = []  # of the number of threads, in this epoch
        self.board = _tensorboard(self.path.parent / "tensorboard", done) if job.recipe.train.tensorboard else None

    def __enter__(self) -> _Log:
        return self

    def threads(self, sentence: str) -> None:
        """The number of threads was changed: said at once, and in the epoch's row."""
        self.changes.append(sentence)
        tqdm.write(f"  {sentence}")

    def __exit__(self, *_: object) -> None:
        if self.board:
            self.board.close()

    def __call__(self, net: Supernet, phase: Phase, figures: dict[str, Any]) -> None:
        accuracies = {}
        if images := self.job.recipe.train.watch_images:
            accuracies = {
                name: top1(
                    self.job.extract_calibrated(subnet, net=net, images=_WATCH_CALIBRATION),
                    self.job.images("validation", subnet.resolution, limit=images),
                )
                for name, subnet in watched(self.job, phase).items()
            }
        row = figures | {f"accuracy_{name}": value for name, value in accuracies.items()}
        if self.changes:
            row["threads_changed"], self.changes = self.changes, []
        self.rows.append(json.dumps(row))
        write_atomic(self.path, "\n".join(self.rows) + "\n")
        if self.board:
            for name, value in row.items():
                if isinstance(value, float):
                    self.board.add_scalar(name, value, len(self.rows))
        shown = " ".join(f"{name} {value:.1%}" for name, value in accuracies.items())
        tqdm.write(
            f"  {phase.name} {figures['epoch']}/{phase.epochs}  loss {figures['loss']:.3f}  {shown}  lr "
            f"{figures['lr']:.2g}  {figures['images_per_second']:.0f} images/s  {_left(figures['seconds_left'])} left"
        )


def _rows(path: Path) -> list[str]:
    """The whole rows of ``metrics.jsonl``; when it is damaged it is moved aside, and those before are kept."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_bytes().split(b"\n")[:-1]:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            aside = quarantine(path, "damaged")
            print(f"{path} is damaged: moved to {aside.name}, {len(rows)} epochs before it kept", flush=True)
            break
        rows.append(line.decode())
    return rows


def watched(job: Job, phase: Phase) -> dict[str, Subnet]:
    """The networks whose accuracy an epoch's line tells: the smallest, median (by MACs) and largest that are open."""
    space = job.recipe.space
    lowest = min_options(space, phase)
    smallest = space.canonical(lowest[None].astype(np.int8))[0]
    largest = space.encode(space.largest)
    subnets = {"largest": space.largest}
    if not np.array_equal(smallest[1:], largest[1:]):
        codes = space.sample(_MEDIAN_OF, np.random.default_rng([job.recipe.seed, 3]), lowest=lowest)
        macs = CostTable.macs(space, **job.head).predict(codes)
        median = codes[np.argsort(macs, kind="stable")[len(codes) // 2]]
        subnets = {"smallest": space.decode(smallest), "median": space.decode(median), **subnets}
    return subnets


def _tensorboard(folder: Path, done: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UserError(TENSORBOARD) from error
    return SummaryWriter(str(folder), purge_step=done + 1)


def _left(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}" if minutes >= 60 else f"{minutes}:{seconds:02d}"
