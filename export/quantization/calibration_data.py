"""Does an int8 network still answer as its float32 one does? Asked on calibration images, where a collapse shows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ofa.supernet.integers import ceil_div

MIN_CORRELATION = 0.7  # of the logits' differences between classes and images; a usable int8 network has above 0.9
MAX_IMAGES = 64

Run = Callable[[np.ndarray], np.ndarray]


class Collapse(ValueError):
    """The int8 network's answers have little to do with those of the float32 network."""


def refuse_collapse(exact: Run, int8: Run, images: np.ndarray) -> None:
    """Raises ``Collapse`` when both networks' logits for up to 64 of the images correlate less than 0.7.

    Counted without what all images or all classes share, which a network that ignores its input has too: the median of
    the images' correlations, so that some extreme images do not hide the others. Says nothing of a single image, of a
    single class, nor of images that are alike.
    """
    images = images[:: ceil_div(len(images), MAX_IMAGES)]
    expected, got = exact(images), int8(images)
    if expected.ndim != 2 or min(expected.shape) < 2:
        return
    wanted, found = _centred(expected), _centred(got)
    lengths = np.linalg.norm(wanted, axis=1)
    told = lengths > 1e-3 * np.linalg.norm(expected, axis=1)
    if not told.any():
        return  # the images are all alike to the network
    products = lengths * np.linalg.norm(found, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        each = np.nan_to_num((wanted * found).sum(axis=1) / products)  # NaN: no answer, or always the same
    correlation = float(np.median(each[told]))
    if correlation >= MIN_CORRELATION:
        return
    equal = float((expected.argmax(1) == got.argmax(1)).mean())
    raise Collapse(
        f"the int8 network does not answer as the float32 network does: on {len(images)} calibration images the "
        f"logits correlate {correlation:.2f} (at least {MIN_CORRELATION} is wanted), {equal:.0%} of predictions equal; "
        "likely causes: calibration images that are not normalised as the training images were, or some extreme values "
        "among them (try a percentile below 100)"
    )


def _centred(logits: np.ndarray) -> np.ndarray:
    values = logits.astype(np.float64)
    values = values - values.mean(axis=1, keepdims=True)
    return values - np.median(values, axis=0)
