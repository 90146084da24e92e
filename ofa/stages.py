"""The seven stages of a run. Each reads earlier artefacts, writes its own, returns its files and a line to print."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from ofa import accuracy_file, distributed
from ofa.card import write_card
from ofa.collect_stage import collect
from ofa.data import Data, open_data
from ofa.data_summary import data_lines
from ofa.devices import device_of
from ofa.export.verify import confusion
from ofa.export_stage import export
from ofa.final_times import Ready, final_times
from ofa.image_findings import unreadable_images
from ofa.model_files import model_path, open_session
from ofa.predictors.accuracy import AccuracyPredictor, quality
from ofa.predictors.cost import CostTable
from ofa.recipe import Recipe
from ofa.report import write_report
from ofa.report_classes import class_figures
from ofa.search_stage import measure, search_targets
from ofa.stage_checks import check_stages
from ofa.supernet.calibration import calibrate
from ofa.supernet.files import read_json, write_json
from ofa.supernet.images import tell_images
from ofa.supernet.space import Subnet
from ofa.supernet.supernet import Supernet
from ofa.threads import Evaluation
from ofa.train_stage import train

_TRIAL_BATCH = 64  # images that tell how many threads are best
_PROGRAM = ("sram", "flash", "instructions")  # measured of a microcontroller's program at export

Outcome = tuple[list[Path], str]


class Job:
    """One recipe, its folder, and what several stages share: the opened data and the trained supernet."""

    def __init__(self, recipe: Recipe, folder: Path, *, check_interrupt: Callable[[], None] = lambda: None) -> None:
        self.recipe, self.folder = recipe, folder
        self.check_interrupt = check_interrupt
        self.device = distributed.device()
        self.evaluation = Evaluation()
        self._left_out = frozenset(unreadable_images(folder)) if distributed.rank() == 0 else None

    @cached_property
    def data(self) -> Data:
        resolution = self.recipe.space.resolutions[-1]
        return open_data(
            self.recipe.data, resolution=resolution, seed=self.recipe.seed, left_out=self._left_out or frozenset()
        )

    def data_lines(self) -> list[str]:
        """What the data was understood to be, for the screen."""
        return data_lines(self.data)

    def check(self) -> None:
        """Raises ``UserError`` for what a stage would refuse, maybe hours later."""
        check_stages(self.recipe, self.data)

    def do(self, stage: str) -> Outcome:
        if stage in distributed.SHARED_STAGES:
            # Rank 0 has read all images; the others leave out the same ones.
            content = json.dumps(sorted(self._left_out)).encode() if self._left_out is not None else None
            self._left_out = frozenset(json.loads(distributed.share(content)))
        if stage == "train":  # it chooses threads for its own steps
            return _DO[stage](self)
        kept = self.folder / "threads.json" if stage == "collect" else None
        self.evaluation = Evaluation(kept, resume=(self.folder / "accuracy.csv").exists())
        with self.evaluation.threads.used():
            return _DO[stage](self)

    @property
    def head(self) -> dict[str, int]:
        return {"num_classes": len(self.data.classes), "in_chans": self.data.channels}

    @property
    def weights(self) -> Path:
        return self.folder / "supernet" / "weights.safetensors"

    def new_supernet(self) -> Supernet:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.seed)
            rates = {"drop_rate": self.recipe.train.dropout, "drop_path_rate": self.recipe.train.drop_path}
            net = Supernet(self.recipe.space, **self.head, **rates)
        given = {key: getattr(self.data, key) for key in ("mean", "std", "interpolation", "crop_pct")}
        return tell_images(net, **given).to(self.device)

    @cached_property
    def supernet(self) -> Supernet:
        """The trained supernet."""
        return self._trained(self.weights.read_bytes())

    def share_supernet(self) -> None:
        """Gives every process the trained supernet of rank 0; all must call it."""
        self.supernet = self._trained(distributed.share(self.weights.read_bytes() if distributed.rank() == 0 else None))

    def _trained(self, weights: bytes) -> Supernet:
        net = self.new_supernet()
        net.load_state_dict(safetensors.torch.load(weights))
        return net.eval()

    def images(self, split: str, resolution: int, *, limit: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Normalised batches on the device, resized as deployment would."""
        for images, labels in self.data.split_batches(split, resolution=resolution, limit=limit):
            yield self.data.normalize(images.to(self.device)), labels.to(self.device)

    def specialised(self, subnet: Subnet, *, net: Supernet | None = None, images: int | None = None) -> torch.nn.Module:
        """The subnet, extracted (from the trained supernet) and calibrated on training images."""
        return self.calibrated((net or self.supernet).extract(subnet), subnet.resolution, images=images)

    @contextmanager
    def evaluating(self, subnet: Subnet) -> Iterator[None]:
        """Around the measurement of its accuracy: with as many threads as are fastest, which is measured when due."""
        self.evaluation.ready(lambda: self._forward(subnet))
        with self.evaluation.timed(self.macs.predict(self.recipe.space.encode(subnet)[None])[0]):
            yield

    @cached_property
    def macs(self) -> CostTable:
        return CostTable.macs(self.recipe.space, **self.head)

    @torch.no_grad()
    def _forward(self, subnet: Subnet) -> None:
        """One batch through a network, to be timed."""
        side = subnet.resolution
        self.supernet.activate(subnet)(torch.zeros(_TRIAL_BATCH, self.data.channels, side, side, device=self.device))

    def calibrated(self, model: torch.nn.Module, resolution: int, *, images: int | None = None) -> torch.nn.Module:
        limit = images or self.recipe.collect.calibration_images
        return calibrate(model, (batch for batch, _ in self.images("train", resolution, limit=limit)))


