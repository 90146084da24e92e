"""ZiCo: how steady gradients are from batch to batch, against their size (arXiv:2301.11300)."""

from __future__ import annotations

from torch import Tensor, nn

from ofa.predictors.proxies.loss_gradients import loss_gradients


def compute(model: nn.Module, images: Tensor, labels: Tensor, generator: object) -> float:
    """The sum over the layers of log sum over the weights of mean |gradient| / its standard deviation.

    Mean and deviation are over the two halves of the images, as in the paper's experiments. Weights that have no
    gradient, or the same in both halves, are left out.
    """
    first, second = (loss_gradients(model, *half) for half in zip(images.chunk(2), labels.chunk(2), strict=True))
    score = 0.0
    for (_, one), (_, other) in zip(first, second, strict=True):
        # Of two numbers the mean is half their sum, and the deviation half their difference.
        total, difference = one.abs() + other.abs(), (one.abs() - other.abs()).abs()
        varies = difference > 0
        if bool(varies.any()):
            score += float((total[varies] / difference[varies]).double().sum().log())
    return score
