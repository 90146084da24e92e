"""Channels in the order of their importance, so that a narrower subnet keeps the best of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

# Tensors of a leaf that have one entry for each channel that it writes.
_WRITTEN = ("weight", "bias", "running_mean", "running_var")


class ChannelGroup(NamedTuple):
    """Channels that must stay in one order wherever they are written and read.

    Attributes:
        role: of the genes that choose how many are kept, such as ``"expand"``.
        writers: leaves whose first axis these channels are: convolutions that write them, norms, depthwise ones.
        readers: leaves whose second axis they are. The first one's weights say how important each channel is.
        widths: how many of the channels each option of the gene keeps, ascending.
    """

    role: str
    writers: Sequence[nn.Module]
    readers: Sequence[nn.Module]
    widths: Sequence[int]


@torch.no_grad()
def sort_channels(groups: Iterable[ChannelGroup], *, num_open: Mapping[str, int]) -> None:
    """Reorders the channels of each group in turn, most important first; the full network's function stays the same.

    Importance is the L1 norm of a channel's weights in the layer that reads it, as in "Once-for-All", section 3
    (https://arxiv.org/abs/1908.09791). Of each role the ``num_open`` largest options are in use already, 1 unless
    named: channels never cross their prefix boundaries, so that the subnets trained so far keep their function too.
    A group all of whose options are in use stays as it is.
    """
    for group in groups:
        count = num_open.get(group.role, 1)
        if count >= max(2, len(group.widths)):
            continue
        importance = group.readers[0].weight.abs().sum((0, 2, 3))
        order = _sorted_within(importance, group.widths[-count:])
        for leaf in group.writers:
            _reorder(leaf, order, names=_WRITTEN)
        for leaf in group.readers:
            _reorder(leaf, order, names=("weight",), axis=1)


def _sorted_within(importance: Tensor, bounds: Sequence[int]) -> Tensor:
    """The order of channels, sorted between each two of the ``bounds``."""
    parts, start = [], 0
    for stop in sorted(set(bounds)):
        parts.append(start + importance[start:stop].argsort(descending=True, stable=True))
        start = stop
    return torch.cat(parts)


def _reorder(leaf: nn.Module, order: Tensor, *, names: Sequence[str], axis: int = 0) -> None:
    for name in names:
        tensor = getattr(leaf, name, None)
        if tensor is not None:
            tensor.copy_(tensor.index_select(axis, order))
