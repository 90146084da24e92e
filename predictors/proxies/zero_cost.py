"""``ofa.zero_cost``: proxies of one network."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ofa.predictors.proxies.network import number_of_classes
from ofa.predictors.proxies.table import AGGREGATES, PROXIES
from ofa.supernet.image_batches import image_batches

DEFAULT = ("naswot", "synflow", "zico", "jacob_cov", "params", "macs")


def zero_cost(
    model: nn.Module,
    images: Tensor | np.ndarray,
    labels: Tensor | np.ndarray | Iterable[int] | None = None,
    names: Iterable[str] = DEFAULT,
    seed: int = 0,
) -> dict[str, float]:
    """Values of zero-cost proxies of a network, which need no training; the network stays exactly as it is.

    Higher is better for each of them, compared with networks that are scored on the same images with the same seed.

    Args:
        model: any classifier: a subnet, a timm model, a cell network; of a ``Supernet``, the active subnet counts.
        images: one batch ``(n, channels, height, width)`` of normalised images; 16 to 64 are customary.
        labels: classes ``(n,)``, for proxies of the loss; drawn from ``seed`` when not given.
        names: keys of ``ofa.predictors.proxies.table.PROXIES``.
        seed: of every draw.

    A value that is not finite is NaN, with a warning that says why.

    Raises ``ValueError`` for an unknown name, a network that a proxy is not defined for, and images or labels that
    are none.
    """
    check_names(names := (names,) if isinstance(names, str) else tuple(names))
    batches = list(image_batches(images, name="proxy"))
    if len(batches) != 1:
        raise ValueError(f"give one batch of images for the proxies; there are {len(batches)}")
    (batch,) = batches
    classes = None if labels is None else _labels(labels, model, batch)
    return {name: PROXIES[name].score(model, batch, classes, seed) for name in names}


def check_names(names: Iterable[str]) -> None:
    """Raises ``ValueError`` for a name that no proxy has."""
    for name in names:
        if name in AGGREGATES:
            members = ", ".join(AGGREGATES[name])
            raise ValueError(f"{name} ranks a population and has no value of one network; ask for {members}")
        if name not in PROXIES:
            near = difflib.get_close_matches(name, PROXIES, n=1)
            hint = f", did you mean {near[0]}?" if near else ""
            raise ValueError(f"no proxy is called {name!r}{hint} There are {', '.join(PROXIES)}")


def _labels(labels: Any, model: nn.Module, images: Tensor) -> Tensor:
    classes = np.asarray(labels.cpu() if isinstance(labels, Tensor) else labels)
    num_classes = number_of_classes(model, images)
    wanted = f"labels are {len(images)} whole numbers from 0 to {num_classes - 1}, one an image; these"
    if classes.shape != (len(images),):
        raise ValueError(f"{wanted} have the shape {classes.shape}")
    if classes.dtype.kind not in "iu":
        raise ValueError(f"{wanted} are of type {classes.dtype}")
    low, high = int(classes.min()), int(classes.max())
    if low < 0 or high >= num_classes:
        raise ValueError(f"{wanted} go from {low} to {high}")
    return torch.from_numpy(classes.astype(np.int64))
