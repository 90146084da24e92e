"""Does the exported file compute what the torch model computes? Asked of the runtime itself, on real images."""

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
    """The exported file computes something else than the model."""


@torch.no_grad()
def compare(model: nn.Module, run: Callable[[np.ndarray], np.ndarray], batches: Iterable[Tensor]) -> dict[str, Any]:
    """Runs both on the same normalised images.

    Returns ``largest_difference`` of any logit, the logits' ``range`` (largest minus smallest), the share of
    ``equal_predictions`` and the number of ``images``.
    """
    largest, low, high, equal, count = 0.0, np.inf, -np.inf, 0, 0
    for images in batches:
        expected = model(images).cpu().numpy()
        got = run(images.cpu().numpy())
        # numpy's maximum passes NaN on; Python's max may drop it.
        largest = np.maximum(largest, np.abs(expected - got).max())
        low, high = np.minimum(low, expected.min()), np.maximum(high, expected.max())
        equal += int((expected.argmax(1) == got.argmax(1)).sum())
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
    """Raises ``VerificationError`` when ``compare`` found too large a difference; the file is ``.rejected`` then."""
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
    """How often a runtime takes each class for each: int64 ``(classes, classes)``, a row for each true class.

    ``batches`` are pairs of normalised images and labels; the logits say how many classes there are.

    Raises ``ValueError`` without images, and for labels that are no classes.
    """
    counts = np.zeros(0, np.int64)
    for images, labels in batches:
        logits, true = run(images.cpu().numpy()), labels.cpu().numpy()
        classes = logits.shape[1]
        if len(true) and not 0 <= true.min() <= true.max() < classes:
            raise ValueError(f"labels are {true.min()} to {true.max()}, and the model has {classes} classes")
        found = np.bincount(true * classes + logits.argmax(1), minlength=classes**2)
        counts = counts + found if counts.size else found
    if not counts.any():
        raise ValueError("there are no images to score")
    classes = math.isqrt(counts.size)
    return counts.reshape(classes, classes)
