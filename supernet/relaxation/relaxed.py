"""A network whose every choice is weighted: the supernet of differentiable search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor, nn

from ofa.supernet.genome import Genome
from ofa.supernet.relaxation.architecture import Architecture


class Mixable(Protocol):
    """A network that runs with weighted choices: ``Supernet``, and cell networks."""

    space: Genome

    def forward_mixed(self, x: Tensor, weights: list[Tensor]) -> Tensor:
        """Logits with the weights ``(options,)`` of each gene's options; with one-hot weights those of one network."""


class Relaxed(nn.Module):
    """A supernet, or a cell network, whose choices are weighted by architecture parameters.

    While training, a forward pass draws the weights by the relaxation; in eval mode they are its probabilities.

    Args:
        net: is kept as ``relaxed.net``, and its weights are shared.
        relaxation: a key of ``relaxations.RELAXATIONS``.
        seed: of the initial parameters and of every draw.
        temperature: of the draws.
    """

    def __init__(self, net: Mixable, *, relaxation: str = "softmax", seed: int = 0, temperature: float = 1.0) -> None:
        super().__init__()
        self.net, self.temperature = net, temperature
        self.architecture = Architecture(net.space.genes, relaxation=relaxation, seed=seed)

    @property
    def space(self) -> Genome:
        return self.net.space

    @property
    def alphas(self) -> list[nn.Parameter]:
        """The architecture parameters ``(options,)``, one a gene."""
        return self.architecture.alphas

    def probabilities(self) -> list[Tensor]:
        """Of each gene's options; differentiable."""
        return self.architecture.probabilities()

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(batch, num_classes)``."""
        weights = self.architecture.draw(self.temperature) if self.training else self.probabilities()
        return self.net.forward_mixed(x, [each.to(x.device) for each in weights])

    def expected_cost(self, table: Any) -> Tensor:
        """The expected cost of a network whose genes are drawn with these probabilities: a scalar with a gradient.

        ``table`` is a ``CostTable``. Raises ``ValueError`` when it is of another space.
        """
        return table.expected(self.probabilities())

    def derive(self, *, limits: Mapping[Any, float] | None = None) -> Any:
        """The most probable network of those whose every cost is at most its limit: ``limits`` by cost table.

        Raises ``ValueError`` naming the limit that no network meets.
        """
        raise NotImplementedError  # helper "leaves" writes derive.py
