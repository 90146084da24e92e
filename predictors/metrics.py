"""Judging predictors on networks that they have not seen, and networks on images."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.special import expit
from scipy.stats import kendalltau

if TYPE_CHECKING:
    from torch import Tensor

ONE_STD = 0.6827  # share of a normal distribution within one standard deviation
# Of the median margin. From 0.2 to 0.4 it makes no difference (benchmarks/results/choice.md).
_SMOOTHING = 0.3


class Scores(NamedTuple):
    """How a network does on images: a number each, or an array of one a network ``(n,)``.

    Attributes:
        accuracy: the fraction of right predictions.
        loss: the mean cross-entropy.
        smoothed_accuracy: the accuracy in which a nearly right image counts for something (``smoothed_accuracy``).
    """

    accuracy: Any
    loss: Any
    smoothed_accuracy: Any


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


def scores(predict: Callable[[Tensor], Any], batches: Iterable[tuple[Tensor, Tensor]]) -> Scores:
    """Accuracy, cross-entropy and smoothed accuracy on pairs of normalised images and labels; see ``top1``."""
    import torch

    logits, labels = [], []
    with torch.no_grad():
        for images, true in batches:
            logits.append(torch.as_tensor(predict(images)).detach().cpu().float())
            labels.append(true.cpu())
    if not labels:
        raise ValueError("there are no images to score")
    outputs, true = torch.cat(logits), torch.cat(labels)
    right = outputs.argmax(1) == true
    loss = torch.nn.functional.cross_entropy(outputs.double(), true)
    return Scores(int(right.sum()) / len(true), float(loss), smoothed_accuracy(outputs.numpy(), true.numpy()))


def smoothed_accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """The mean over images of a soft 1 for a right prediction and a soft 0 for a wrong one, of ``(n, classes)``.

    An image counts as the logistic function of its margin, which is how far the logit of its class lies above the
    highest other one, in units of 0.3 times the network's median margin. So images that are nearly right or nearly
    wrong count in part, and few images tell more than by counting. Unlike the cross-entropy it stays as it is when all
    logits are multiplied: a network's confidence does not count. NaN where a logit is not finite.
    """
    rows, others = np.arange(len(labels)), np.array(logits, float)
    if not np.isfinite(others).all():
        return float("nan")
    own = others[rows, labels]
    others[rows, labels] = -np.inf
    margins = own - others.max(axis=1)
    width = _SMOOTHING * np.median(np.abs(margins))
    return float(np.mean(expit(margins / width) if width > 0 else margins > 0))
