"""Fits a predictor's weights by gradient descent, to accuracies or to their order. Needs torch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

Arrays = dict[str, np.ndarray]

_STEPS, _LR, _DECAY = 200, 0.01, 0.01


def squared_loss(predicted: Tensor, targets: Tensor) -> Tensor:
    return torch.nn.functional.mse_loss(predicted, targets)


def ranking_loss(predicted: Tensor, targets: Tensor) -> Tensor:
    """Of every pair of rows with different targets, how improbable their order is (https://arxiv.org/abs/1205.2618)."""
    higher = targets[:, None] > targets
    margins = (predicted[:, None] - predicted)[higher]
    return torch.nn.functional.softplus(-margins).mean() if len(margins) else predicted.sum() * 0


_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"squares": squared_loss, "ranking": ranking_loss}


def fit_by_gradient(
    forward: Callable[[dict[str, Tensor], Tensor], Tensor],
    weights: dict[str, Tensor],
    inputs: np.ndarray,
    targets: np.ndarray,
    *,
    loss: str,
) -> Arrays:
    """The weights after Adam with decay and a falling rate, on all rows at once.

    ``loss``: a key of ``kinds.LOSSES``. ``forward(weights, inputs)`` gives ``(n,)``. It must be linear in the weights
    ``last`` and ``last_bias``: a loss that knows the order alone leaves unit and mean open, which are then set by a
    straight line through the targets.
    """
    data, wanted = torch.from_numpy(inputs.astype(np.float32)), torch.from_numpy(targets.astype(np.float32))
    weights = {name: weight.requires_grad_() for name, weight in weights.items()}
    optimizer = torch.optim.AdamW(weights.values(), lr=_LR, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _STEPS)
    for _ in range(_STEPS):
        optimizer.zero_grad()
        _LOSSES[loss](forward(weights, data), wanted).backward()
        optimizer.step()
        schedule.step()
    fitted = {name: weight.detach() for name, weight in weights.items()}
    if loss == "ranking":
        predicted = forward(fitted, data).numpy().astype(float)
        centred = predicted - predicted.mean()
        slope = max(float(centred @ targets / (centred @ centred or 1.0)), 0.0)
        fitted["last"] = fitted["last"] * slope
        fitted["last_bias"] = (fitted["last_bias"] - float(predicted.mean())) * slope + float(targets.mean())
    return {name: weight.numpy() for name, weight in fitted.items()}
