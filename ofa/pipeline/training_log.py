"""What is shown and kept of every training epoch: a line on the screen, a row of ``metrics.jsonl``, TensorBoard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ofa.errors import UserError
from ofa.pipeline.job import Job
from ofa.pipeline.run_folder import quarantine
from ofa.predictors.costs.cost_table import CostTable
from ofa.predictors.metrics import top1
from ofa.supernet.files import write_atomic
from ofa.supernet.space import SearchSpace, Subnet
from ofa.supernet.supernet import Supernet
from ofa.supernet.training.phases import Phase, min_options

TENSORBOARD = "train.tensorboard: true needs `pip install tensorboard`"
_CALIBRATION_IMAGES = 256
_MEDIAN_OF = 101


class TrainingLog:
    """Called after every epoch; ``done``: epochs of an earlier start, whose rows are kept.

    ``watched_subnets`` says which networks are measured.
    """

    def __init__(self, job: Job, *, done: int) -> None:
        self.job = job
        path: Path = job.folder / "train" / "metrics.jsonl"
        self.epochs = EpochRows(path, done=done)
        self.thread_changes: list[str] = []  # in this epoch
        self.board = _tensorboard(path.parent / "tensorboard", done) if job.recipe.train.tensorboard else None

    def __enter__(self) -> TrainingLog:
        return self

    def __exit__(self, *_: object) -> None:
        if self.board:
            self.board.close()

    def threads_changed(self, sentence: str) -> None:
        """Says at once, and in the epoch's row, that another number of threads is used."""
        self.thread_changes.append(sentence)
        tqdm.write(f"  {sentence}")

    def __call__(self, net: Supernet, phase: Phase, figures: dict[str, Any]) -> None:
        """Measures the watched networks and writes the epoch's ``figures`` with their accuracies."""
        accuracies = self._accuracies(net, phase)
        row = figures | {f"accuracy_{name}": value for name, value in accuracies.items()}
        if self.thread_changes:
            row["threads_changed"], self.thread_changes = self.thread_changes, []
        self.epochs.append(row)

        if self.board:
            for name, value in row.items():
                if isinstance(value, float):
                    self.board.add_scalar(name, value, len(self.epochs.rows))

        shown = " ".join(f"{name} {value:.1%}" for name, value in accuracies.items())
        tqdm.write(epoch_line(phase.name, phase.epochs, figures, shown))

    def _accuracies(self, net: Supernet, phase: Phase) -> dict[str, float]:
        job = self.job
        if not (images := job.recipe.train.eval_images):
            return {}
        subnets = watched_subnets(job.recipe.space, phase, job.model_kwargs, seed=job.recipe.seed)
        return {
            name: top1(
                job.extract_calibrated(subnet, net=net, images=_CALIBRATION_IMAGES),
                job.images("validation", subnet.resolution, limit=images),
            )
            for name, subnet in subnets.items()
        }


class EpochRows:
    """The figures of every epoch as rows of a file; ``done``: epochs of an earlier start, whose rows are kept."""

    def __init__(self, path: Path, *, done: int) -> None:
        self.path, self.rows = path, _read_rows(path)[:done]

    def append(self, row: dict[str, Any]) -> None:
        self.rows.append(json.dumps(row))
        write_atomic(self.path, "\n".join(self.rows) + "\n")


def epoch_line(name: str, epochs: int, figures: dict[str, Any], shown: str = "") -> str:
    """What the screen shows of an epoch of ``epochs``: its ``figures`` (see ``loop.Hooks``), and what else is given."""
    minutes, seconds = divmod(round(figures["seconds_left"]), 60)
    left = f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}" if minutes >= 60 else f"{minutes}:{seconds:02d}"
    loss = "-" if figures["loss"] is None else f"{figures['loss']:.3f}"
    parts = [f"{name} {figures['epoch']}/{epochs}", f"loss {loss}", shown]
    return "  ".join(["", *filter(None, parts), f"{figures['images_per_second']:.0f} images/s", f"{left} left"])


def watched_subnets(space: SearchSpace, phase: Phase, model_kwargs: dict[str, int], *, seed: int) -> dict[str, Subnet]:
    """The networks whose accuracy is measured: the smallest, the median (by MACs) and the largest that are open."""
    lowest = min_options(space, phase)
    smallest = space.canonical(lowest[None].astype(np.int8))[0]
    largest = space.encode(space.largest)
    if np.array_equal(smallest[1:], largest[1:]):
        return {"largest": space.largest}
    codes = space.sample(_MEDIAN_OF, np.random.default_rng([seed, 3]), min_options=lowest)
    macs = CostTable.macs(space, **model_kwargs).predict(codes)
    median = codes[np.argsort(macs, kind="stable")[len(codes) // 2]]
    return {"smallest": space.decode(smallest), "median": space.decode(median), "largest": space.largest}


def _read_rows(path: Path) -> list[str]:
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


def _tensorboard(folder: Path, done: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UserError(TENSORBOARD) from error
    return SummaryWriter(str(folder), purge_step=done + 1)
