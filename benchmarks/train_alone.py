"""Trains one network on its own, with a run's data, optimizer and augmentation."""

from __future__ import annotations

from torch import nn

from ofa.config.schedule import training_phases, training_settings
from ofa.pipeline.job import Job
from ofa.supernet.training.finetune import finetune


def supernet_epochs(job: Job) -> int:
    return sum(phase.epochs for phase in training_phases(job.recipe))


def train_alone(
    job: Job, model: nn.Module, *, epochs: int, lr: float, resolution: int, teacher: nn.Module | None = None
) -> nn.Module:
    """Trains in place on labels, and on outputs of ``teacher`` at the largest resolution; then calibrates."""
    size = job.recipe.train.batch_size
    first = 0 if teacher is None else supernet_epochs(job)  # other augmentation than the supernet has seen
    finetune(
        model,
        teacher,
        lambda epoch, start: job.data.train_batches(first + epoch, size, start=start),
        epochs=epochs,
        steps_per_epoch=job.data.steps(size),
        lr=lr,
        resolution=resolution,
        teacher_resolution=job.recipe.space.resolutions[-1],
        normalize=job.data.normalize,
        settings=training_settings(job.recipe),
        on_epoch=lambda figures: print(f"epoch {figures['epoch']}, loss {figures['loss']:.3f}", flush=True),
    )
    return job.calibrated(model, resolution).eval()
