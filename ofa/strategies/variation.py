"""New codes: sampled, or made of one or two parents by mutation and crossover, or repaired to meet limits."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ofa.supernet.genome import DTYPE, Genome


def sample(space: Genome, n: int, rng: np.random.Generator) -> np.ndarray:
    """``n`` canonical codes. Where options have an order, of all sizes: half uniform, half below a random fraction of
    each gene's options. Uniform samples alone bunch at the middle size, and none is small.
    """
    if not space.ordered.any():
        return space.sample(n, rng)
    fraction = np.minimum(1, 2 * rng.random((n, 1)))
    top = 1 + np.where(space.ordered, fraction, 1) * (space.num_options - 1)
    return space.canonical((rng.random((n, space.num_genes)) * top).astype(DTYPE))


def vary(
    space: Genome, parents: np.ndarray, n: int, rng: np.random.Generator, *, mutation: float, crossover: float
) -> np.ndarray:
    """``n`` canonical codes: ``crossover`` of them take each gene from one of two parents, the others change each gene
    of one parent with probability ``mutation``.

    A changed gene is redrawn; where options have an order, every other one moves to the next option instead: networks
    that differ by a step score alike, so such a child is more often good.
    """
    inactive = ~space.active_genes(parents)
    counts = space.num_options.astype(np.float32)
    redrawn = np.minimum(rng.random((n, space.num_genes), np.float32) * counts, counts - 1).astype(DTYPE)
    first, second = rng.integers(len(parents), size=(2, n))
    # Canonical zeros would make every block that a child switches on start from its smallest options.
    parent, partner = (np.where(inactive[rows], redrawn, parents[rows]) for rows in (first, second))
    crossed = rng.random((n, 1)) < crossover
    chance = rng.random((n, space.num_genes), np.float32)
    changed = chance < np.where(crossed, np.float32(0.5), np.float32(mutation))
    if space.ordered.any():
        # Below a quarter of the rate the change is a step down, below half of it a step up.
        step = np.where(chance < np.float32(mutation / 4), DTYPE(-1), DTYPE(1))
        stepped = np.minimum(np.maximum(parent + step, 0), (counts - 1).astype(DTYPE))
        redrawn = np.where(space.ordered & (chance < np.float32(mutation / 2)), stepped, redrawn)
    return space.canonical(np.where(changed, np.where(crossed, partner, redrawn), parent))


def change_one(space: Genome, parents: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Canonical codes that differ from each parent in one active gene, and in what that gene switches on."""
    rows = np.arange(len(parents))
    changeable = space.active_genes(parents) & (space.num_options > 1)
    gene = (rng.random(parents.shape) * changeable).argmax(axis=1)
    counts = space.num_options[gene]
    step = 1 + (rng.random(len(parents)) * (counts - 1)).astype(int)
    changed = inactive_redrawn(space, parents, rng)
    changed[rows, gene] = (parents[rows, gene] + step) % counts
    return space.canonical(changed)


def neighbours(space: Genome, code: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Canonical codes of all networks that differ from ``code`` ``(genes,)`` in one gene (and in what that switches on,
    which is drawn), in random order; some may be ``code`` itself.
    """
    genes = np.repeat(np.arange(space.num_genes), space.num_options)
    options = np.concatenate([np.arange(count) for count in space.num_options])
    changed = inactive_redrawn(space, np.repeat(code[None], len(genes), axis=0), rng)
    changed[np.arange(len(genes)), genes] = options
    return rng.permutation(space.canonical(changed))


def inactive_redrawn(space: Genome, codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same networks, with random options of what a change may switch on: canonical zeros are the smallest ones."""
    redrawn = (rng.random(codes.shape) * space.num_options).astype(DTYPE)
    return np.where(space.active_genes(codes), codes, redrawn)


def repair(
    space: Genome,
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

    low, high = np.zeros(len(codes), int), np.full(len(codes), space.num_genes)
    for _ in range(math.ceil(math.log2(space.num_genes)) + 1):
        middle = (low + high) // 2
        good = feasible(mixed(middle))
        low, high = np.where(good, low, middle), np.where(good, middle, high)
    return mixed(high)
