"""Networks of NAS-Bench-101: a cell is any small graph of convolutions and pools (https://arxiv.org/abs/1902.09635).

Three stacks of three cells follow a 3x3 convolution; before the second and the third stack a pool halves the map, and
cells are twice as wide. A cell's output is the concatenation of all vertices that lead to it, so these share its
channels; an earlier vertex is as wide as the widest one that it leads to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

STACKS, CELLS, STEM_CHANNELS = 3, 3, 128


def _conv(in_channels: int, channels: int, kernel: int) -> nn.Sequential:
    """Convolution, batch norm, ReLU; the map keeps its side."""
    conv = nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU())


OPERATIONS: dict[str, Callable[[int], nn.Module]] = {
    "conv1x1-bn-relu": lambda channels: _conv(channels, channels, 1),
    "conv3x3-bn-relu": lambda channels: _conv(channels, channels, 3),
    "maxpool3x3": lambda channels: nn.MaxPool2d(3, stride=1, padding=1),
}


class GraphModel(nn.Module):
    """The network of one cell, with new weights.

    Args:
        edges: ``edges[i][j]`` whether vertex ``i`` leads to ``j``, which is later; the first vertex is the input, the
            last the output.
        operations: of the vertices between, keys of ``OPERATIONS``.
        num_classes, in_chans: of the classifier and the images.

    Vertices that lead nowhere, or that nothing leads to, are left out. Raises ``ValueError`` when no path joins input
    and output.
    """

    def __init__(
        self, edges: Sequence[Sequence[int]], operations: Sequence[str], *, num_classes: int = 10, in_chans: int = 3
    ) -> None:
        super().__init__()
        edges, operations = _used(edges, operations)
        self.stem = _conv(in_chans, STEM_CHANNELS, 3)
        self.stacks = nn.ModuleList()
        before = STEM_CHANNELS
        for stack in range(STACKS):
            channels = STEM_CHANNELS * 2**stack
            cells = [GraphCell(edges, operations, before if not cell else channels, channels) for cell in range(CELLS)]
            self.stacks.append(nn.Sequential(*([nn.MaxPool2d(2)] if stack else []), *cells))
            before = channels
        self.classifier = nn.Linear(before, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(batch, num_classes)`` of images ``(batch, in_chans, height, width)``."""
        x = self.stem(x)
        for stack in self.stacks:
            x = stack(x)
        return self.classifier(x.mean((2, 3)))


class GraphCell(nn.Module):
    """One cell of ``channels``. A vertex adds up what it reads, cut to its own width, and applies its operation."""

    def __init__(
        self, edges: Sequence[Sequence[int]], operations: Sequence[str], in_channels: int, channels: int
    ) -> None:
        super().__init__()
        self._edges, last = edges, len(edges) - 1
        self._widths = vertex_channels(edges, channels)
        # From the input every vertex has a 1x1 convolution of its own.
        self.projections = nn.ModuleDict(
            {
                str(vertex): _conv(in_channels, self._widths[vertex], 1)
                for vertex in range(1, last + 1)
                if edges[0][vertex]
            }
        )
        self.operations = nn.ModuleList(
            OPERATIONS[name](self._widths[vertex]) for vertex, name in enumerate(operations, start=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        last = len(self._edges) - 1
        found: dict[int, Tensor] = {}
        for vertex in range(1, last):
            read = [found[other][:, : self._widths[vertex]] for other in range(1, vertex) if self._edges[other][vertex]]
            if self._edges[0][vertex]:
                read.append(self.projections[str(vertex)](x))
            found[vertex] = self.operations[vertex - 1](sum(read[1:], read[0]))
        parts = [found[vertex] for vertex in range(1, last) if self._edges[vertex][last]]
        direct = [self.projections[str(last)](x)] if self._edges[0][last] else []
        return sum(direct, torch.cat(parts, dim=1)) if parts else direct[0]


def vertex_channels(edges: Sequence[Sequence[int]], channels: int) -> list[int]:
    """How wide each vertex of a cell of ``channels`` is; the input counts as 0, for it has the width of what came."""
    last = len(edges) - 1
    widths = [0] * last + [channels]
    ends = [vertex for vertex in range(1, last) if edges[vertex][last]]
    for place, vertex in enumerate(ends):
        widths[vertex] = channels // len(ends) + (place < channels % len(ends))
    for vertex in reversed(range(1, last)):
        if vertex not in ends:
            widths[vertex] = max(widths[later] for later in range(vertex + 1, last) if edges[vertex][later])
    return widths


def _used(edges: Sequence[Sequence[int]], operations: Sequence[str]) -> tuple[list[list[int]], list[str]]:
    """The graph without vertices that lead nowhere, or that nothing leads to."""
    count = len(edges)
    reached, reaching = {0}, {count - 1}
    for vertex in range(1, count):
        if any(edges[other][vertex] for other in reached if other < vertex):
            reached.add(vertex)
        back = count - 1 - vertex
        if any(edges[back][other] for other in reaching if other > back):
            reaching.add(back)
    kept = sorted(reached & reaching)
    if kept[:1] != [0] or kept[-1:] != [count - 1]:
        raise ValueError("no path joins the input and the output of this cell; give it an edge more")
    return [[int(edges[i][j]) for j in kept] for i in kept], [operations[vertex - 1] for vertex in kept[1:-1]]
