"""Channels in the order of their importance, so that a narrower subnet keeps the best of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

# Tensors of a leaf that have one entry for each channel that it writes.
_WRITTEN = ("weight", "bias", "gamma", "running_mean", "running_var")


class ChannelGroup(NamedTuple):
    """Channels that must stay in one order wherever they are written and read.

    Attributes:
        roles: of the genes that choose how many are kept, such as ``["expand"]``.
        writers: leaves whose first axis these channels are: convolutions that write them, norms, depthwise ones.
        readers: leaves whose second axis they are.
        widths: how many of the channels are kept, an axis for the options of each gene, ascending.
        judges: the readers whose weights say how important each channel is; the first of them unless others are named.
        others: tensors of no leaf, and which of their axes these channels are.
        step: how many channels stay together, in their order: those of a head.

    An axis may hold the channels several times, such as those of queries, keys and values.
    """

    roles: Sequence[str]
    writers: Sequence[nn.Module]
    readers: Sequence[nn.Module]
    widths: ArrayLike
    judges: Sequence[nn.Module] = ()
    others: Sequence[tuple[Tensor, int]] = ()
    step: int = 1


@torch.no_grad()
def sort_channels(groups: Iterable[ChannelGroup], *, num_open: Mapping[str, int]) -> None:
    """Reorders the channels of each group in turn, most important first; the full network's function stays the same.

    Importance is the L1 norm of a channel's weights in the layers that read it, as in "Once-for-All", section 3
    (https://arxiv.org/abs/1908.09791). Of each role the ``num_open`` largest options are in use already, 1 unless
    named: channels never cross their prefix boundaries, so that the subnets trained so far keep their function too.
    """
    for group in groups:
        largest = tuple(slice(-num_open.get(role, 1), None) for role in group.roles)
        in_use = np.asarray(group.widths)[largest]
        importance = sum(_importance(leaf.weight) for leaf in group.judges or group.readers[:1])
        importance = importance.unflatten(0, (-1, group.step)).sum(1)
        order = _sorted_within(importance, np.unique(in_use // group.step).tolist())
        order = (order[:, None] * group.step + torch.arange(group.step, device=order.device)).flatten()
        for leaf in group.writers:
            _reorder(leaf, order, names=_WRITTEN)
        for leaf in group.readers:
            _reorder(leaf, order, names=("weight",), axis=1)
        for tensor, axis in group.others:
            tensor.copy_(tensor.index_select(axis, order))


def _importance(weight: Tensor) -> Tensor:
    """The L1 norm of what is read of each channel."""
    return weight.abs().sum([axis for axis in range(weight.ndim) if axis != 1])


def _sorted_within(importance: Tensor, bounds: Sequence[int]) -> Tensor:
    """The order of channels, sorted between each two of the ``bounds``, ascending."""
    parts, start = [], 0
    for stop in bounds:
        parts.append(start + importance[start:stop].argsort(descending=True, stable=True))
        start = stop
    return torch.cat(parts)


def _reorder(leaf: nn.Module, order: Tensor, *, names: Sequence[str], axis: int = 0) -> None:
    for name in names:
        tensor = getattr(leaf, name, None)
        if tensor is not None:
            each = tensor.unflatten(axis, (-1, len(order)))  # several, such as queries, keys and values
            tensor.copy_(each.index_select(axis + 1, order).flatten(axis, axis + 1))
