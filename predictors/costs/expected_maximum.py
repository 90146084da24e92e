"""The expected cost of the largest part, under probabilities of each gene's options: peak memory in a loss.

A maximum is at most ``c`` where every part is, so its distribution is a sum over all networks of a product over parts
and genes. Genes are summed over one after the other, each with the few parts that depend on it (variable elimination,
https://doi.org/10.1016/S0004-3702(99)00059-4), so the expectation is exact. Parts of a chain of blocks share few genes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ofa.predictors.costs.expected import check_probabilities
from ofa.predictors.costs.parts import Part

# Genes in ascending order, and what depends on them: ``(..., states, levels, options of each)``.
Factor = tuple[tuple[int, ...], Tensor]


def expected_maximum(parts: Sequence[Part], probabilities: Sequence[Tensor]) -> Tensor:
    """Expected largest cost of the parts that run, of the leading shape of ``probabilities`` ``(..., options)``.

    One a gene, which add up to 1. In their dtype and on their device, and differentiable in each of those on which the
    largest part can depend. At least one part always runs.

    Raises ``ValueError`` when a part's gene has no probabilities or another number of options.
    """
    check_probabilities(parts, probabilities)
    num_options = [values.shape[-1] for values in probabilities]
    always = [_ascending(*part.with_depth(num_options, off=-np.inf)) for part in parts]

    # Genes that all parts depend on, such as the resolution, are states, each with its own levels of cost.
    shared = tuple(sorted(set.intersection(*(set(genes) for genes, _ in always))))
    states = math.prod(num_options[gene] for gene in shared)
    owned = [_by_state(genes, costs, shared, states) for genes, costs in always]
    levels = _levels([costs for _, costs in owned])
    factors = [(genes, _within(costs, levels).to(probabilities[0])) for genes, costs in owned]

    below = _summed(factors, probabilities)  # how probable it is that all parts are at most each level
    at_level = torch.diff(below, dim=-1, prepend=torch.zeros_like(below[..., :1]))
    by_state = (at_level * torch.as_tensor(levels).to(at_level)).sum(-1)
    for gene in reversed(shared):
        by_state = (by_state.unflatten(-1, (-1, num_options[gene])) * probabilities[gene][..., None, :]).sum(-1)
    return by_state.squeeze(-1)


def _ascending(genes: Sequence[int], costs: np.ndarray) -> tuple[tuple[int, ...], np.ndarray]:
    order = np.argsort(genes)
    return tuple(genes[axis] for axis in order), costs.transpose(order)


def _by_state(
    genes: tuple[int, ...], costs: np.ndarray, shared: tuple[int, ...], states: int
) -> tuple[tuple[int, ...], np.ndarray]:
    """The genes that are not ``shared``, and costs ``(states, options of each)``."""
    own = tuple(gene for gene in genes if gene not in shared)
    ordered = costs.transpose([genes.index(gene) for gene in (*shared, *own)])
    return own, ordered.reshape(states, *ordered.shape[len(shared) :])


def _levels(costs: Sequence[np.ndarray]) -> np.ndarray:
    """The costs that occur in each state, ascending: ``(states, levels)``, the last one repeated where there are fewer.

    None is below the largest cost of all parts at their cheapest: the maximum never is.
    """
    rows = []
    for state in range(len(costs[0])):
        least = max(part[state].min() for part in costs)
        found = np.unique(np.concatenate([part[state].ravel() for part in costs]))
        rows.append(found[found >= least])
    longest = max(map(len, rows))
    return np.stack([np.pad(row, (0, longest - len(row)), mode="edge") for row in rows])


def _within(costs: np.ndarray, levels: np.ndarray) -> Tensor:
    """Where a part's costs are at most each level: ``(states, levels, options of each gene)``."""
    return torch.from_numpy(costs[:, None] <= levels.reshape(*levels.shape, *[1] * (costs.ndim - 1)))


def _summed(factors: list[Factor], probabilities: Sequence[Tensor]) -> Tensor:
    """The product of all factors, summed over their genes by probability: ``(..., states, levels)``."""
    while left := {gene for genes, _ in factors for gene in genes}:
        # Next the gene whose parts depend on the fewest combinations of options.
        together = {gene: tuple(sorted({other for own, _ in factors if gene in own for other in own})) for gene in left}
        sizes = {gene: math.prod(probabilities[other].shape[-1] for other in together[gene]) for gene in sorted(left)}
        gene = min(sizes, key=sizes.__getitem__)
        genes = together[gene]

        # Its parts become one that no longer depends on it.
        product = _product([factor for factor in factors if gene in factor[0]], genes)
        rest = tuple(other for other in genes if other != gene)
        leading = probabilities[gene].shape[:-1]
        weights = probabilities[gene].reshape(*leading, *[1] * (2 + len(rest)), -1)
        mean = (product.movedim(genes.index(gene) - len(genes), -1) * weights).sum(-1)
        factors = [*(factor for factor in factors if gene not in factor[0]), (rest, mean)]
    return _product(factors, ())


def _product(factors: Sequence[Factor], genes: tuple[int, ...]) -> Tensor:
    """Of factors whose genes are among ``genes``."""
    product: Tensor | float = 1.0
    for own, values in factors:
        sizes = iter(values.shape[values.ndim - len(own) :])
        shape = [next(sizes) if gene in own else 1 for gene in genes]
        product = product * values.reshape(*values.shape[: values.ndim - len(own)], *shape)
    return product
