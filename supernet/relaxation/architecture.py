"""Architecture parameters: one vector a gene, in the state dict under the gene's name."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ofa.supernet.genome import Gene
from ofa.supernet.relaxation.relaxations import RELAXATIONS


class Architecture(nn.Module):
    """The parameters of all genes, and which of the options are still open.

    Args:
        genes: of the space, in the order of a code's columns.
        relaxation: a key of ``RELAXATIONS``.
        seed: of the initial values and of every draw.

    ``alphas[i]`` is the parameter ``(options,)`` of gene ``i``, ``open[i]`` a boolean buffer of the options that were
    not pruned: others have weight and probability 0. ``draws`` counts the draws, so that a restored state goes on with
    the next ones.
    """

    def __init__(self, genes: Sequence[Gene], *, relaxation: str = "softmax", seed: int = 0) -> None:
        super().__init__()
        if relaxation not in RELAXATIONS:
            raise ValueError(f"relaxation is {relaxation!r}; there are {', '.join(RELAXATIONS)}")
        self.genes, self.relaxation, self.seed = tuple(genes), relaxation, seed
        generator = torch.Generator().manual_seed(seed)
        initial = RELAXATIONS[relaxation].initial
        self.names = [gene_name(gene) for gene in genes]
        self.parameters_by_name = nn.ParameterDict(
            {
                name: nn.Parameter(initial(len(gene.options), generator))
                for name, gene in zip(self.names, genes, strict=True)
            }
        )
        for name, gene in zip(self.names, genes, strict=True):
            self.register_buffer(f"open_{name}", torch.ones(len(gene.options), dtype=torch.bool))
        self.register_buffer("draws", torch.zeros((), dtype=torch.int64))

    @property
    def alphas(self) -> list[nn.Parameter]:
        return [self.parameters_by_name[name] for name in self.names]

    @property
    def open(self) -> list[Tensor]:
        return [self.get_buffer(f"open_{name}") for name in self.names]

    def draw(self, temperature: float = 1.0) -> list[Tensor]:
        """The weights of each gene's options for one forward pass; counts a draw."""
        generator = torch.Generator().manual_seed((self.seed * 0x9E3779B97F4A7C15 + int(self.draws)) % 2**63)
        self.draws += 1
        relaxed = RELAXATIONS[self.relaxation]
        return [relaxed.draw(alpha, generator, temperature) for alpha in self.alphas]

    def probabilities(self) -> list[Tensor]:
        """Of each gene's options; differentiable, without randomness."""
        relaxed = RELAXATIONS[self.relaxation]
        return [relaxed.probabilities(alpha) for alpha in self.alphas]


def gene_name(gene: Gene) -> str:
    """Its name among all genes of a space: what it chooses, and where."""
    where = [str(number) for number in (gene.stage, gene.block) if number is not None]
    return "_".join([gene.key, *where])
