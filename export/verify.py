"""Checks that an exported file computes what the torch model computes, by running it on real images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

TOLERANCE = 1e-3  # of the output's range
EQUAL_PREDICTIONS = 0.999


class VerificationError(ValueError):
    """The outputs of the exported file differ from those of the model."""


@torch.no_grad()
def compare(model: nn.Module, run: Callable[[np.ndarray], np.ndarray], batches: Iterable[Tensor]) -> dict[str, Any]:
    """Runs both on the same normalised images.

    Returns the ``largest_difference`` of any logit, the logits' ``range`` (largest minus smallest), the
    fraction of ``equal_predictions`` and the number of ``images``. Raises ``ValueError`` without images.
    """
    largest, low, high, equal, count = 0.0, np.inf, -np.inf, 0, 0
    for images in batches:
        expected = model(images).cpu().numpy()
        actual = run(images.cpu().numpy())
        # numpy's maximum passes NaN on; Python's max may drop it.
        largest = np.maximum(largest, np.abs(expected - actual).max())
        low, high = np.minimum(low, expected.min()), np.maximum(high, expected.max())
        equal += int((expected.argmax(1) == actual.argmax(1)).sum())
        count += len(images)
    if count == 0:
        raise ValueError("there are no images to compare on")
    return {
        "images": count,
        "largest_difference": float(largest),
        "range": float(high - low),
        "equal_predictions": equal / count,
    }


def check_tolerance(path: Path, result: dict[str, Any]) -> None:
    """Checks a ``result`` of ``compare``.

    Raises ``VerificationError`` when the difference is too large; the file is then renamed to
    ``NAME.rejected``.
    """
    # Written so that NaN fails.
    close = result["largest_difference"] <= TOLERANCE * result["range"]
    if close and result["equal_predictions"] >= EQUAL_PREDICTIONS:
        return
    rejected = path.with_name(path.name + ".rejected")
    path.replace(rejected)
    raise VerificationError(
        f"{rejected}: the exported model disagrees with the torch model (largest difference "
        f"{result['largest_difference']:.3g} of an output range {result['range']:.3g}, "
        f"{result['equal_predictions']:.1%} equal predictions on {result['images']} images); do not use this file, "
        "report it with its versions"
    )


@torch.no_grad()
def confusion(run: Callable[[np.ndarray], np.ndarray], batches: Iterable[tuple[Tensor, Tensor]]) -> np.ndarray:
    """The confusion matrix of a runtime: int64 ``(classes, classes)``, a row for each true class.

    ``batches`` are pairs of normalised images and labels. The number of classes is that of the logits.

    Raises ``ValueError`` without images, and for labels outside the classes.
    """
    counts = np.zeros(0, np.int64)
    for images, labels in batches:
        logits, true = run(images.cpu().numpy()), labels.cpu().numpy()
        classes = logits.shape[1]
        if len(true) and not 0 <= true.min() <= true.max() < classes:
            raise ValueError(f"labels are {true.min()} to {true.max()}, and the model has {classes} classes")
        batch_counts = np.bincount(true * classes + logits.argmax(1), minlength=classes**2)
        counts = counts + batch_counts if counts.size else batch_counts
    if not counts.any():
        raise ValueError("there are no images to score")
    classes = math.isqrt(counts.size)
    return counts.reshape(classes, classes)
