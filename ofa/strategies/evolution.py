"""Evolution over codes inside hard limits, as Once-for-All searches (https://arxiv.org/abs/1908.09791, section 3.4).

Everything works on whole populations ``(n, genes)``. ``costs`` below is a function of codes that gives ``(n, c)``, and
``limits`` ``(c,)`` the highest value allowed of each; a network is *feasible* when no cost is above its limit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from ofa.supernet.space import DTYPE, SearchSpace

Score = Callable[[np.ndarray], np.ndarray]

# Redraws of children that are infeasible or known, and sweeps of a descent: enough in practice, and never for ever.
_ROUNDS = 10
_SWEEPS = 20


@dataclass(frozen=True)
class Archive:
    """Every network that was evaluated, each once and each feasible: codes, scores ``(n,)``, costs ``(n, c)``."""

    codes: np.ndarray
    scores: np.ndarray
    costs: np.ndarray
    history: list[dict[str, float]]

    @property
    def order(self) -> np.ndarray:
        """Rows from the best score to the worst; of equal ones the one of lower first cost comes first."""
        first = self.costs[:, 0] if self.costs.shape[1] else np.zeros(len(self.codes))
        return np.lexsort((first, -self.scores))


def evolve(
    space: SearchSpace,
    score: Score,
    costs: Score,
    limits: np.ndarray,
    *,
    anchors: np.ndarray,
    seed: int,
    population: int,
    generations: int,
    parents: float,
    mutation: float,
    crossover: float,
    progress: bool = False,
) -> Archive:
    """Searches for the highest ``score``.

    ``anchors`` ``(k, genes)`` are feasible codes, at least one: the first population holds them, and infeasible draws
    are moved toward them. Each generation keeps the best ``parents`` share of the population; the rest are new children
    of those, ``crossover`` of them by crossover and the others by mutation. Ends early when it finds no new network.
    """

    def kept(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        values = costs(codes)
        good = (values <= limits).all(axis=1)
        return codes[good], values[good], good

    def fresh(n: int, seen: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float]:
        drawn = draw(space, 2 * n, rng)
        codes, values, good = kept(drawn)
        targets = anchors[rng.integers(len(anchors), size=(~good).sum())]
        mended, mended_values, _ = kept(mend(space, drawn[~good], targets, lambda mixed: kept(mixed)[2], rng))
        # The mended ones first: they lie near the limit, where the best networks are.
        codes = np.concatenate([anchors, mended, codes])
        values = np.concatenate([costs(anchors), mended_values, values])
        new = _unseen(codes, seen)[:n]
        return codes[new], values[new], float(good.mean())

    keep = min(population - 1, max(1, round(parents * population)))
    archive = Archive(anchors[:0], np.empty(0), costs(anchors[:0]), [])
    codes, values, share = fresh(population, _keys(anchors[:0]), np.random.default_rng((seed, 0)))
    archive = _extended(archive, codes, score(codes), values, share)
    for generation in tqdm(range(1, generations + 1), desc="search", unit="generation", disable=not progress):
        # One generator a generation: what one draws does not hang on how much another did.
        rng = np.random.default_rng((seed, generation))
        elite = archive.codes[archive.order[:keep]]
        wanted, seen = population - len(elite), _keys(archive.codes)
        codes, values, shares = archive.codes[:0], archive.costs[:0], []
        for _ in range(_ROUNDS):
            born = children(space, elite, 2 * wanted, rng, mutation=mutation, crossover=crossover)
            born, born_values, good = kept(born)
            shares.append(good.mean())
            codes, values = np.concatenate([codes, born]), np.concatenate([values, born_values])
            new = _unseen(codes, seen)[:wanted]
            codes, values = codes[new], values[new]
            if len(codes) == wanted:
                break
        if len(codes) < wanted:
            # The parents' surroundings are spent: look elsewhere.
            others, other_values, _ = fresh(wanted - len(codes), np.concatenate([seen, _keys(codes)]), rng)
            codes, values = np.concatenate([codes, others]), np.concatenate([values, other_values])
        if not len(codes):
            break
        archive = _extended(archive, codes, score(codes), values, float(np.mean(shares)))
    return archive


def children(
    space: SearchSpace, parents: np.ndarray, n: int, rng: np.random.Generator, *, mutation: float, crossover: float
) -> np.ndarray:
    """``n`` canonical codes: ``crossover`` of them take each gene from one of two parents, the others redraw each gene
    of one parent with probability ``mutation``."""
    one, two = (_awake(space, parents[rng.integers(len(parents), size=n)], rng) for _ in range(2))
    shape = one.shape
    crossed = np.where(rng.random(shape) < 0.5, one, two)
    mutated = np.where(rng.random(shape) < mutation, rng.integers(0, space.option_counts, size=shape), one)
    by_crossover = rng.random((n, 1)) < crossover
    return space.canonical(np.where(by_crossover, crossed, mutated).astype(DTYPE))


def draw(space: SearchSpace, n: int, rng: np.random.Generator) -> np.ndarray:
    """``n`` canonical codes of all sizes: half uniform, half below a random share of each gene's options.

    Uniform draws alone bunch at the middle size, and none is small.
    """
    share = np.minimum(1, 2 * rng.random((n, 1)))
    top = 1 + share * (space.option_counts - 1)
    return space.canonical((rng.random((n, space.genes)) * top).astype(DTYPE))


def mend(
    space: SearchSpace,
    codes: np.ndarray,
    targets: np.ndarray,
    feasible: Callable[[np.ndarray], np.ndarray],
    rng: np.random.Generator,
) -> np.ndarray:
    """Feasible codes, each made of ``codes`` with just enough random genes of its (feasible) target ``(n, genes)``.

    How many genes is found by bisection, so that the result lies near the limit, where good networks are.
    """
    turn = rng.random(codes.shape).argsort(axis=1).argsort(axis=1)

    def mixed(count: np.ndarray) -> np.ndarray:
        return space.canonical(np.where(turn < count[:, None], targets, codes))

    low, high = np.zeros(len(codes), int), np.full(len(codes), space.genes)
    for _ in range(math.ceil(math.log2(space.genes)) + 1):
        middle = (low + high) // 2
        good = feasible(mixed(middle))
        low, high = np.where(good, low, middle), np.where(good, middle, high)
    return mixed(high)


def descend(space: SearchSpace, objective: Score, starts: np.ndarray) -> tuple[np.ndarray, float]:
    """The code ``(genes,)`` of the lowest ``objective`` reached by changing one gene at a time, and its value.

    Coordinate descent from every start at once; on a sum over blocks that is the smallest there is.
    """
    codes = space.canonical(starts)
    values = objective(codes)
    rows = np.arange(len(codes))
    for _ in range(_SWEEPS):
        before = values
        for gene, count in enumerate(space.option_counts):
            tries = np.repeat(codes[:, None], count, axis=1)
            tries[:, :, gene] = np.arange(count)
            tries = space.canonical(tries.reshape(-1, space.genes))
            found = objective(tries).reshape(len(codes), count)
            choice = found.argmin(axis=1)
            lower = found[rows, choice] < values
            chosen = tries.reshape(len(codes), count, -1)[rows, choice]
            codes = np.where(lower[:, None], chosen, codes)
            values = np.where(lower, found[rows, choice], values)
        if np.array_equal(before, values):
            break
    best = int(values.argmin())
    return codes[best], float(values[best])


def _awake(space: SearchSpace, codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random options in the genes of inactive blocks; canonical zeros would make every block that a child switches on
    start from its smallest options."""
    awake = np.zeros(codes.shape, bool)
    awake[:, space.kernel_genes] = awake[:, space.expand_genes] = ~space.active(codes)
    return np.where(awake, rng.integers(0, space.option_counts, size=codes.shape), codes)


def _keys(codes: np.ndarray) -> np.ndarray:
    """One sortable key ``(n,)`` per code. Bytes strings drop trailing zeros, which codes of one length can spare."""
    return np.ascontiguousarray(codes).view(f"S{codes.shape[1] * codes.itemsize}").ravel()


def _unseen(codes: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Rows of the codes whose key is not in ``seen``: of equal codes the first, in their order."""
    keys = _keys(codes)
    first = np.sort(np.unique(keys, return_index=True)[1])
    return first[~np.isin(keys[first], seen)]


def _extended(archive: Archive, codes: np.ndarray, scores: np.ndarray, costs: np.ndarray, share: float) -> Archive:
    scores = np.asarray(scores, float)
    if not np.isfinite(scores).all():
        code = codes[np.argmin(np.isfinite(scores))].tolist()
        raise ValueError(f"the predictor's answer for code {code} is not a finite number")
    codes, scores = np.concatenate([archive.codes, codes]), np.concatenate([archive.scores, scores])
    costs, number = np.concatenate([archive.costs, costs]), len(archive.history)
    row = {"generation": number, "accuracy": float(scores.max()), "evaluated": len(codes), "feasible": share}
    return Archive(codes, scores, costs, [*archive.history, row])
