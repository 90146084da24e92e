"""The stage ``export``: each target's network, calibrated or fine-tuned, as checked model files."""

from __future__ import annotations

import torch
from tqdm import tqdm

from ofa.config.train import FinetuneConfig
from ofa.data.preprocess import METADATA
from ofa.errors import UserError
from ofa.export.verify import VerificationError
from ofa.pipeline.job import Job, Outcome
from ofa.pipeline.threads import training_threads
from ofa.predictors.metrics import top1
from ofa.report.escape import without_folders_inside
from ofa.stages.train import phases, settings
from ofa.supernet.files import read_json, write_atomic, write_json
from ofa.supernet.saving import save_subnet
from ofa.supernet.space import Subnet
from ofa.supernet.training.errors import Diverged
from ofa.supernet.training.finetune import finetune
from ofa.targets.deployment import deployment_of, environment
from ofa.targets.model_files import ExportSpec, write_models


def run(job: Job) -> Outcome:
    data, files, worst = job.data, [], 0.0
    targets = job.recipe.targets.items()
    for name, target in tqdm(targets, desc="export and verify", unit="target", disable=None):
        job.check_interrupt()
        device = deployment_of(target)
        found = read_json(job.folder / "search" / f"{name}.json")
        subnet = Subnet.from_dict(found["subnet"])
        folder = job.folder / "models" / name
        model, before = job.extract_calibrated(subnet), None
        if config := target.finetune:
            before = top1(model, job.images("validation", subnet.resolution))
            model = _finetuned(job, model, subnet, name, config)
        model = model.cpu()
        save_subnet(model, subnet, folder)
        metadata = {
            "classes": data.classes,
            "mean": data.mean,
            "std": data.std,
            "interpolation": data.interpolation,
            "crop_pct": data.crop_pct,
            **METADATA,
            "subnet": subnet.to_dict(),
        }
        wanted = ExportSpec(
            model, folder, subnet.resolution, metadata, target.int8_drop, onnx=target.onnx, tflite=target.tflite
        )
        try:
            written, result = write_models(job, device, wanted)
        except (VerificationError, ValueError) as error:
            raise UserError(f"targets.{name}: {error}") from error
        result["validation_accuracy_before_finetuning"] = before
        write_json(folder / "verify.json", without_folders_inside(result | environment(device.here, job)))
        worst = max(worst, result["largest_difference"] / result["range"])
        labels = folder / "labels.txt"
        write_atomic(labels, "".join(f"{label}\n" for label in data.classes))
        files += [labels, *written, *(folder / file for file in ("weights.safetensors", "subnet.json", "verify.json"))]
    files = list(dict.fromkeys(files))
    return files, f"{len(job.recipe.targets)} models, ONNX at most {worst:.1e} of the output range from torch's"


def _finetuned(
    job: Job, model: torch.nn.Module, subnet: Subnet, target: str, config: FinetuneConfig
) -> torch.nn.Module:
    """The target's own network, trained further beside the full network, and calibrated again."""
    train_config, data, space = job.recipe.train, job.data, job.recipe.space
    before = sum(phase.epochs for phase in phases(job.recipe))
    teacher, threads = job.extract_calibrated(space.largest), training_threads()
    try:
        with threads.used():
            finetune(
                model,
                teacher,
                lambda epoch, start: data.train_batches(before + epoch, train_config.batch_size, start=start),
                epochs=config.epochs,
                steps_per_epoch=data.steps(train_config.batch_size),
                lr=config.lr,
                resolution=subnet.resolution,
                teacher_resolution=space.largest.resolution,
                normalize=data.normalize,
                settings=settings(job.recipe),
                threads=threads,
            )
    except Diverged as error:
        raise UserError(f"targets.{target}: fine-tuning stopped: {error} (targets.{target}.finetune.lr)") from error
    return job.calibrated(model, subnet.resolution)
