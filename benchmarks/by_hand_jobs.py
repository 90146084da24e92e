"""The trainings of ``benchmarks/by_hand.py``, each a job of a worker, and the rows that they give."""

from __future__ import annotations

import json
import time
import traceback
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from hand_made import HAND_MADE, macs_of
from small_images import SIDE, SmallImages
from torch import nn

from ofa.predictors.accuracy.predictor import AccuracyPredictor
from ofa.predictors.costs.cost_table import CostTable
from ofa.predictors.metrics import top1
from ofa.predictors.sampling import stratified_sample
from ofa.strategies.search import search
from ofa.supernet.calibration import calibrate
from ofa.supernet.saving import save_weights
from ofa.supernet.space import SearchSpace, Subnet
from ofa.supernet.supernet import Supernet
from ofa.supernet.training.checkpoint import read_checkpoint, write_checkpoint
from ofa.supernet.training.errors import Stopped
from ofa.supernet.training.finetune import finetune
from ofa.supernet.training.phases import SCHEDULES, Phase, sample_subnets
from ofa.supernet.training.sampling import sample_resolution
from ofa.supernet.training.settings import Settings
from ofa.supernet.training.weight_sharing import train_supernet

# 32 pixels without the stem's stride: 4.5 to 71.1 million multiply-accumulates.
SPACE = SearchSpace.from_dict(
    {
        "family": "mobilenetv3",
        "resolutions": [24, 28, 32],
        "stem": {"width": 16, "first_width": 16, "stride": 1},
        "stages": [
            {"width": width, "stride": stride, "act": act, "se": se, "depths": [1, 2, 3], "kernels": [3, 5],
             "expands": [2, 3, 4, 6]}
            for width, stride, act, se in (
                (24, 2, "relu", False), (48, 1, "hard_swish", True), (96, 2, "hard_swish", True),
                (160, 2, "hard_swish", True),
            )
        ],
        "head": {"width": 480, "features": 640},
    }
)  # fmt: skip
LIMITS = (5e6, 10e6, 20e6, 30e6, 40e6)
LR, BATCH = 0.4, 256
SETTINGS = Settings(weight_decay=1e-4, label_smoothing=0.1, warmup_epochs=3)
FINETUNED = 0.1  # epochs of fine-tuning of each of the five, as a share of the full network's
FINETUNE_LR = 0.1  # of LR
MEASURED, CANDIDATES = 100, 5
CALIBRATION_IMAGES = 2000


@dataclass(frozen=True)
class Job:
    """One training. ``way``: supernet, alone or hand; ``network``: of hand its name, of alone the limit it was for."""

    data: str
    way: str
    network: str
    epochs: int
    seed: int


@dataclass(frozen=True)
class Row:
    """A network measured. ``stage``: before or after fine-tuning, or "trained"; ``train_macs`` of the whole job."""

    job: dict[str, Any]
    network: str
    stage: str
    macs: float
    val: float
    test: float
    train_macs: float
    seconds: float
    subnet: str = ""


