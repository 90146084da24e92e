"""A network whose every choice is weighted: the supernet of differentiable search."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn

from ofa.supernet.genome import Genome
from ofa.supernet.relaxation.architecture import Architecture
from ofa.supernet.relaxation.derive import Cost, check_same_space, most_probable


class Mixable(Protocol):
    """A network that runs with weighted choices: ``Supernet``, and cell networks.

    One whose choices cannot all be weighted has ``check_mixable()``, too, which raises ``ValueError`` naming the first.
    One that weighs edges by parameters of its own has ``times_edges(probabilities)``: those that it derives from.
    """

    space: Genome

    def forward_mixed(self, x: Tensor, weights: list[Tensor]) -> Tensor:
        """Logits with the weights ``(options,)`` of each gene's options; with one-hot weights those of one network."""


class Relaxed(nn.Module):
    """A supernet, or a cell network, whose choices are weighted by architecture parameters.

    While training, a forward pass draws the weights by the relaxation; in eval mode they are its probabilities, or the
    sigmoids themselves. The parameters are no parameters of ``net``, and in the state dict beside its weights.

    Images have one resolution: whoever trains resizes them to ``resolution()``. A choice of it is weighted by expected
    costs alone.

    Args:
        net: is kept as ``relaxed.net``, and its weights are shared.
        relaxation: a key of ``relaxations.RELAXATIONS``.
        seed: of the initial parameters and of every draw.
        temperature: of the draws.

    Raises ``ValueError`` naming a choice that cannot be weighted, such as one of strides, for an unknown relaxation,
    and a temperature that is not above 0.
    """

    def __init__(self, net: Mixable, *, relaxation: str = "softmax", seed: int = 0, temperature: float = 1.0) -> None:
        super().__init__()
        if not 0 < temperature < math.inf:
            raise ValueError(f"temperature is {temperature}; it must be above 0")
        getattr(net, "check_mixable", lambda: None)()
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

    def resolution(self) -> int | None:
        """The most probable resolution, to which images are resized; None where the space does not choose one."""
        columns = self.space.genes_of("resolution").tolist()
        if not columns:
            return None
        return int(self.space.genes[columns[0]].options[int(self._numbers()[columns[0]].argmax())])

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(batch, num_classes)``."""
        weights = self.architecture.draw(self.temperature) if self.training else self.architecture.evaluated()
        return self.net.forward_mixed(x, [each.to(x.device) for each in weights])

    def expected_cost(self, table: Any) -> Tensor:
        """The expected cost of a network whose genes are drawn with these probabilities: a scalar with a gradient.

        ``table`` is a ``CostTable``. Raises ``ValueError`` when it is of another space.
        """
        check_same_space(self.space, table)
        return table.expected(self.probabilities())

    def derive(self, *, limits: Mapping[Cost, float] | None = None) -> Any:
        """The most probable network of those whose every cost is at most its limit: ``limits`` by cost table.

        A ``Subnet`` of a supernet; of other networks what their ``space.decode`` gives. See ``derive.most_probable``.

        Raises ``ValueError`` naming the limit that no network meets.
        """
        return self.top(1, limits=limits)[0]

    def top(self, count: int, *, limits: Mapping[Cost, float] | None = None) -> list[Any]:
        """The ``count`` most probable networks inside the limits, the best first; fewer where no more are found."""
        codes = most_probable(self.space, self._numbers(), limits=limits, count=count)
        return [self.space.decode(code) for code in codes]

    def _numbers(self) -> list[np.ndarray]:
        """The probabilities as arrays, 0 of options that were pruned; times the weights of edges that ``net`` has."""
        pairs = zip(self.probabilities(), self.architecture.open, strict=True)
        numbers = [values.detach().masked_fill(~is_open, 0).double().cpu().numpy() for values, is_open in pairs]
        return getattr(self.net, "times_edges", lambda same: same)(numbers)
