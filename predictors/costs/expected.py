"""Expected costs under probabilities of each gene's options: what a differentiable search puts into its loss.

The sum over parts is linear, and genes are independent, so the expectation is exact: each part's costs contracted with
the probabilities of the genes that it depends on, times the probability that its depth lets it run. ProxylessNAS (Cai
et al., 2019) and FBNet (Wu et al., 2019) use the same for the latency of a chain of blocks. ``expected_maximum`` has
that of the largest part.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ofa.predictors.costs.parts import Part


def expected_sum(parts: Sequence[Part], probabilities: Sequence[Tensor]) -> Tensor:
    """Expected sum of the parts that run, of the leading shape of ``probabilities`` ``(..., options)``, one a gene.

    In their dtype and on their device; differentiable in each of them. They need not add up to 1: each gene's
    expectation is then unnormalised.

    Raises ``ValueError`` when a part's gene has no probabilities or another number of options.
    """
    check_probabilities(parts, probabilities)
    num_options = [values.shape[-1] for values in probabilities]
    like = {"dtype": probabilities[0].dtype, "device": probabilities[0].device}
    total = torch.zeros((), **like)
    for part in parts:
        # Depth is an axis like any other, along which a part that is switched off costs nothing.
        genes, costs = part.with_depth(num_options, off=0.0)
        factors = [operand for axis, gene in enumerate(genes) for operand in (probabilities[gene], [..., axis])]
        total = total + torch.einsum(torch.as_tensor(costs, **like), [*range(len(genes))], *factors, [...])
    return total


def check_probabilities(parts: Sequence[Part], probabilities: Sequence[Tensor]) -> None:
    """Raises ``ValueError`` when a part's gene has no probabilities or another number of options."""
    needed = {gene for part in parts for gene in (*part.genes, part.depth_gene) if gene is not None}
    if max(needed) >= len(probabilities):
        raise ValueError(f"there are probabilities of {len(probabilities)} genes; gene {max(needed)} has none")
    for part in parts:
        for gene, count in zip(part.genes, part.costs.shape, strict=True):
            if probabilities[gene].shape[-1:] != (count,):
                raise ValueError(
                    f"the probabilities of gene {gene} have the shape {tuple(probabilities[gene].shape)}; it has "
                    f"{count} options, which must be the last axis"
                )
