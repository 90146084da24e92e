"""What plain and mixed cell networks are both made of: stem, head, a cell's inputs, and channels that go past."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ofa.supernet.cells.operations import FactorizedReduce, conv_norm
from ofa.supernet.cells.skeleton import Place, Skeleton


def stem(skeleton: Skeleton, *, in_chans: int) -> nn.Sequential:
    """A 3x3 convolution and a batch norm."""
    channels = skeleton.stem_channels
    return nn.Sequential(nn.Conv2d(in_chans, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))


class Head(nn.Module):
    """Batch norm and ReLU where the layout has them, the mean of all positions, and the classifier.

    ``channels`` of its input; ``linear`` makes the classifier.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        channels: int,
        *,
        num_classes: int,
        linear: Callable[..., nn.Module] = nn.Linear,
    ) -> None:
        super().__init__()
        self.act = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU()) if skeleton.act_in_head else nn.Identity()
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.pool(self.act(x)))


class CellInputs(nn.Module):
    """From the outputs of the two places before to the states that a cell reads.

    A cell of two inputs brings both to its channels, and the older one to the side of the last. A cell of one input
    reads the last one as it is.

    ``last_channels`` and ``older_channels`` of the two outputs; ``conv`` makes the 1x1 convolutions.
    """

    def __init__(
        self,
        place: Place,
        *,
        inputs: int,
        last_channels: int,
        older_channels: int,
        affine: bool,
        conv: Callable[..., nn.Module] = nn.Conv2d,
    ) -> None:
        super().__init__()
        self.inputs = inputs
        if inputs == 1:
            return
        if place.older_stride == 2:
            self.older = FactorizedReduce(older_channels, place.channels, affine=affine, conv=conv)
        else:
            self.older = _to_channels(older_channels, place.channels, affine=affine, conv=conv)
        self.last = _to_channels(last_channels, place.channels, affine=affine, conv=conv)

    def forward(self, older: Tensor, last: Tensor) -> list[Tensor]:
        return [last] if self.inputs == 1 else [self.older(older), self.last(last)]


def _to_channels(in_channels: int, channels: int, *, affine: bool, conv: Callable[..., nn.Module]) -> nn.Sequential:
    return nn.Sequential(nn.ReLU(), conv(in_channels, channels, 1, bias=False), nn.BatchNorm2d(channels, affine=affine))


class Residual(nn.Module):
    """The block of a ResNet that halves the map and doubles the channels, between the stages of NAS-Bench-201."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            conv_norm(place.last_channels, place.channels, 3, stride=place.stride),
            conv_norm(place.channels, place.channels, 3),
        )
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, place.stride, ceil_mode=True),
            nn.Conv2d(place.last_channels, place.channels, 1, bias=False),
        )

    def forward(self, older: Tensor, last: Tensor) -> Tensor:
        return self.shortcut(last) + self.convs(last)


class PartialChannels(nn.Module):
    """An operation on the first of ``parts`` equal parts of the channels; the others go past it (PC-DARTS)."""

    def __init__(self, operation: nn.Module, *, parts: int, stride: int) -> None:
        super().__init__()
        self.operation, self.parts, self.stride = operation, parts, stride

    def forward(self, x: Tensor) -> Tensor:
        return past_and_shuffled(x, self.operation(x[:, : x.shape[1] // self.parts]), self.parts, self.stride)


def past_and_shuffled(x: Tensor, first: Tensor, parts: int, stride: int) -> Tensor:
    """``first``, made of the first part of the channels of ``x``, beside the others, which are pooled where the
    operation has a stride; shuffled so that another part is first the next time."""
    past = x[:, x.shape[1] // parts :]
    if stride == 2:
        past = F.max_pool2d(past, 2, 2, ceil_mode=True)
    together = torch.cat([first, past], dim=1)
    shuffled = together.unflatten(1, (parts, -1)).transpose(1, 2).flatten(1, 2)
    return shuffled.contiguous(memory_format=torch.channels_last)


def zeros_for(state: Tensor, stride: int) -> Tensor:
    """The state of a node that reads nothing, in a cell of which ``state`` is an input."""
    return torch.zeros_like(state[:, :, ::stride, ::stride])
