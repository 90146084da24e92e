"""The range of each activation tensor on calibration images, which its 256 quantised values cover."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ofa.supernet.image_batches import Normalisation, image_batches

_BINS = 8192  # of a tensor's histogram: 32 for each of the 256 quantised values

Run = Callable[[np.ndarray], Iterable[tuple[str, np.ndarray]]]


def calibration_images(
    batches: Any, *, shape: Sequence[int] | None = None, normalisation: Normalisation | None = None
) -> np.ndarray:
    """All images of ``batches`` as one float32 array ``(n, channels, height, width)``.

    ``batches`` is what ``image_batches`` accepts; ``shape`` is channels, height and width of the model. Of a
    part that reads tokens it is tokens and channels, and batches are arrays ``(n, tokens, channels)``.

    Raises ``ValueError`` when there are no images, or they cannot be normalised images of that shape.
    """
    if shape is not None and len(shape) == 2:
        return np.concatenate([np.asarray(batch, np.float32) for batch in batches])
    arrays: list[np.ndarray] = []
    for batch in image_batches(batches, shape=shape or (None, None, None), normalisation=normalisation):
        arrays.append(batch.float().cpu().numpy())
        if arrays[0].shape[1:] != arrays[-1].shape[1:]:
            sizes = f"{arrays[0].shape[1:]} and {arrays[-1].shape[1:]}"
            raise ValueError(f"calibration images must all have one (channels, height, width); they have {sizes}")
    if not arrays:
        raise ValueError("there are no calibration images; quantization needs some tens to hundreds of training images")
    return np.concatenate(arrays)


def ranges(
    images: np.ndarray, run: Run, *, percentile: float = 100.0, whole: Iterable[str] = ()
) -> dict[str, tuple[float, float]]:
    """Lowest and highest value of every tensor that ``run(image batch of one)`` yields by name; 0 is always inside.

    Args:
        percentile: below 100, the largest and smallest values are left out: ``percentile`` percent of a
            tensor's values are at most the upper bound, and as many at least the lower one (to 1/8192 of
            the whole range).
        whole: names of tensors that keep their whole range.

    Raises ``ValueError`` when ``percentile`` is not above 50 and at most 100.
    """
    if not 50 < percentile <= 100:
        raise ValueError(f"percentile is {percentile}; it must be above 50 and at most 100 (100: the whole range)")
    bounds: dict[str, tuple[float, float]] = {}
    for name, activation in _activations(images, run):
        low, high = bounds.get(name, (0.0, 0.0))
        bounds[name] = min(low, float(activation.min())), max(high, float(activation.max()))
    # A tensor that is always zero may get any range but an empty one.
    zero = {name for name, (low, high) in bounds.items() if high == low}
    bounds |= dict.fromkeys(zero, (0.0, 1.0))
    if percentile == 100:
        return bounds

    # A second pass over the images: a histogram needs the range first.
    counts = {name: np.zeros(_BINS, np.int64) for name in bounds.keys() - zero - set(whole)}
    for name, activation in _activations(images, run):
        if name in counts:
            counts[name] += np.histogram(activation, bins=_BINS, range=bounds[name])[0]
    return {**bounds, **_clipped(bounds, counts, percentile / 100)}


def _clipped(
    bounds: Mapping[str, tuple[float, float]], counts: Mapping[str, np.ndarray], fraction: float
) -> dict[str, tuple[float, float]]:
    """Bounds that ``fraction`` of each tensor's values do not exceed, from its histogram within ``bounds``."""
    clipped = {}
    for name, count in counts.items():
        edges = np.linspace(*bounds[name], _BINS + 1)
        below = np.cumsum(count)
        high = edges[np.searchsorted(below, fraction * below[-1]) + 1]
        low = edges[np.searchsorted(below, (1 - fraction) * below[-1], side="right")]
        low, high = min(float(low), 0.0), max(float(high), 0.0)
        clipped[name] = (low, high) if high > low else bounds[name]
    return clipped


def _activations(images: np.ndarray, run: Run) -> Iterator[tuple[str, np.ndarray]]:
    for index in range(len(images)):
        yield from run(images[index : index + 1])
