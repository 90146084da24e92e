"""The discretisation gap: what a relaxed network loses when it becomes one network."""

from __future__ import annotations

from typing import Any

from ofa.pipeline.artefacts.relaxation import GapAccuracies
from ofa.pipeline.job import Job
from ofa.predictors.metrics import top1
from ofa.supernet.calibration import calibrate
from ofa.supernet.relaxation.relaxed import Relaxed
from ofa.supernet.space import Subnet


def gap_accuracies(job: Job, relaxed: Relaxed, subnet: Subnet, *, resolution: int) -> GapAccuracies:
    """Of ``relaxed``, searched at ``resolution``, and of ``subnet``, on the validation images, which taught nothing.

    Batch norm's statistics in ``relaxed`` are replaced by those of the relaxed network.
    """
    inherited = relaxed.eval().net.extract(subnet)  # before the statistics are replaced

    def accuracy(network: Any, side: int) -> float:
        job.check_interrupt()
        return top1(network, job.images("validation", side, limit=job.recipe.collect.images))

    images = job.images("train", resolution, limit=job.recipe.collect.calibration_images)
    calibrate(relaxed, (batch for batch, _ in images))
    return GapAccuracies(
        relaxed=accuracy(relaxed, resolution),
        inherited=accuracy(inherited, subnet.resolution),
        calibrated=accuracy(job.calibrated(inherited, subnet.resolution), subnet.resolution),
        supernet=accuracy(job.extract_calibrated(subnet), subnet.resolution),
    )
