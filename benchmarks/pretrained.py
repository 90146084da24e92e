"""What a pretrained start is worth, with EfficientNet-Lite0.

A supernet from trained weights, one from nothing, and the plain network fine-tuned, at equal training compute.

    python benchmarks/pretrained_lite0.py WEIGHTS.safetensors
    python benchmarks/pretrained.py RESULTS --weights WEIGHTS.safetensors --cifar10 FOLDER --trashnet FOLDER
    python benchmarks/pretrained_tables.py RESULTS

First a sweep with seed 0: learning rates and layer-wise decay for each start (not with ``--no-sweep``). What scores
best on the validation images is then trained with the seeds 1, 2, ...; only these runs are shown. ``weights``: the
supernet from trained weights, ``nothing``: from random ones, ``plain``: timm's own network from trained weights, at
each resolution that the supernet has. A plain network gets as many multiply-accumulates of forward and backward passes
as the supernet; a pass without a backward one (the teacher's) counts a third. One supernet from nothing has twice that.

Every subnet is calibrated on training images; test images are not looked at before the rows are written. Rows are
appended to RESULTS/rows.jsonl; what is there is not done again. Data and augmentation are on the device, so that a few
``--workers`` feed one GPU. ``--minutes`` ends it early, with the rows that are there.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from pretrained_images import READERS, Images, normalize
from torch import nn

from ofa.predictors.accuracy.predictor import AccuracyPredictor
from ofa.predictors.costs.cost_table import CostTable
from ofa.predictors.metrics import top1
from ofa.predictors.sampling import stratified_sample
from ofa.strategies.search import search
from ofa.supernet.calibration import calibrate
from ofa.supernet.space import SearchSpace
from ofa.supernet.supernet import Supernet
from ofa.supernet.training.finetune import finetune
from ofa.supernet.training.initial_weights import load_initial
from ofa.supernet.training.phases import SCHEDULES, Phase, sample_subnets
from ofa.supernet.training.sampling import sample_resolution
from ofa.supernet.training.settings import Settings
from ofa.supernet.training.weight_sharing import train_supernet

MODEL = "tf_efficientnet_lite0"
RESOLUTIONS = (64, 80, 96)
OPTIONS = {"kernels": "auto", "expands": [0.5, 0.75, 1.0], "widths": [0.75, 1.0], "depths": "auto"}
BATCH = {"cifar10": 128, "trashnet": 64}
SETTINGS = Settings(weight_decay=1e-4, label_smoothing=0.1, warmup_epochs=1)
LATER_LR = (
    2.5  # on the learning rate after the first phase, which suits short trainings (benchmarks/results/cifar10.md)
)
SHOWN, MEASURED = 20, 40  # subnets of the table, and further ones that the accuracy predictor learns from
LIMITS = (0.5, 0.25, 0.125)  # of the largest subnet's multiply-accumulates
CALIBRATION_IMAGES = 1000
# (learning rate for 64 images of a batch, layer decay) for each start, tried with seed 0; the first without a sweep.
SWEEP = {
    "weights": [(0.02, 0.9), (0.006, 1.0), (0.02, 1.0), (0.06, 0.9)],
    "nothing": [(0.15, 1.0)],
    "plain": [(0.02, 0.9), (0.02, 1.0)],
}
LONGER = 2  # times the compute, from nothing, with the first of the seeds


@dataclass(frozen=True)
class Job:
    """One training; ``epochs`` are those of each of the supernet's two phases, ``resolution`` is a plain network's."""

    data: str
    start: str
    lr: float
    layer_decay: float
    seed: int
    epochs: int
    resolution: int = RESOLUTIONS[-1]


@dataclass(frozen=True)
class Row:
    """A network measured after a training. ``kind``: "shown", "measured", "plain", or the limit that search met."""

    job: dict[str, Any]
    kind: str
    subnet: str
    macs: float
    val: float
    test: float
    train_macs: float
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="RESULTS")
    parser.add_argument("--weights", type=Path, required=True, help="a .safetensors file by pretrained_lite0.py")
    for name in READERS:
        parser.add_argument(f"--{name}", type=Path, metavar="FOLDER", help=f"the images of {name}")
        parser.add_argument(f"--{name}-epochs", type=int, default=4, help="of each of the supernet's two phases")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--no-sweep", action="store_true", help="take the first learning rate and layer decay of each")
    parser.add_argument("--images", type=int, help="use so many of each split only, to try it out")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=1e6, help="end after so long, finished or not")
    options = parser.parse_args()
    ends = time.monotonic() + 60 * options.minutes

    # Images are decoded once, for all workers.
    options.out.mkdir(parents=True, exist_ok=True)
    epochs = {name: getattr(options, f"{name}_epochs") for name in READERS if getattr(options, name)}
    folder = Path(tempfile.mkdtemp())
    for name in epochs:
        arrays = READERS[name](getattr(options, name))
        np.savez(folder / f"{name}.npz", **{key: _some(array, options.images) for key, array in arrays.items()})

    # The sweep, then the best of it with other seeds.
    work = {"images": folder, "weights": options.weights, "device": options.device}
    with multiprocessing.get_context("spawn").Pool(options.workers, _begin, [work]) as pool:
        sweep = [
            Job(name, start, *setting, seed=0, epochs=epochs[name])
            for name in epochs
            for start, settings in SWEEP.items()
            for setting in settings
            if not options.no_sweep
        ]
        if not run_all(pool, sweep, options.out, ends=ends):
            return
        finals = [
            job
            for seed in options.seeds
            for name in epochs
            for job in chosen(read_rows(options.out), name, epochs[name], seed=seed)
        ]
        longer = [job for job in finals if (job.start, job.seed) == ("nothing", options.seeds[0])]
        finals.sort(key=lambda job: job.resolution != RESOLUTIONS[-1])  # what there may be no time for comes last
        finals += [replace(job, epochs=LONGER * job.epochs) for job in longer]
        run_all(pool, finals, options.out, ends=ends)


def _some(array: np.ndarray, images: int | None) -> np.ndarray:
    """So many, spread over the array, which may be sorted by class."""
    return array[:: max(1, len(array) // images)] if images else array


# -- jobs -------------------------------------------------------------------------------------------------------------


def run_all(pool: Any, jobs: Sequence[Job], out: Path, *, ends: float) -> bool:
    """Runs those that have no rows yet and appends their rows; whether all were done in time."""
    done = {json.dumps(row.job) for row in read_rows(out)}
    todo = [job for job in jobs if json.dumps(asdict(job)) not in done]
    results = pool.imap_unordered(run, todo)
    for number in range(len(todo)):
        try:
            rows = results.next(timeout=max(0.0, ends - time.monotonic()))
        except multiprocessing.TimeoutError:
            print(f"out of time: {len(todo) - number} of {len(todo)} trainings are missing", flush=True)
            return False
        with (out / "rows.jsonl").open("a") as file:
            file.writelines(json.dumps(asdict(row)) + "\n" for row in rows)
        print(f"{number + 1}/{len(todo)}", summary(rows) if rows else "failed, see above", flush=True)
    return True


def chosen(rows: Sequence[Row], data: str, epochs: int, *, seed: int) -> Iterator[Job]:
    """Of each start what was best in the sweep; the plain network at every resolution."""
    for start in SWEEP:
        tried = [row for row in rows if (row.job["data"], row.job["start"], row.job["seed"]) == (data, start, 0)]
        by_setting: dict[tuple[float, float], list[float]] = {}
        for row in tried:
            if row.job["epochs"] == epochs and row.kind in ("shown", "plain"):
                by_setting.setdefault((row.job["lr"], row.job["layer_decay"]), []).append(row.val)
        best = max(by_setting or SWEEP[start][:1], key=lambda setting: mean(by_setting.get(setting, [0.0])))
        for resolution in RESOLUTIONS if start == "plain" else RESOLUTIONS[-1:]:
            yield Job(data, start, *best, seed=seed, epochs=epochs, resolution=resolution)


def summary(rows: Sequence[Row]) -> str:
    job, shown = rows[0].job, [row for row in rows if row.kind in ("shown", "plain")]
    accuracies = f"val {100 * mean(row.val for row in shown):.1f}, test {100 * mean(row.test for row in shown):.1f}"
    name = "{data} {start} lr {lr} decay {layer_decay} seed {seed} at {resolution}".format(**job)
    return f"{name}: {accuracies}, {rows[0].train_macs / 1e12:.1f} TMACs, {rows[0].seconds:.0f} s"


def read_rows(out: Path) -> list[Row]:
    path = out / "rows.jsonl"
    return [Row(**json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


# -- one job, in a worker ---------------------------------------------------------------------------------------------

_WORK: dict[str, Any] = {}


def _begin(work: dict[str, Any]) -> None:
    _WORK.update(work)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # a network from nothing has many, which CPUs are slow with


@cache
def images_of(data: str) -> Images:
    with np.load(_WORK["images"] / f"{data}.npz") as arrays:
        return Images(dict(arrays), torch.device(_WORK["device"]))


@cache
def search_space() -> SearchSpace:
    return SearchSpace.from_timm(MODEL, resolutions=list(RESOLUTIONS), **OPTIONS)


def run(job: Job) -> list[Row]:
    """Trains and measures. A training that fails has no rows: one learning rate too many must not end the others."""
    try:
        return trained_and_measured(job)
    except Exception:
        print(f"{job}:\n{traceback.format_exc()}", flush=True)
        return []


def trained_and_measured(job: Job) -> list[Row]:
    """Subnets on validation and test images alike, but only validation accuracy is chosen by."""
    started = time.perf_counter()
    images, space = images_of(job.data), search_space()
    macs = CostTable.macs(space, num_classes=images.num_classes, in_chans=3)
    torch.manual_seed(job.seed)
    net = Supernet(space, num_classes=images.num_classes, drop_rate=0.1)
    if job.start != "nothing":
        load_initial(net, _WORK["weights"])
    net.to(images.device)
    peak = job.lr * BATCH[job.data] / 64
    first, second = SCHEDULES["random"](space, epochs=job.epochs, lr=peak)
    phases = (first, replace(second, epochs=job.epochs, lr=second.lr * LATER_LR))
    steps = images.steps(BATCH[job.data])
    compute = training_macs(space, phases, steps, macs, seed=job.seed) * BATCH[job.data]
    settings = replace(SETTINGS, layer_decay=job.layer_decay, seed=job.seed)

    def batches(epoch: int, start: int) -> Iterator[Any]:
        size = {"batch_size": BATCH[job.data], "side": RESOLUTIONS[-1]}
        return images.train_batches(epoch, start, **size, seed=job.seed)

    def row(kind: str, model: nn.Module, code: np.ndarray) -> Row:
        subnet = space.decode(code)
        val, test = accuracies(model, images, subnet.resolution)
        seconds = time.perf_counter() - started
        cost = float(macs.predict(code[None])[0])
        return Row(asdict(job), kind, subnet.to_json(), cost, val, test, compute, seconds)

    # The plain network: the largest subnet, extracted.
    if job.start == "plain":
        code = space.encode(replace(space.largest, resolution=job.resolution))
        model = net.extract(space.decode(code)).to(images.device)
        epochs = max(1, round(compute / (3 * macs.predict(code[None])[0] * steps * BATCH[job.data])))
        same = {"normalize": normalize, "settings": settings, "steps_per_epoch": steps, "progress": False}
        finetune(model, None, batches, epochs=epochs, lr=peak, resolution=job.resolution, **same)
        return [row("plain", model, code)]

    # The supernet; then subnets spread over sizes, and what search makes of more of them.
    same = {"normalize": normalize, "settings": settings, "steps_per_epoch": steps, "progress": False}
    train_supernet(net, phases, batches, macs=macs.predict, **same)
    shown = stratified_sample(space, SHOWN, macs, np.random.default_rng(0))
    rows = [row("shown", net.extract(space.decode(code)), code) for code in shown]
    if job.seed == 0:  # the sweep
        return rows
    more = stratified_sample(space, MEASURED, macs, np.random.default_rng(1))
    rows += [row("measured", net.extract(space.decode(code)), code) for code in more]
    predictor = AccuracyPredictor(space, kind="gp").fit(
        np.concatenate([shown, more]), np.array([each.val for each in rows])
    )
    largest = macs.predict(space.encode(space.largest)[None])[0]
    for limit in LIMITS:
        best = search(space, predictor, limits={macs: limit * largest}, seed=job.seed).best
        rows.append(row(f"{limit:g}", net.extract(best), space.encode(best)))
    return rows


def training_macs(
    space: SearchSpace, phases: Sequence[Phase], steps_per_epoch: int, macs: CostTable, *, seed: int
) -> float:
    """Of an image in every step, forward and backward (three times a forward pass) and in the teacher's forward pass.

    Draws the subnets that ``train_supernet`` will draw.
    """
    codes, teachers, step = [], [], 0
    largest = space.encode(space.largest)
    for phase in phases:
        for _ in range(phase.epochs * steps_per_epoch):
            rng = np.random.default_rng([seed, step])
            resolution = sample_resolution(space, rng)
            codes.append(sample_subnets(space, phase, rng=rng, resolution=resolution, scorer=None))
            if phase.teacher == "full":
                teachers.append(np.concatenate([[resolution], largest[1:]]))
            step += 1
    teaching = macs.predict(np.stack(teachers).astype(largest.dtype)).sum() if teachers else 0.0
    return float(3 * macs.predict(np.concatenate(codes)).sum() + teaching)


def accuracies(model: nn.Module, images: Images, resolution: int) -> tuple[float, float]:
    """On validation and test images, after calibration."""
    model.to(images.device)
    calibrate(model, (batch for batch, _ in images.batches("train", resolution, limit=CALIBRATION_IMAGES)))
    val, test = (top1(model.eval(), images.batches(split, resolution)) for split in ("val", "test"))
    return val, test


if __name__ == "__main__":
    main()
