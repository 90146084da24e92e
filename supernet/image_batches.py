"""Batches of normalised images as users hand them over, and what cannot be normalised images refused.

Statistics of raw pixels, of pixels in 0..1 or of labels spoil a network without an error: its accuracy alone tells.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

MAX_NORMALISED = 100.0  # of any value: a standard deviation below 0.01 is none of images
MAX_POSITIVE = 20.0  # of data without a negative value: a mean of 0 goes with no small standard deviation
MAX_BEYOND = 8.0  # times the largest value that the known mean and standard deviation give


class Normalisation(NamedTuple):
    """Mean and standard deviation per channel, of pixels in 0..1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def known(cls, *sources: Mapping[str, Any] | None) -> Normalisation | None:
        """That of the first of ``sources`` (metadata, timm's ``pretrained_cfg``) that tells ``mean`` and ``std``."""
        for source in sources:
            if source and source.get("mean") is not None and source.get("std") is not None:
                try:
                    mean, std = (np.atleast_1d(np.asarray(source[key], np.float64)) for key in ("mean", "std"))
                except (TypeError, ValueError):
                    continue  # no numbers: it means something else
                if (
                    mean.ndim == std.ndim == 1 <= min(mean.size, std.size)
                    and (std > 0).all()
                    and np.isfinite([*mean, *std]).all()
                ):
                    return cls(tuple(mean.tolist()), tuple(std.tolist()))
        return None

    @property
    def whole(self) -> bool:
        """Whether it keeps whole pixels whole numbers, as dividing by 1 of 255 does."""
        factors = 1 / (255 * np.array(self.std))
        return bool((np.abs(factors - np.rint(factors)) < 1e-6).any() and (factors > 0.5).any())

    @property
    def limits(self) -> tuple[float, float]:
        """The least and the largest value that a pixel can become."""
        mean, std = np.array(self.mean), np.array(self.std)
        return float((-mean / std).min()), float(((1 - mean) / std).max())


UNCHANGED = Normalisation((0.0,), (1 / 255,))  # pixels as they are, 0..255


def image_batches(
    data: Any,
    *,
    shape: Sequence[int | None] = (None, None, None),
    normalisation: Normalisation | None = None,
    name: str = "calibration",
) -> Iterator[Tensor]:
    """The batches of ``data`` as floating point tensors ``(n, channels, height, width)`` on the devices they are on.

    Args:
        data: one array or tensor of four dimensions, which is one batch; an iterable of such; or a loader whose
            batches are lists or tuples of images and labels, of which the images are taken. Empty batches are left out.
        shape: channels, height and width that are wanted; None where any will do.
        normalisation: that of the model, when it is known; values that it cannot give are refused.
        name: of the data, for errors.

    Raises ``ValueError`` naming the batch that holds integers, another shape, or values that are not finite; and after
    the last one when the values are raw pixels or otherwise not normalised.
    """
    seen = _Seen()
    for number, batch in enumerate(_items(data, name)):
        images = _images(batch, f"{name} batch {number}", shape)
        if not len(images):
            continue
        seen.add(images)
        yield images
    if seen.count:
        seen.check(normalisation, name)


def _items(data: Any, name: str) -> Iterable[Any]:
    if isinstance(data, np.ndarray | Tensor) and data.ndim <= 4:
        return [data]
    if isinstance(data, str | bytes | Mapping) or not isinstance(data, Iterable | Sequence):
        kind = type(data).__name__
        raise ValueError(f"{name} data is a {kind}; give an array (n, channels, height, width), or several as batches")
    return data


def _images(batch: Any, where: str, shape: Sequence[int | None]) -> Tensor:
    if isinstance(batch, list | tuple) and batch and hasattr(batch[0], "shape"):
        batch = batch[0]  # of images and labels
    if not isinstance(batch, Tensor):
        if not hasattr(batch, "__array__"):
            known = f" with the keys {', '.join(map(str, batch))}" if isinstance(batch, Mapping) else ""
            raise ValueError(f"{where} is a {type(batch).__name__}{known}; give arrays or tensors of images")
        batch = np.asarray(batch)
        if batch.dtype.kind == "f":
            batch = batch.astype(np.float64 if batch.dtype.itemsize > 4 else batch.dtype.newbyteorder("="), order="C")
        elif batch.dtype.kind not in "biu":
            raise ValueError(f"{where} holds values of type {batch.dtype}; give normalised images as floating point")
        batch = torch.from_numpy(np.array(batch))
    if not batch.dtype.is_floating_point:
        kind = str(batch.dtype).removeprefix("torch.")
        raise ValueError(
            f"{where} holds {kind} values, as raw pixels are; give normalised images, floats of "
            "(pixel / 255 - mean) / std"
        )
    wanted = tuple("any" if size is None else size for size in shape)
    fits = batch.ndim == 4 and all(want in (None, size) for want, size in zip(shape, batch.shape[1:], strict=True))
    if not fits:
        last = batch.ndim == 4 and shape[0] is not None and batch.shape[3] == shape[0] != batch.shape[1]
        hint = "; its channels come last, move them before the height" if last else ""
        raise ValueError(
            f"{where} has shape {tuple(batch.shape)}; wanted is (n, channels, height, width) "
            f"with (channels, height, width) = ({', '.join(map(str, wanted))}){hint}"
        )
    return batch.detach()


class _Seen:
    """What tells raw pixels from normalised ones, of all batches."""

    def __init__(self) -> None:
        self.count, self.low, self.high = 0, float("inf"), -float("inf")
        self.whole = True  # all values are whole numbers

    def add(self, images: Tensor) -> None:
        low, high = (float(value) for value in torch.aminmax(images))
        if not (np.isfinite(low) and np.isfinite(high)):
            raise ValueError("calibration images hold values that are not finite (NaN or infinity)")
        self.count += len(images)
        self.low, self.high = min(self.low, low), max(self.high, high)
        if self.whole:
            self.whole = bool((images == images.round()).all())

    def check(self, normalisation: Normalisation | None, name: str) -> None:
        reason = self._reason(normalisation)
        if reason:
            raise ValueError(
                f"{name} images hold values from {self.low:.4g} to {self.high:.4g}, {reason}; "
                "give normalised images, (pixel / 255 - mean) / std"
            )

    def _reason(self, normalisation: Normalisation | None) -> str | None:
        largest = max(abs(self.low), abs(self.high))
        if normalisation is not None:
            low, high = normalisation.limits
            most = max(abs(low), abs(high))
            if self.whole and largest >= 3 and not normalisation.whole:
                return "all whole numbers, as raw pixels are"
            if largest > MAX_BEYOND * most:
                return f"where the model's mean and std give values from {low:.3g} to {high:.3g}"
            if low < -0.2 and high > 1 and self.low >= 0 and self.high - self.low > 0.5 and self.high <= 1:
                return f"as pixels in 0..1 are before they are normalised (to {low:.3g} .. {high:.3g})"
            if most > MAX_POSITIVE:
                return None
        if self.low >= 0 and self.high > MAX_POSITIVE:
            return "as raw pixels are (0..255)"
        return "more than any normalised image" if largest > MAX_NORMALISED else None