def read_rows(out: Path) -> list[Row]:
    path = out / "rows.jsonl"
    return [Row(**json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


_WORK: dict[str, Any] = {}


def begin(work: dict[str, Any]) -> None:
    _WORK.update(work)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


def out_of_time() -> bool:
    return time.time() > _WORK["ends"]


@cache
def images_of(data: str) -> SmallImages:
    with np.load(_WORK["images"] / f"{data}.npz") as arrays:
        return SmallImages(dict(arrays), torch.device(_WORK["device"]))


def run(job: Job) -> list[Row]:
    """Trains and measures; a training that fails or runs out of time has no rows."""
    if out_of_time():
        return []
    try:
        return WAYS[job.way](job, images_of(job.data))
    except Stopped:
        print(f"{job}: out of time", flush=True)
    except Exception:
        print(f"{job}:\n{traceback.format_exc()}", flush=True)
    return []


def supernet_rows(job: Job, images: SmallImages) -> list[Row]:
    """A supernet, what search makes of it, and the same trained on."""
    started, macs = time.perf_counter(), macs_table(images)
    torch.manual_seed(job.seed)
    net = Supernet(SPACE, num_classes=images.num_classes, in_chans=images.in_chans, drop_rate=0.1)
    net.to(images.device)
    phases, compute = phases_of(job), whole_compute(job, images, macs)
    name = f"{job.data}-{job.epochs}-{job.seed}"
    path, position = _WORK["out"] / f"{name}.safetensors", _WORK["out"] / f"{name}.checkpoint"
    if path.exists():
        net.load_state_dict(safetensors.torch.load_file(path))
    else:
        train_supernet(
            net,
            phases,
            batches_of(images, job.seed),
            resume=read_checkpoint(position) if position.exists() else None,
            save_checkpoint=partial(write_checkpoint, position),
            stop=out_of_time,
            macs=macs.predict,
            **training(job, images),
        )
        save_weights(net, path)
        position.unlink(missing_ok=True)

    # What the predictor learns from, and the best few of its guesses.
    codes = stratified_sample(SPACE, MEASURED, macs, np.random.default_rng(job.seed))
    accuracy = {
        subnet: measured(net.extract(subnet), images, subnet.resolution)[0] for subnet in map(SPACE.decode, codes)
    }
    predictor = AccuracyPredictor(SPACE, kind="gp").fit(codes, np.array(list(accuracy.values())))
    teacher, rows = net.extract(SPACE.largest).to(images.device).eval(), []
    for limit in LIMITS:
        found = search(SPACE, predictor, limits={macs: limit}, seed=job.seed).top[:CANDIDATES]
        for subnet in found:
            accuracy[subnet] = measured(net.extract(subnet), images, subnet.resolution)[0]
        inside = [subnet for subnet in accuracy if cost_of(subnet, macs) <= limit]
        subnet = max(inside, key=accuracy.__getitem__)
        model = net.extract(subnet).to(images.device)

        def row(stage: str, model: nn.Module = model, subnet: Subnet = subnet, limit: float = limit) -> Row:
            figures = measured(model, images, subnet.resolution)
            seconds = time.perf_counter() - started
            return Row(
                asdict(job), f"{limit:g}", stage, cost_of(subnet, macs), *figures, compute, seconds, subnet.to_json()
            )

        rows.append(row("searched"))
        sizes = {"resolution": subnet.resolution, "teacher_resolution": SPACE.largest.resolution}
        epochs, later = finetuning_epochs(job), batches_of(images, job.seed + 1000)
        finetune(
            model,
            teacher,
            later,
            epochs=epochs,
            lr=FINETUNE_LR * LR,
            stop=out_of_time,
            **sizes,
            **training(job, images),
        )
        rows.append(row("finetuned"))
    return rows


def alone_rows(job: Job, images: SmallImages) -> list[Row]:
    """A network that search found, from nothing."""
    of_job = [row for row in read_rows(_WORK["out"]) if row.stage == "finetuned" and row.network == job.network]
    found = next(row for row in of_job if row.job == asdict(replace(job, way="supernet", network="")))
    subnet, macs = Subnet.from_json(found.subnet), macs_table(images)
    torch.manual_seed(job.seed)
    net = Supernet(SPACE, num_classes=images.num_classes, in_chans=images.in_chans, drop_rate=0.1)
    model = net.extract(subnet)
    compute = 3 * cost_of(subnet, macs) * job.epochs * images.steps(BATCH) * BATCH
    return [trained_row(job, images, model, found.network, subnet.resolution, found.macs, job.epochs, compute)]


def hand_rows(job: Job, images: SmallImages) -> list[Row]:
    """A network made by hand, with a fifth of the supernet's compute."""
    torch.manual_seed(job.seed)
    model = HAND_MADE[job.network](num_classes=images.num_classes, in_chans=images.in_chans)
    macs = macs_of(model, side=SIDE, in_chans=images.in_chans)
    compute = whole_compute(job, images, macs_table(images)) / len(LIMITS)
    epochs = max(1, round(compute / (3 * macs * images.steps(BATCH) * BATCH)))
    return [trained_row(job, images, model, job.network, SIDE, macs, epochs, compute)]


WAYS = {"supernet": supernet_rows, "alone": alone_rows, "hand": hand_rows}


def trained_row(
    job: Job,
    images: SmallImages,
    model: nn.Module,
    network: str,
    resolution: int,
    macs: float,
    epochs: int,
    compute: float,
) -> Row:
    """A plain network trained on labels with a warm-up and one cosine."""
    started = time.perf_counter()
    model.to(images.device, memory_format=torch.channels_last)
    options = {"epochs": epochs, "lr": LR, "resolution": resolution, "stop": out_of_time}
    warm_up(model, images, job, resolution)
    finetune(model, None, batches_of(images, job.seed), **options, **training(job, images))
    figures = measured(model, images, resolution)
    return Row(asdict(job), network, "trained", macs, *figures, compute, time.perf_counter() - started)


def warm_up(model: nn.Module, images: SmallImages, job: Job, resolution: int) -> None:
    """An epoch at a tenth of the learning rate: ``finetune`` has no warm-up."""
    options = {"epochs": 1, "lr": LR / 10, "resolution": resolution, "stop": out_of_time}
    finetune(model, None, batches_of(images, job.seed + 2000), **options, **training(job, images))


# -- shared by the ways -----------------------------------------------------------------------------------------------


@cache
def macs_table(images: SmallImages) -> CostTable:
    return CostTable.macs(SPACE, num_classes=images.num_classes, in_chans=images.in_chans)


def cost_of(subnet: Subnet, macs: CostTable) -> float:
    return float(macs.predict(SPACE.encode(subnet)[None])[0])


def phases_of(job: Job) -> tuple[Phase, ...]:
    return SCHEDULES["auto"](SPACE, epochs=2 * job.epochs, lr=LR)


def finetuning_epochs(job: Job) -> int:
    return max(1, round(FINETUNED * job.epochs))


def training(job: Job, images: SmallImages) -> dict[str, Any]:
    settings = replace(SETTINGS, seed=job.seed)
    return {
        "normalize": images.normalize,
        "settings": settings,
        "steps_per_epoch": images.steps(BATCH),
        "progress": False,
    }


def batches_of(images: SmallImages, seed: int) -> Any:
    return lambda epoch, start: images.train_batches(epoch, start, size=BATCH, seed=seed)


@cache
def _compute_of(job: Job, images: SmallImages, macs: CostTable) -> float:
    """Of an image in every step of the supernet's training: the subnets that ``train_supernet`` will draw."""
    codes, teachers, step = [], [], 0
    largest = SPACE.encode(SPACE.largest)
    for phase in phases_of(job):
        for _ in range(phase.epochs * images.steps(BATCH)):
            rng = np.random.default_rng([job.seed, step])
            resolution = sample_resolution(SPACE, rng)
            codes.append(sample_subnets(SPACE, phase, rng=rng, resolution=resolution, scorer=None))
            if phase.teacher == "full":
                teachers.append(np.concatenate([[resolution], largest[1:]]))
            step += 1
    return float(3 * macs.predict(np.concatenate(codes)).sum() + macs.predict(np.stack(teachers)).sum())


def whole_compute(job: Job, images: SmallImages, macs: CostTable) -> float:
    """Of the supernet of a job's seed and of fine-tuning its five networks, each as large as its limit allows."""
    of_supernet = replace(job, way="supernet", network="")
    steps = finetuning_epochs(job) * images.steps(BATCH)
    largest = cost_of(SPACE.largest, macs)
    tuning = sum(3 * limit + largest for limit in LIMITS) * steps
    return BATCH * (_compute_of(of_supernet, images, macs) + tuning)


def measured(model: nn.Module, images: SmallImages, resolution: int) -> tuple[float, float]:
    """Accuracy on validation and test images, after calibration."""
    model.to(images.device)
    calibrate(model, (batch for batch, _ in images.batches("train", resolution, limit=CALIBRATION_IMAGES)))
    val, test = (top1(model.eval(), images.batches(split, resolution)) for split in ("val", "test"))
    return val, test
