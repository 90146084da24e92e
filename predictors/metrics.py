"""Judging predictors on networks that they have not seen, and networks on images."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import kendalltau

if TYPE_CHECKING:
    from torch import Tensor

ONE_STD = 0.6827  # share of a normal distribution within one standard deviation


def networks_of(codes: np.ndarray) -> np.ndarray:
    """The number ``(n,)`` of each row's network, counted from 0; repeated rows share one."""
    return np.unique(codes, axis=0, return_inverse=True)[1].ravel()


def folds_of(networks: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """A random fold ``(n,)`` for each row, equal for rows of one network. Fewer networks than folds get one each."""
    count = int(networks.max()) + 1
    return np.random.default_rng(seed).permutation(count)[networks] % min(folds, count)


def kendall_tau(one: np.ndarray, other: np.ndarray) -> float:
    """Rank correlation in [-1, 1]; 0 where either side is constant, as one row alone is."""
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(kendalltau(one, other).statistic)


def mape(predicted: np.ndarray, measured: np.ndarray) -> float:
    """Mean relative error of one or more positive measurements (MAPE, as a fraction)."""
    return float(np.mean(np.abs(predicted - measured) / measured))


def cost_errors(predicted: np.ndarray, measured: np.ndarray) -> dict[str, float | None]:
    """``mape`` and ``kendall_tau`` of a cost table: ``None`` where too few networks were measured
    to say, which is none for ``mape`` and one for ``kendall_tau``."""
    return {
        "mape": mape(predicted, measured) if len(measured) else None,
        "kendall_tau": kendall_tau(predicted, measured) if len(measured) > 1 else None,
    }


def cost_quality(
    predicted: np.ndarray, measured: np.ndarray, *, fit_subnets: int, pairs: bool = True
) -> dict[str, Any]:
    """``info["quality"]`` of every cost table, as JSON values: how many subnets it was fitted to, and its errors on
    those that the fit never saw (``cost_errors``), with the ``pairs`` of what was predicted and measured."""
    quality = {"fit_subnets": fit_subnets, "test_subnets": len(measured), **cost_errors(predicted, measured)}
    return quality | {"pairs": np.column_stack([predicted, measured]).tolist()} if pairs else quality


def top1(predict: Callable[[Tensor], Any], batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Fraction of right predictions on pairs of normalised images and labels.

    ``predict`` makes logits ``(n, classes)`` of images: a torch model, or a runtime's function of arrays. Raises
    ``ValueError`` without images.
    """
    import torch

    right = count = 0
    with torch.no_grad():
        for images, labels in batches:
            logits = torch.as_tensor(predict(images))
            right += int((logits.argmax(1) == labels.to(logits.device)).sum())
            count += len(labels)
    if not count:
        raise ValueError("there are no images to score")
    return right / count


def accuracy_and_loss(
    predict: Callable[[Tensor], Tensor], batches: Iterable[tuple[Tensor, Tensor]]
) -> tuple[float, float]:
    """Fraction of right predictions, as ``top1``, and the mean cross-entropy in nats.

    The cross-entropy tells networks apart where few images give many of them one accuracy.
    """
    import torch
    from torch.nn.functional import cross_entropy

    right, loss, count = 0, 0.0, 0
    with torch.no_grad():
        for images, labels in batches:
            logits = predict(images).float()
            right += int((logits.argmax(1) == labels).sum())
            loss += float(cross_entropy(logits, labels, reduction="sum"))
            count += len(labels)
    if not count:
        raise ValueError("there are no images to score")
    return right / count, loss / count
