"""Feasible networks that were not evaluated yet, for any strategy: drawn, or bred from parents."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ofa.strategies.archive import Archive
from ofa.strategies.problem import Problem, Settings
from ofa.strategies.variation import repair, sample, vary

# Redraws of candidates that are infeasible or known: enough in practice, and never for ever.
_ROUNDS = 10
# Children per child that is wanted: most generations then need one round.
_SPARE = 3


class Candidates(NamedTuple):
    """Codes ``(n, genes)``, their costs ``(n, c)``, and which share of what was tried is feasible."""

    codes: np.ndarray
    costs: np.ndarray
    share: float


def drawn(problem: Problem, archive: Archive, n: int, rng: np.random.Generator) -> Candidates:
    """At most ``n`` random networks, after the unknown ones of the problem's ``include`` and ``feasible_seeds``.

    All of ``include`` come, even when they are more than ``n``.
    """
    tried = sample(problem.space, 2 * n, rng)
    codes, costs, good = problem.kept(tried)
    targets = problem.feasible_seeds[rng.integers(len(problem.feasible_seeds), size=(~good).sum())]
    mended = repair(problem.space, tried[~good], targets, lambda mixed: problem.kept(mixed)[2], rng)
    mended, mended_costs, _ = problem.kept(mended)
    # The mended ones first: they lie near the limit, where the best networks are.
    codes = np.concatenate([problem.include, problem.feasible_seeds, mended, codes])
    costs = np.concatenate([problem.costs(problem.include), problem.costs(problem.feasible_seeds), mended_costs, costs])
    new = archive.unseen(codes)
    new = new[: max(n, (new < len(problem.include)).sum())]
    return Candidates(codes[new], costs[new], float(good.mean()))


def bred(
    problem: Problem, archive: Archive, parents: np.ndarray, n: int, rng: np.random.Generator, settings: Settings
) -> Candidates:
    """At most ``n`` children of the codes ``parents``; random networks make up for children that are missing."""
    space, rates = problem.space, {"mutation": settings.mutation, "crossover": settings.crossover}
    codes, costs = parents[:0], np.empty((0, len(problem.limits)))
    made = tried = feasible = 0
    for _ in range(_ROUNDS):
        # Later rounds make as many as should do by what became of those before.
        more = min(made // len(codes) * (n - len(codes)) + n // 2, _SPARE * n) if len(codes) else _SPARE * n
        made += more
        born = np.concatenate([codes, vary(space, parents, more, rng, **rates)])
        # What has a code already is not costed: near a good network most children are known.
        born, born_costs, good = problem.kept(born[archive.unseen(born)[len(codes) :]])
        tried, feasible = tried + len(good), feasible + len(born)
        codes, costs = np.concatenate([codes, born])[:n], np.concatenate([costs, born_costs])[:n]
        if len(codes) == n:
            break
    else:
        # The parents' surroundings are spent: look elsewhere.
        others = drawn(problem, archive, n, rng)
        codes, costs = np.concatenate([codes, others.codes]), np.concatenate([costs, others.costs])
        new = archive.unseen(codes)[:n]
        codes, costs = codes[new], costs[new]
    return Candidates(codes, costs, feasible / max(tried, 1))


def first(problem: Problem, archive: Archive, settings: Settings) -> Candidates:
    """The first population; empty when every feasible network that could be found is one to avoid."""
    rng = np.random.default_rng((settings.seed, 0))
    found = drawn(problem, archive, settings.population, rng)
    # Where limits leave room for next to nothing, what is left lies around the anchors.
    return (
        found
        if len(found.codes)
        else bred(problem, archive, problem.feasible_seeds, settings.population, rng, settings)
    )
