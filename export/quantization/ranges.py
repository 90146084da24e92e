"""The range of values that each activation tensor takes on calibration images: what its eight bits are spread over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ofa.supernet.image_batches import Normalisation, image_batches

_BINS = 8192  # of a tensor's histogram: thirty-two to each of the 256 quantised values

Run = Callable[[np.ndarray], Iterable[tuple[str, np.ndarray]]]


def calibration_images(
    batches: Any, *, shape: Sequence[int] | None = None, normalisation: Normalisation | None = None
) -> np.ndarray:
    """All images of ``batches`` as one float32 array ``(n, channels, height, width)``.

    ``batches`` is what ``image_batches`` takes; ``shape`` the channels, height and width of the model.

    Raises ``ValueError`` when there are none, or they cannot be normalised images of that shape.
    """
    parts: list[np.ndarray] = []
    for batch in image_batches(batches, shape=shape or (None, None, None), normalisation=normalisation):
        parts.append(batch.float().cpu().numpy())
        if parts[0].shape[1:] != parts[-1].shape[1:]:
            sizes = f"{parts[0].shape[1:]} and {parts[-1].shape[1:]}"
            raise ValueError(f"calibration images must all be (channels, height, width) alike; they are {sizes}")
    if not parts:
        raise ValueError("there are no calibration images; quantization needs some tens to hundreds of training images")
    return np.concatenate(parts)


def ranges(
    images: np.ndarray, run: Run, *, percentile: float = 100.0, whole: Iterable[str] = ()
) -> dict[str, tuple[float, float]]:
    """Lowest and highest value of every tensor that ``run(image batch of one)`` yields by name; 0 is always inside.

    ``percentile`` below 100 leaves out the largest and the smallest values: of a tensor's values, ``percentile``
    percent are at most the upper bound, and as many at least the lower one (to 1/8192 of the whole range). Tensors
    named in ``whole`` keep all of theirs.

    Raises ``ValueError`` when ``percentile`` is not above 50 and at most 100.
    """
    if not 50 < percentile <= 100:
        raise ValueError(f"percentile is {percentile}; it must be above 50 and at most 100 (100: the whole range)")
    found: dict[str, tuple[float, float]] = {}
    for name, values in _seen(images, run):
        low, high = found.get(name, (0.0, 0.0))
        found[name] = min(low, float(values.min())), max(high, float(values.max()))
    # A tensor that is always zero may get any range but an empty one.
    found = {name: (low, high) if high > low else (0.0, 1.0) for name, (low, high) in found.items()}
    if percentile == 100:
        return found
    counts = {name: np.zeros(_BINS, np.int64) for name in found if name not in set(whole)}
    for name, values in _seen(images, run):
        if name in counts:
            counts[name] += np.histogram(values, bins=_BINS, range=found[name])[0]
    return {**found, **_clipped(found, counts, percentile / 100)}


def _clipped(
    found: Mapping[str, tuple[float, float]], counts: Mapping[str, np.ndarray], share: float
) -> dict[str, tuple[float, float]]:
    clipped = {}
    for name, count in counts.items():
        edges = np.linspace(*found[name], _BINS + 1)
        below = np.cumsum(count)
        high = edges[np.searchsorted(below, share * below[-1]) + 1]
        low = edges[np.searchsorted(below, (1 - share) * below[-1], side="right")]
        low, high = min(float(low), 0.0), max(float(high), 0.0)
        clipped[name] = (low, high) if high > low else found[name]
    return clipped


def _seen(images: np.ndarray, run: Run) -> Iterator[tuple[str, np.ndarray]]:
    for index in range(len(images)):
        yield from run(images[index : index + 1])
