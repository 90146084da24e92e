"""Trains one network on its own, with a run's data, optimizer and augmentation."""

from __future__ import annotations

from torch import nn

from ofa.config.schedule import training_settings
from ofa.pipeline.job import Job
from ofa.supernet.training.finetune import finetune


def train_alone(job: Job, model: nn.Module, *, epochs: int, lr: float, resolution: int) -> nn.Module:
    """Trains in place on labels; then calibrates."""
    size = job.recipe.train.batch_size
    finetune(
        model,
        None,
        lambda epoch, start: job.data.train_batches(epoch, size, start=start),
        epochs=epochs,
        steps_per_epoch=job.data.steps(size),
        lr=lr,
        resolution=resolution,
        normalize=job.data.normalize,
        settings=training_settings(job.recipe),
        on_epoch=lambda figures: print(f"epoch {figures['epoch']}, loss {figures['loss']:.3f}", flush=True),
    )
    return job.calibrated(model, resolution).eval()
