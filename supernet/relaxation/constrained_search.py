"""Codes of least regret inside limits: a sum over genes is minimised, and costs are any functions of a code.

Descents with multipliers (the limits as a price in the objective) find networks near the limits for every price; then
the best of them are improved by changing one or two genes at a time. Every step costs whole populations at once.
Spaces of few codes are enumerated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ofa.supernet.genome import DTYPE, Genome

MAX_ENUMERATED = 20_000  # codes that are enumerated at most
_PRICES = np.geomspace(1e-2, 1e4, 19)  # nats for an excess of the whole limit
_SWEEPS = 12  # of a descent over all genes; it usually stands still before
_SAMPLES = 2_000
_POOL = 48  # networks that are improved on
_EXPANSIONS = 96
_PAIRS = 512  # changes of two genes that are costed, of those that promise most


class Problem(NamedTuple):
    """What is minimised, and what must hold.

    Attributes:
        regrets: of each option ``(genes, most options)``; infinite for those that must not be chosen.
        limited: the costs that have limits, with ``predict``.
        highest: their limits ``(limits,)``.
    """

    space: Genome
    regrets: np.ndarray
    limited: Sequence[Any]
    highest: np.ndarray

    def regret(self, codes: np.ndarray) -> np.ndarray:
        """Of codes ``(n, genes)``, whose inactive genes do not count: ``(n,)``."""
        return self.space.regret(codes, self.regrets)

    def shares(self, codes: np.ndarray) -> np.ndarray:
        """Each cost as a share of its limit: ``(n, limits)``."""
        canonical = self.space.canonical(codes)
        costs = [np.asarray(cost.predict(canonical), np.float64) for cost in self.limited]
        return np.stack(costs, axis=1) / self.highest if costs else np.zeros((len(codes), 0))

    @property
    def allowed(self) -> list[np.ndarray]:
        """Of each gene, the options that may be chosen."""
        return [np.flatnonzero(np.isfinite(row)) for row in self.regrets]


class _Found:
    """The networks of least regret inside the limits that were seen: canonical codes, the best first."""

    def __init__(self, problem: Problem, size: int) -> None:
        self._problem, self._size = problem, size
        self.codes = np.empty((0, problem.space.num_genes), DTYPE)

    def add(self, codes: np.ndarray, shares: np.ndarray) -> None:
        problem = self._problem
        inside = codes[(shares <= 1).all(axis=1)]
        if len(self.codes) == self._size:
            inside = inside[problem.regret(inside) <= problem.regret(self.codes[-1:])]
        if not len(inside):
            return
        merged = np.unique(np.concatenate([self.codes, problem.space.canonical(inside)]), axis=0)
        order = np.argsort(problem.regret(merged), kind="stable")[: self._size]
        self.codes = merged[order]


def least_regret(problem: Problem, count: int) -> np.ndarray:
    """The ``count`` codes of least regret found inside the limits; none where none is found."""
    best = _best(problem)
    found = _Found(problem, max(_POOL, count))
    if np.prod([float(len(options)) for options in problem.allowed]) <= MAX_ENUMERATED:
        codes = np.stack(np.meshgrid(*problem.allowed, indexing="ij"), axis=-1).reshape(-1, len(best)).astype(DTYPE)
        found.add(codes, problem.shares(codes))
        return found.codes[:count]
    found.add(best[None], problem.shares(best[None]))
    if count == 1 and len(found.codes):
        return found.codes
    if problem.limited:
        samples = _samples(problem, np.random.default_rng(0))
        found.add(samples, problem.shares(samples))
        starts = np.stack([best, _smallest(problem)])
        for priced in (_linear, _hinge):
            _descend(problem, starts, _PRICES, priced, found)
    _improve(problem, found, count)
    return found.codes[:count]


def cheapest(problem: Problem, limited: Sequence[Any], highest: np.ndarray) -> np.ndarray:
    """The canonical code of the least excess over ``highest`` that a descent finds, however improbable."""
    priceless = problem._replace(regrets=np.where(np.isfinite(problem.regrets), 0.0, np.inf))
    priceless = priceless._replace(limited=limited, highest=highest)
    samples = _samples(priceless, np.random.default_rng(0))
    order = np.argsort(priceless.shares(samples).max(axis=1), kind="stable")[:8]
    starts = np.concatenate([_smallest(problem)[None], samples[order]])
    ends = _descend(priceless, starts, np.ones(1), _linear if len(limited) == 1 else _hinge, None)
    best = ends[np.argmin(priceless.shares(ends).max(axis=1))]
    return problem.space.canonical(best[None])[0]


def _best(problem: Problem) -> np.ndarray:
    return problem.space.least_regret(problem.regrets)


def _smallest(problem: Problem) -> np.ndarray:
    return np.array([options[0] for options in problem.allowed], DTYPE)


def _samples(problem: Problem, rng: np.random.Generator) -> np.ndarray:
    """Codes drawn with the probabilities, and with flatter ones."""
    drawn = []
    for temperature in (1.0, 3.0, 1e9):
        odds = np.exp(-np.where(np.isfinite(problem.regrets), problem.regrets, np.inf) / temperature)
        edges = np.cumsum(odds, axis=1) / odds.sum(axis=1, keepdims=True)
        points = rng.random((_SAMPLES // 3, problem.space.num_genes, 1))
        drawn.append((points > edges[:, :-1]).sum(axis=2).astype(DTYPE))
    return np.concatenate(drawn)


def _linear(shares: np.ndarray) -> np.ndarray:
    return shares.sum(axis=1)


def _hinge(shares: np.ndarray) -> np.ndarray:
    return np.maximum(shares - 1, 0).sum(axis=1)


def _descend(problem: Problem, starts: np.ndarray, prices: np.ndarray, priced: Any, found: _Found | None) -> np.ndarray:
    """From every start with every price, gene after gene to the best option: where it stands still.

    What is inside the limits on the way goes into ``found``.
    """
    codes, prices = np.repeat(starts, len(prices), axis=0), np.tile(prices, len(starts))
    # Depths come last: then the genes of the blocks that they may add have been chosen at the same price.
    depths = problem.space.genes_of("depth")
    genes = [gene for gene in range(codes.shape[1]) if gene not in depths]
    allowed = problem.allowed
    for _ in range(_SWEEPS):
        before = codes.copy()
        for gene in [*genes, *depths.tolist()]:
            options = allowed[gene]
            if len(options) == 1:
                continue
            tried = np.repeat(codes, len(options), axis=0)
            tried[:, gene] = np.tile(options, len(codes))
            shares = problem.shares(tried)
            if found is not None:
                found.add(tried, shares)
            values = problem.regret(tried) + np.repeat(prices, len(options)) * priced(shares)
            codes[:, gene] = options[values.reshape(len(codes), -1).argmin(axis=1)]
        if (codes == before).all():
            break
    return codes


def _improve(problem: Problem, found: _Found, count: int) -> None:
    """Changes one or two genes of the best networks until the best ``count`` have no better neighbours."""
    best, expanded = _best(problem), set()
    for _ in range(_EXPANSIONS + 2 * count):
        code = next((one for one in found.codes[: max(count, 8)] if one.tobytes() not in expanded), None)
        if code is None:
            return
        expanded.add(code.tobytes())
        # Genes that do not count are at their best, so that a depth that is opened brings the best blocks.
        active = problem.space.active_genes(code[None])[0]
        start = np.where(active, code, best)
        for codes in _neighbours(problem, start):
            found.add(codes, problem.shares(codes))


def _neighbours(problem: Problem, code: np.ndarray) -> list[np.ndarray]:
    """All codes that differ in one gene, and those in two that are likely to be better and inside the limits."""
    changes = [(gene, option) for gene, options in enumerate(problem.allowed) for option in options]
    changes = np.array([(gene, option) for gene, option in changes if code[gene] != option])
    single = np.repeat(code[None], len(changes), axis=0)
    single[np.arange(len(changes)), changes[:, 0]] = changes[:, 1]
    regrets, shares = problem.regret(single), problem.shares(single)
    own_regret, own_shares = problem.regret(code[None])[0], problem.shares(code[None])[0]
    # What two changes do together is taken for the sum of what each does, and then computed for the most promising.
    expected = regrets[:, None] + regrets[None] - own_regret
    excess = (shares[:, None] + shares[None] - own_shares).max(axis=2, initial=0.0)
    first, second = np.nonzero(np.triu(excess <= 1.02, 1) & (changes[:, :1] != changes[:, 0]))
    chosen = np.argsort(expected[first, second], kind="stable")[:_PAIRS]
    pairs = single[first[chosen]]
    other = changes[second[chosen]]
    pairs[np.arange(len(pairs)), other[:, 0]] = other[:, 1]
    return [single, pairs]
