"""The seven stages of a run. Each reads earlier artefacts, writes its own, returns its files and a line to print."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from ofa import accuracy_file, distributed
from ofa.collect_stage import collect
from ofa.data import Data, open_data
from ofa.errors import UserError
from ofa.export.runtimes import onnxruntime
from ofa.export.runtimes.timing import interleaved, typical
from ofa.export.verify import accuracy
from ofa.export_stage import export
from ofa.predictors import latency
from ofa.predictors.accuracy import AccuracyPredictor, quality
from ofa.predictors.cost import CostTable
from ofa.recipe import Limit, Recipe
from ofa.report import write_report
from ofa.strategies.search import InfeasibleLimit, SearchResult, search
from ofa.supernet.calibration import calibrate
from ofa.supernet.files import read_json, write_json
from ofa.supernet.saving import load_subnet
from ofa.supernet.space import Subnet
from ofa.supernet.supernet import Supernet
from ofa.train_stage import train

LATENCY_ATTEMPTS = 4

Outcome = tuple[list[Path], str]


class Job:
    """One recipe, its folder, and what several stages share: the opened data and the trained supernet."""

    def __init__(self, recipe: Recipe, folder: Path, *, check_interrupt: Callable[[], None] = lambda: None) -> None:
        self.recipe, self.folder = recipe, folder
        self.check_interrupt = check_interrupt
        self.device = distributed.device()
        self.data: Data = open_data(recipe.data, resolution=recipe.space.resolutions[-1], seed=recipe.seed)

    def do(self, stage: str) -> Outcome:
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
        return net.to(self.device)

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


def measure(job: Job) -> Outcome:
    config = job.recipe.measure
    settings = {name: getattr(config, name) for name in type(config).model_fields}
    # Every target's runtime is onnxruntime on this machine so far: one table serves them all.
    table = latency.measure(job.recipe.space, **job.head, **settings, seed=job.recipe.seed)
    files = [job.folder / "costs" / f"{name}.json" for name in job.recipe.targets]
    for path in files:
        table.save(path)
    found = table.info["quality"]
    summary = (
        f"{table.info['blocks']} blocks on {table.info['runtime']} {table.info['version']}; error on "
        f"{found['test_subnets']} unseen subnets {found['mape']:.1%}, Kendall tau {found['kendall_tau']:.2f} "
        f"(a repeated measurement: {found['repeat_mape']:.1%}, {found['repeat_kendall_tau']:.2f})"
    )
    return files, summary


def search_targets(job: Job) -> Outcome:
    recipe, space = job.recipe, job.recipe.space
    predictor = AccuracyPredictor.load(job.folder / "predictor")
    counted = {name: getattr(CostTable, name)(space, **job.head) for name in ("macs", "params")}
    files = []
    for name, target in recipe.targets.items():
        costs = {**counted, "latency": _latency_table(job, name)}
        limits = {costs[limit.cost]: _absolute(limit, costs[limit.cost]) for limit in target.limits}
        try:
            found, measured = _search_and_time(job, predictor, limits)
        except InfeasibleLimit as error:
            raise UserError(f"targets.{name}: {error}") from error
        code = space.encode(found.best)[None]
        _, deviation = predictor.predict(code, return_std=True)
        values = {
            "subnet": found.best.to_dict(),
            "id": found.best.id,
            "limits": {table.name: limit for table, limit in limits.items()},
            "predicted": {
                "accuracy": found.accuracy,
                "accuracy_std": float(deviation[0]),
                **{cost: float(table.predict(code)[0]) for cost, table in costs.items()},
            },
            "measured_latency": measured,
            "evaluated": found.evaluated,
            "history": found.history,
            "front": [{**point, "subnet": point["subnet"].to_dict()} for point in found.front],
        }
        files.append(job.folder / "search" / f"{name}.json")
        write_json(files[-1], values)
    return files, f"{len(files)} targets: " + ", ".join(f"{path.stem} {read_json(path)['id']}" for path in files)


def _latency_table(job: Job, target: str) -> CostTable:
    path = job.folder / "costs" / f"{target}.json"
    try:
        return CostTable.load(path, environment=onnxruntime.environment(threads=job.recipe.measure.threads))
    except ValueError as error:
        raise UserError(f"{error}; delete {path}, and `ofa measure {job.folder}` measures it anew") from error


def _search_and_time(
    job: Job, predictor: AccuracyPredictor, limits: dict[CostTable, float]
) -> tuple[SearchResult, float]:
    """The best subnet whose latency is inside the limit also when the whole network is timed, and that time in ms.

    A table is right on average; where it was too hopeful about the winner, the search is repeated with as much less
    room, a few times at most.
    """
    space, settings = job.recipe.space, job.recipe.search.model_dump()
    tables = [table for table in limits if table.name == "latency"]
    found, measured, room = None, float("nan"), dict(limits)
    for _ in range(LATENCY_ATTEMPTS):
        try:
            found = search(space, predictor, limits=room, seed=job.recipe.seed, **settings)
        except InfeasibleLimit:
            if found is None:
                raise
            break  # the limit itself can be met; less room than that cannot
        times = latency.time_subnets(space, [found.best], **job.head, threads=job.recipe.measure.threads)
        measured = float(times[0])
        if all(measured <= limits[table] for table in tables):
            break
        room |= {table: room[table] * 0.99 * limits[table] / measured for table in tables}
    return found, measured


def _absolute(limit: Limit, table: CostTable) -> float:
    if not limit.relative:
        return limit.value
    return limit.value * float(table.predict(table.space.encode(table.space.largest)[None])[0])


def report(job: Job) -> Outcome:
    """The only place that reads the test split."""
    threads = job.recipe.measure.threads
    sessions, calls, tests = [], [], []
    for name in job.recipe.targets:
        model = load_subnet(job.folder / "models" / name)
        resolution = read_json(job.folder / "models" / name / "subnet.json")["subnet"]["resolution"]
        session = onnxruntime.load(job.folder / "models" / name / "model.onnx", threads=threads)
        sessions.append(session)
        calls.append(onnxruntime.prepared(session, (1, model.in_chans, resolution, resolution)))
        images = job.images("test", resolution)
        tests.append(accuracy(lambda batch, session=session: onnxruntime.run(session, batch), images))
    times = typical(1e3 * interleaved(calls, rounds=100, description="time the models"))
    measured = {
        name: {"latency": float(time), "test_accuracy": test}
        for name, time, test in zip(job.recipe.targets, times, tests, strict=True)
    }
    files = write_report(job.recipe, job.folder, measured, counts=job.data.counts)
    return files, f"{files[-1]}"


_DO: dict[str, Callable[[Job], Outcome]] = {
    "train": train,
    "collect": collect,
    "predict": predict,
    "measure": measure,
    "search": search_targets,
    "export": export,
    "report": report,
}