def predict(job: Job) -> Outcome:
    space, kind, seed = job.recipe.space, job.recipe.predictor.kind, job.recipe.seed
    codes, accuracies = accuracy_file.read(job.folder / "accuracy.csv", space)
    folder = job.folder / "predictor"
    found = quality(space, codes, accuracies, kind=kind, seed=seed)
    write_json(folder / "quality.json", found)
    AccuracyPredictor(space, kind=kind, seed=seed).fit(codes, accuracies).save(folder)
    chosen = found.get("kind", kind)
    summary = (
        f"{chosen} on held-out subnets: Kendall tau {found['kendall_tau']:.2f}, RMSE {100 * found['rmse']:.2f} points, "
        f"{found['calibration']:.0%} within one standard deviation"
    )
    if dropped := int(found["rows_dropped"]):
        summary += f"; {dropped} rows without an accuracy left out"
    return sorted(folder.glob("*.json")) + sorted(folder.glob("*.npz")), summary


def report(job: Job) -> Outcome:
    """The only place that reads the test split."""
    threads = job.recipe.measure.threads
    measured: dict[str, dict[str, Any]] = {}
    timed: dict[str, Ready] = {}
    for name, target in job.recipe.targets.items():
        job.check_interrupt()
        device, folder = device_of(target), job.folder / "models" / name
        resolution = read_json(folder / "subnet.json")["subnet"]["resolution"]
        session = open_session(device, folder, threads=threads)
        images = job.images("test", resolution)
        counts = confusion(partial(device.scorer.run, session), images)
        program = read_json(folder / "verify.json").get("program", {})
        measured[name] = {**class_figures(counts), **{cost: program[cost] for cost in _PROGRAM if cost in program}}
        if device.timed:
            shape = (job.data.channels, resolution, resolution)
            timed[name] = Ready(device, model_path(device, folder), session, shape)
    for name, times in final_times(job, timed).items():
        measured[name] |= times
    files = write_report(job.recipe, job.folder, measured, counts=job.data.counts, classes=job.data.classes)
    data = {key: getattr(job.data, key) for key in ("classes", "mean", "std", "interpolation", "crop_pct", "channels")}
    values, data = read_json(job.folder / "report.json"), {**data, "licence": job.recipe.data.licence}
    cards = [write_card(job.folder / "models" / name / "card.md", values, name, data) for name in measured]
    return [*files, *cards], f"{files[-1]}"


_DO: dict[str, Callable[[Job], Outcome]] = {
    "train": train,
    "collect": collect,
    "predict": predict,
    "measure": measure,
    "search": search_targets,
    "export": export,
    "report": report,
}
