"""The last remedy of an int8 network that loses too much: it is trained as int8 computes it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from torch import nn

from ofa.supernet.training.errors import Diverged, OutOfMemory


@dataclass(frozen=True)
class QuantizationAware:
    """How a network may be trained.

    Attributes:
        epochs, lr: passes over the training images, and the learning rate at their beginning.
        train: ``train(student, teacher)`` trains the first in place.
    """

    epochs: int
    lr: float
    train: Callable[[nn.Module, nn.Module], None]


class Trained(NamedTuple):
    """A network after its training, and the options with which its file is quantised as it was trained."""

    model: nn.Module
    options: dict[str, Any]


class NotTrained(Exception):
    """Why a network was not trained, or is of no use after it: one sentence."""


def train_for_int8(
    model: nn.Module,
    images: Sequence[np.ndarray],
    how: QuantizationAware,
    *,
    resolution: int,
    kernels: Mapping[str, bool],
    options: Mapping[str, Any],
    learns_ranges: bool,
) -> Trained:
    """A copy of ``model`` (in eval mode, on the CPU), trained as its int8 file computes, with ``model`` as its teacher.

    Args:
        images: normalised batches to calibrate with.
        kernels: options of ``fake_quantized``.
        options: those of the best way to quantise the network as it is; its clipping is where ranges begin.
        learns_ranges: whether the file can be given the ranges that were trained, else it is calibrated anew.

    Raises ``NotTrained``.
    """
    try:
        from ofa.export.quantization.fake.build import fake_quantized

        clipped = {key: options[key] for key in ("percentile",) if key in options}
        student = fake_quantized(copy.deepcopy(model), images, resolution=resolution, **kernels, **clipped)
        how.train(student, copy.deepcopy(model))
    except NotImplementedError as error:
        raise NotTrained(f"it cannot be trained for int8: {error}") from error
    except Diverged as error:
        raise NotTrained(f"training for int8 diverged: {error} (quantization_aware.lr)") from error
    except OutOfMemory as error:
        raise NotTrained(f"training for int8 stopped: {error}") from error
    except ValueError as error:  # packages that are not installed; no training images
        raise NotTrained(f"training for int8 was not possible: {error}") from error
    trained = student.cpu().model.eval()
    return Trained(trained, {"bounds": student.bounds()} if learns_ranges else dict(options))
