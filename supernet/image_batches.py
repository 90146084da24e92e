"""Reads batches of normalised images in the forms that users pass, and refuses data that cannot be normalised images.

Without this check, raw pixels, pixels in 0..1 or labels would spoil a network without any error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

MAX_NORMALISED = 100.0  # of any value: no images have a standard deviation below 0.01
MAX_POSITIVE = 20.0  # of data without negative values: with a mean of 0, no standard deviation is small
MAX_BEYOND = 8.0  # times the largest value that the known mean and standard deviation can give


class Normalisation(NamedTuple):
    """Mean and standard deviation per channel, of pixels in 0..1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def known(cls, *sources: Mapping[str, Any] | None) -> Normalisation | None:
        """That of the first of ``sources`` (metadata, timm's ``pretrained_cfg``) with usable ``mean`` and ``std``."""
        for source in sources:
            if source and source.get("mean") is not None and source.get("std") is not None:
                try:
                    mean, std = (np.atleast_1d(np.asarray(source[key], np.float64)) for key in ("mean", "std"))
                except (TypeError, ValueError):
                    continue  # not numbers: another program's entries
                if (
                    mean.ndim == std.ndim == 1 <= min(mean.size, std.size)
                    and (std > 0).all()
                    and np.isfinite([*mean, *std]).all()
                ):
                    return cls(tuple(mean.tolist()), tuple(std.tolist()))
        return None

    @property
    def keeps_integers(self) -> bool:
        """Whether normalised pixels of 0..255 are whole numbers, too, as with a standard deviation of 1/255."""
        factors = 1 / (255 * np.array(self.std))
        return bool((np.abs(factors - np.rint(factors)) < 1e-6).any() and (factors > 0.5).any())

    @property
    def limits(self) -> tuple[float, float]:
        """The smallest and the largest value of a normalised pixel."""
        mean, std = np.array(self.mean), np.array(self.std)
        return float((-mean / std).min()), float(((1 - mean) / std).max())


UNCHANGED = Normalisation((0.0,), (1 / 255,))  # leaves pixels of 0..255 unchanged


def image_batches(
    data: Any,
    *,
    shape: Sequence[int | None] = (None, None, None),
    normalisation: Normalisation | None = None,
    name: str = "calibration",
) -> Iterator[Tensor]:
    """The batches of ``data`` as floating point tensors ``(n, channels, height, width)``, each on its own device.

    Args:
        data: one batch, an array or tensor of four dimensions; an iterable of batches; or a loader whose
            batches are lists or tuples of images and labels. Empty batches are left out.
        shape: channels, height and width of the model; None where any size will do.
        normalisation: that of the model, if it is known; values that it cannot give are refused.
        name: of the data, for errors.

    Raises ``ValueError`` naming the batch that holds integers, another shape, or values that are not
    finite; and after the last batch when the values are raw pixels or otherwise not normalised.
    """
    value_range = _ValueRange()
    for index, batch in enumerate(_batches(data, name)):
        images = _images_of(batch, f"{name} batch {index}", shape)
        if not len(images):
            continue
        value_range.add(images)
        yield images
    if value_range.count:
        value_range.check(normalisation, name)


def _batches(data: Any, name: str) -> Iterable[Any]:
    if isinstance(data, np.ndarray | Tensor) and data.ndim <= 4:
        return [data]
    if isinstance(data, str | bytes | Mapping) or not isinstance(data, Iterable | Sequence):
        kind = type(data).__name__
        raise ValueError(f"{name} data is a {kind}; give an array (n, channels, height, width), or several as batches")
    return data


def _images_of(batch: Any, where: str, shape: Sequence[int | None]) -> Tensor:
    """The images of one batch; ``where`` begins the error when they are none."""
    if isinstance(batch, list | tuple) and batch and hasattr(batch[0], "shape"):
        batch = batch[0]  # images of (images, labels)

    # Arrays of any library and byte order.
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
    # A frequent mistake, channels last, gets a hint.
    fits = batch.ndim == 4 and all(size in (None, own) for size, own in zip(shape, batch.shape[1:], strict=True))
    if not fits:
        sizes = ", ".join("any" if size is None else str(size) for size in shape)
        channels_last = batch.ndim == 4 and shape[0] is not None and batch.shape[3] == shape[0] != batch.shape[1]
        hint = "; its channels come last, move them before the height" if channels_last else ""
        raise ValueError(
            f"{where} has shape {tuple(batch.shape)}; it must be (n, channels, height, width) "
            f"with (channels, height, width) = ({sizes}){hint}"
        )
    return batch.detach()


class _ValueRange:
    """The range of all values, and whether all are integers: what distinguishes raw pixels from normalised ones."""

    def __init__(self) -> None:
        self.count, self.low, self.high = 0, float("inf"), -float("inf")
        self.all_integers = True

    def add(self, images: Tensor) -> None:
        low, high = (float(value) for value in torch.aminmax(images))
        if not (np.isfinite(low) and np.isfinite(high)):
            raise ValueError("calibration images hold values that are not finite (NaN or infinity)")
        self.count += len(images)
        self.low, self.high = min(self.low, low), max(self.high, high)
        if self.all_integers:
            self.all_integers = bool((images == images.round()).all())

    def check(self, normalisation: Normalisation | None, name: str) -> None:
        """Raises ``ValueError`` when these cannot be the values of normalised images."""
        reason = self._reason(normalisation)
        if reason:
            raise ValueError(
                f"{name} images hold values from {self.low:.4g} to {self.high:.4g}, {reason}; "
                "give normalised images, (pixel / 255 - mean) / std"
            )

    def _reason(self, normalisation: Normalisation | None) -> str | None:
        """Why these cannot be the values of normalised images, as a part of a sentence; None when they can."""
        largest = max(abs(self.low), abs(self.high))

        # With a known normalisation, the possible values are known.
        if normalisation is not None:
            low, high = normalisation.limits
            possible = max(abs(low), abs(high))
            if self.all_integers and largest >= 3 and not normalisation.keeps_integers:
                return "all whole numbers, as raw pixels are"
            if largest > MAX_BEYOND * possible:
                return f"where the model's mean and std give values from {low:.3g} to {high:.3g}"
            if low < -0.2 and high > 1 and self.low >= 0 and self.high - self.low > 0.5 and self.high <= 1:
                return f"as pixels in 0..1 are before they are normalised (to {low:.3g} .. {high:.3g})"
            if possible > MAX_POSITIVE:
                return None

        if self.low >= 0 and self.high > MAX_POSITIVE:
            return "as raw pixels are (0..255)"
        return "more than any normalised image" if largest > MAX_NORMALISED else None
