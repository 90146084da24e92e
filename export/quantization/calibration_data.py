"""Checks on calibration images that an int8 network's outputs still follow those of its float32 network."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ofa.supernet.integers import ceil_div

MIN_CORRELATION = 0.7  # of the centred logits; a usable int8 network has above 0.9
MAX_IMAGES = 64

Run = Callable[[np.ndarray], np.ndarray]


class Collapse(ValueError):
    """The int8 network's outputs have little to do with those of the float32 network."""


def refuse_collapse(float32: Run, int8: Run, images: np.ndarray) -> None:
    """Raises ``Collapse`` when the logits of both networks for up to 64 of the images correlate less than 0.7.

    The mean over classes and the median over images are subtracted first, for a network that ignores its
    input has them, too. Of the images' correlations the median counts, so that some extreme images do not
    hide the others. Nothing is checked for a single image, a single class, or images that the float32
    network does not tell apart.
    """
    images = images[:: ceil_div(len(images), MAX_IMAGES)]
    expected, actual = float32(images), int8(images)
    if expected.ndim != 2 or min(expected.shape) < 2:
        return

    # Images whose centred logits are nearly zero are alike to the float32 network.
    expected_centred, actual_centred = _centred(expected), _centred(actual)
    norms = np.linalg.norm(expected_centred, axis=1)
    distinct = norms > 1e-3 * np.linalg.norm(expected, axis=1)
    if not distinct.any():
        return

    # Constant and NaN outputs correlate with nothing.
    with np.errstate(divide="ignore", invalid="ignore"):
        products = (expected_centred * actual_centred).sum(axis=1)
        correlations = np.nan_to_num(products / (norms * np.linalg.norm(actual_centred, axis=1)))
    correlation = float(np.median(correlations[distinct]))
    if correlation >= MIN_CORRELATION:
        return
    equal = float((expected.argmax(1) == actual.argmax(1)).mean())
    raise Collapse(
        f"the int8 network does not answer as the float32 network does: on {len(images)} calibration images the "
        f"logits correlate {correlation:.2f} (at least {MIN_CORRELATION} is needed), {equal:.0%} of predictions equal; "
        "likely causes: calibration images that are not normalised as the training images were, or some extreme values "
        "among them (try a percentile below 100)"
    )


def _centred(logits: np.ndarray) -> np.ndarray:
    """Logits minus their mean over classes, minus the median of that over images."""
    logits = logits.astype(np.float64)
    logits = logits - logits.mean(axis=1, keepdims=True)
    return logits - np.median(logits, axis=0)
