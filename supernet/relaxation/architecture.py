"""Architecture parameters: one vector a gene, in the state dict under the gene's name."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ofa.supernet.genome import DTYPE, Gene
from ofa.supernet.relaxation.relaxations import RELAXATIONS, Relaxation

# 2**64 over the golden ratio (Knuth's multiplicative hash): spreads seeds that follow each other far apart.
_GOLDEN_RATIO_64 = 0x9E3779B97F4A7C15


class Architecture(nn.Module):
    """The parameters of all genes, and which of the options are still open.

    Args:
        genes: of the space, in the order of a code's columns.
        relaxation: a key of ``RELAXATIONS``.
        seed: of the initial values and of every draw.

    ``alphas[i]`` is the parameter ``(options,)`` of gene ``i`` (``alpha.kernel_0_1`` in the state dict), ``open[i]`` a
    boolean buffer of the options that were not pruned. A pruned option has weight and probability 0 and no gradient; it
    is not drawn, either: the others are weighted as if it had never been there. A gene's only open option has weight 1.
    ``draws`` counts the draws, so that a restored state goes on with the next ones.
    """

    def __init__(self, genes: Sequence[Gene], *, relaxation: str = "softmax", seed: int = 0) -> None:
        super().__init__()
        if relaxation not in RELAXATIONS:
            raise ValueError(f"relaxation is {relaxation!r}; there are {', '.join(RELAXATIONS)}")
        self.genes, self.relaxation, self.seed = tuple(genes), relaxation, seed
        self.names = gene_names(genes)
        self.alpha = nn.ParameterDict(list(zip(self.names, map(nn.Parameter, self.initial()), strict=True)))
        for name, gene in zip(self.names, genes, strict=True):
            self.register_buffer(f"open_{name}", torch.ones(len(gene.options), dtype=torch.bool))
        self.register_buffer("draws", torch.zeros((), dtype=torch.int64))

    @property
    def alphas(self) -> list[nn.Parameter]:
        return [self.alpha[name] for name in self.names]

    @property
    def open(self) -> list[Tensor]:
        return [self.get_buffer(f"open_{name}") for name in self.names]

    def initial(self) -> list[Tensor]:
        """The values that the parameters started from."""
        generator = torch.Generator().manual_seed(self.seed)
        return [self._relaxed.initial(len(gene.options), generator) for gene in self.genes]

    # -- weights and probabilities --------------------------------------------------------------------------------

    def draw(self, temperature: float = 1.0, *, of_weights: bool = False) -> list[Tensor]:
        """The weights of each gene's options for one forward pass; counts a draw.

        With ``of_weights`` they are those that the network's own weights learn with.
        """
        self.draws += 1
        return self.drawn(int(self.draws) - 1, temperature, of_weights=of_weights)

    def drawn(self, number: int, temperature: float = 1.0, *, of_weights: bool = False) -> list[Tensor]:
        """The weights of draw ``number``, as often as it is asked for."""
        generator = torch.Generator().manual_seed((self.seed * _GOLDEN_RATIO_64 + number) % 2**63)
        draw = (self._relaxed.draw_of_weights if of_weights else None) or self._relaxed.draw
        return self._of_open(lambda alpha: draw(alpha, generator, temperature))

    def probabilities(self) -> list[Tensor]:
        """Of each gene's options, which add up to 1; differentiable, without randomness."""
        return self._of_open(self._relaxed.probabilities)

    def evaluated(self) -> list[Tensor]:
        """The weights of a network that is evaluated: the probabilities, but for sigmoids; without randomness."""
        return self._of_open(self._relaxed.evaluated or self._relaxed.probabilities)

    def _of_open(self, weigh: Callable[[Tensor], Tensor]) -> list[Tensor]:
        """What ``weigh`` gives for each gene's open parameters, and 0 for the others."""
        weights = []
        for alpha, is_open in zip(self.alphas, self.open, strict=True):
            few = alpha[is_open]
            values = weigh(few) if len(few) > 1 else 1 + 0 * few
            weights.append(torch.zeros_like(alpha).index_put((is_open.nonzero()[:, 0],), values))
        return weights

    @property
    def _relaxed(self) -> Relaxation:
        return RELAXATIONS[self.relaxation]

    # -- what a loss and a line of figures ask --------------------------------------------------------------------

    def penalty(self) -> Tensor:
        """The relaxation's own loss, summed over the genes that have a choice; 0 without one."""
        terms = [alpha[is_open] for alpha, is_open in zip(self.alphas, self.open, strict=True) if is_open.sum() > 1]
        if self._relaxed.penalty is None or not terms:
            return torch.zeros((), device=self.draws.device)
        return torch.stack([self._relaxed.penalty(alpha) for alpha in terms]).sum()

    def entropy(self) -> Tensor:
        """Mean entropy of the genes that have a choice: 1 where all open options are alike, 0 where all is chosen."""
        found = []
        for probabilities, is_open in zip(self.probabilities(), self.open, strict=True):
            if (count := int(is_open.sum())) > 1:
                few = probabilities[is_open]
                found.append(-torch.special.xlogy(few, few).sum() / math.log(count))
        return torch.stack(found).mean() if found else torch.zeros((), device=self.draws.device)

    @torch.no_grad()
    def code(self) -> np.ndarray:
        """The most probable option of each gene ``(genes,)``; not in canonical form, and inside no limit."""
        return np.array([int(each.argmax()) for each in self.probabilities()], DTYPE)

    # -- what a schedule does -------------------------------------------------------------------------------------

    @torch.no_grad()
    def settle(self, before: Sequence[Tensor]) -> None:
        """Corrects the parameters after an update that began at ``before``, where the relaxation wants it."""
        if self._relaxed.settle:
            for alpha, old in zip(self.alphas, before, strict=True):
                alpha.copy_(self._relaxed.settle(old, alpha))

    @torch.no_grad()
    def prune(self, share: float) -> None:
        """Keeps the most probable options of each gene: of all that it ever had a ``share``, rounded up, 2 at least."""
        for probabilities, is_open in zip(self.probabilities(), self.open, strict=True):
            keep = min(int(is_open.sum()), max(2, math.ceil(share * len(is_open) - 1e-9)))
            likely = torch.where(is_open, probabilities, -1.0).argsort(descending=True, stable=True)[:keep]
            is_open.zero_()
            is_open[likely] = True

    @torch.no_grad()
    def restart(self) -> None:
        """The parameters as they began; pruned options stay pruned."""
        for alpha, initial in zip(self.alphas, self.initial(), strict=True):
            alpha.copy_(initial)


def gene_name(gene: Gene) -> str:
    """What a gene chooses, and where."""
    where = [str(number) for number in (gene.stage, gene.block) if number is not None]
    return re.sub(r"\W", "_", "_".join([gene.key, *where]))


def gene_names(genes: Sequence[Gene]) -> list[str]:
    """One name each; where several genes would have the same, their columns tell them apart."""
    names = [gene_name(gene) for gene in genes]
    return [f"{name}_{column}" if names.count(name) > 1 else name for column, name in enumerate(names)]
