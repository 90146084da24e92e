"""The stage ``export``: each target's network, as searched or as fine-tuned since, as checked model files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn
from tqdm import tqdm

from ofa.config.finetuning import Finetuning, finetunings, quantization_aware
from ofa.config.schedule import training_phases, training_settings
from ofa.config.target import Target
from ofa.data.preprocess import METADATA
from ofa.errors import UserError
from ofa.export.verify import VerificationError
from ofa.pipeline.artefacts.finetuning import FinetuningRecord
from ofa.pipeline.artefacts.search import SearchRecord
from ofa.pipeline.artefacts.verification import Verification
from ofa.pipeline.context import Outcome
from ofa.pipeline.job import Job
from ofa.pipeline.threads import training_threads
from ofa.report.escape import without_folders_inside
from ofa.stages.finetune import load_finetuned
from ofa.supernet.files import write_atomic
from ofa.supernet.saving import save_subnet
from ofa.supernet.space import Subnet
from ofa.supernet.training.student import train_student
from ofa.targets.deployment import deployment_of, environment
from ofa.targets.measuring import program_patches
from ofa.targets.model_files import ExportSettings, write_models
from ofa.targets.model_formats import ExportSpec
from ofa.targets.quantization_aware import QuantizationAware


def run(job: Job) -> Outcome:
    files, worst, finetuned = [], 0.0, finetunings(job.recipe)
    for name, target in tqdm(job.recipe.targets.items(), desc="export and verify", unit="target", disable=None):
        job.check_interrupt()
        written, verification = _export(job, name, target, finetuned.get(name))
        files += written
        worst = max(worst, verification.largest_difference / verification.range)
    summary = f"{len(job.recipe.targets)} models, ONNX at most {worst:.1e} of the output range from torch's"
    return Outcome(list(dict.fromkeys(files)), summary)


def _export(job: Job, name: str, target: Target, how: Finetuning | None) -> tuple[list[Path], Verification]:
    """Writes all of ``models/TARGET/`` but its card; ``how``: its network was fine-tuned."""
    subnet = SearchRecord.load(job.folder, name).subnet
    folder, deployment = job.folder / "models" / name, deployment_of(target)

    # The network as a timm model of its own.
    finetuned = FinetuningRecord.load(job.folder, name) if how else None
    model = (load_finetuned(job, subnet, how) if how else job.extract_calibrated(subnet)).cpu()
    save_subnet(model, subnet, folder)

    # Its files, compared with torch and scored in the runtime that will run them.
    settings = ExportSettings(
        threads=job.recipe.measure.threads,
        calibration_images=job.recipe.collect.calibration_images,
        target_names=list(job.recipe.targets),
    )
    metadata = _metadata(job, subnet)
    spec = ExportSpec(
        model,
        folder,
        subnet.resolution,
        metadata,
        target.int8_drop,
        onnx=target.onnx,
        tflite=target.tflite,
        patches=program_patches(deployment, job.recipe.space, subnet, job.model_kwargs),
        training=_training(job, name, target, subnet.resolution),
    )
    try:
        written, result = write_models(deployment, spec, images=job.images, settings=settings)
    except (VerificationError, ValueError) as error:
        raise UserError(f"targets.{name}: {error}") from error

    # The results, without the paths of this machine: a model is given to others.
    if finetuned:
        result |= {"finetuned": finetuned.to_dict()}
    result |= environment(deployment.local, threads=settings.threads)
    verification = Verification.model_validate(without_folders_inside(result))
    labels = folder / "labels.txt"
    write_atomic(labels, "".join(f"{label}\n" for label in job.data.classes))
    saved = [folder / "weights.safetensors", folder / "subnet.json", verification.save(job.folder, name)]
    return [labels, *written, *saved], verification


def _training(job: Job, name: str, target: Target, resolution: int) -> QuantizationAware | None:
    """How the target's network is trained for int8, should it be needed: by this process, with the run's own data."""
    how = quantization_aware(job.recipe, target)
    if how is None:
        return None
    data, batch_size = job.data, job.recipe.train.batch_size
    epochs_before = sum(phase.epochs for phase in training_phases(job.recipe))
    # Behind folded batch norms, the gradients of weights have no common scale, which AdamW does not need.
    settings = replace(training_settings(job.recipe), optimizer="adamw", weight_decay=0.0)

    def train(student: nn.Module, teacher: nn.Module) -> None:
        tqdm.write(f"{name}: int8 loses more than int8_drop however it is quantised; it is trained for int8")
        with training_threads().used():
            train_student(
                student.to(job.device),
                teacher.to(job.device),
                # Augmentation goes on where the supernet's ended.
                lambda epoch, start: data.train_batches(epochs_before + epoch, batch_size, start=start),
                epochs=how.epochs,
                steps_per_epoch=data.steps(batch_size),
                lr=how.lr,
                resolution=resolution,
                normalize=data.normalize,
                settings=settings,
                check_interrupt=job.check_interrupt,
            )

    return QuantizationAware(how.epochs, how.lr, train)


def _metadata(job: Job, subnet: Subnet) -> dict[str, Any]:
    """What is stored in a model file beside the network."""
    data = job.data
    return {
        "classes": data.classes,
        "mean": data.mean,
        "std": data.std,
        "interpolation": data.interpolation,
        "crop_pct": data.crop_pct,
        **METADATA,
        "subnet": subnet.to_dict(),
    }
