"""New feasible networks for any strategy: sampled, or offspring of parents. None was evaluated before."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ofa.strategies.archive import Archive
from ofa.strategies.problem import Problem
from ofa.strategies.variation import repair, sample, vary

MAX_ROUNDS = 10  # times that offspring is drawn again in place of what is infeasible or known
_SPARE = 3  # times as many offspring as needed are made first, so that most generations need one round


class Candidates(NamedTuple):
    """Codes ``(n, genes)``, their costs ``(n, c)``, and the fraction of what was tried that is ``feasible``."""

    codes: np.ndarray
    costs: np.ndarray
    feasible: float

    def of(self, rows: np.ndarray | slice) -> Candidates:
        """Those of the given rows alone."""
        return Candidates(self.codes[rows], self.costs[rows], self.feasible)


def sample_feasible(problem: Problem, archive: Archive, n: int, rng: np.random.Generator) -> Candidates:
    """At most ``n`` random networks, after the unknown ones of the problem's ``include`` and ``feasible_seeds``.

    All of ``include`` come, even when they are more than ``n``.
    """
    tried = sample(problem.space, 2 * n, rng)
    codes, costs, good = problem.filter_feasible(tried)
    targets = problem.feasible_seeds[rng.integers(len(problem.feasible_seeds), size=(~good).sum())]
    repaired = repair(problem.space, tried[~good], targets, lambda mixed: problem.filter_feasible(mixed)[2], rng)
    repaired, repaired_costs, _ = problem.filter_feasible(repaired)
    # The repaired ones first: they lie near the limit, where the best networks are.
    codes = np.concatenate([problem.include, problem.feasible_seeds, repaired, codes])
    first_costs = problem.costs(problem.include), problem.costs(problem.feasible_seeds)
    costs = np.concatenate([*first_costs, repaired_costs, costs])
    new = archive.unseen(codes)
    new = new[: max(n, (new < len(problem.include)).sum())]
    return Candidates(codes[new], costs[new], float(good.mean()))


def gather(
    problem: Problem, archive: Archive, n: int, rng: np.random.Generator, make: Callable[[int], np.ndarray]
) -> Candidates:
    """At most ``n`` new feasible networks of those that ``make(count)`` gives; random ones make up for what is missing.

    ``make`` gives ``count`` canonical codes at each call. It is asked for more as long as too few are new and feasible.
    """
    codes, costs = problem.feasible_seeds[:0], np.empty((0, len(problem.limits)))
    made = tried = feasible = 0
    elsewhere = 0.0
    for _ in range(MAX_ROUNDS):
        # Later rounds make as many as the yield of earlier ones asks for.
        more = min(made // len(codes) * (n - len(codes)) + n // 2, _SPARE * n) if len(codes) else _SPARE * n
        made += more
        offspring = np.concatenate([codes, make(more)])
        # Known codes are not costed again: near a good network most offspring are known.
        new = offspring[archive.unseen(offspring)[len(codes) :]]
        new, new_costs, good = problem.filter_feasible(new)
        tried, feasible = tried + len(good), feasible + len(new)
        codes, costs = np.concatenate([codes, new])[:n], np.concatenate([costs, new_costs])[:n]
        if len(codes) == n:
            break
    else:
        # Nothing new is left of what is made: sample elsewhere.
        others = sample_feasible(problem, archive, n, rng)
        elsewhere = others.feasible
        codes, costs = np.concatenate([codes, others.codes]), np.concatenate([costs, others.costs])
        new = archive.unseen(codes)[:n]
        codes, costs = codes[new], costs[new]
    return Candidates(codes, costs, feasible / tried if feasible else elsewhere)


def breed(
    problem: Problem,
    archive: Archive,
    parents: np.ndarray,
    n: int,
    rng: np.random.Generator,
    *,
    mutation: float,
    crossover: float,
) -> Candidates:
    """At most ``n`` offspring of the codes ``parents``; random networks make up for offspring that is missing."""

    def make(count: int) -> np.ndarray:
        return vary(problem.space, parents, count, rng, mutation=mutation, crossover=crossover)

    return gather(problem, archive, n, rng, make)


def first_population(
    problem: Problem, archive: Archive, n: int, *, mutation: float = 0.1, crossover: float = 0.5
) -> Candidates:
    """At most ``n``; empty when every feasible network that could be found is one to avoid."""
    rng = np.random.default_rng((problem.seed, 0))
    sampled = sample_feasible(problem, archive, n, rng)
    if len(sampled.codes):
        return sampled
    # Where limits leave room for next to nothing, what is left lies around the feasible seeds.
    return breed(problem, archive, problem.feasible_seeds, n, rng, mutation=mutation, crossover=crossover)


def first_generation(problem: Problem, n: int) -> Archive:
    """An archive of the first population: empty when every feasible network that could be found is one to avoid."""
    archive = Archive(problem)
    population = first_population(problem, archive, n)
    if len(population.codes):
        archive.add(*population)
    return archive
