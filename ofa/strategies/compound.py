"""Compound scaling, the baseline of EfficientNet (https://arxiv.org/abs/1905.11946)."""

from __future__ import annotations

import numpy as np

from ofa.strategies.archive import Archive, rounds
from ofa.strategies.candidates import Candidates, first_generation
from ofa.strategies.problem import Problem
from ofa.strategies.settings import SearchSettings
from ofa.supernet.genome import DTYPE

_COEFFICIENTS = np.linspace(0, 1, 33)
_DIRECTIONS = 5  # as many directions as networks are asked for: neighbouring ones end at one network


def compound(problem: Problem, settings: SearchSettings) -> Archive:
    """Scales depth, width, resolution and every other ordered role together, as far as the limits allow.

    A direction says how fast each role grows with the one coefficient; all genes of a role grow alike. EfficientNet
    finds one direction on a grid; here each network has a direction of its own, drawn at random. Ends when there is no
    new network of this kind, which are few. Choices without an order do not scale: they are drawn.
    """
    archive = Archive(problem)
    first = _scaled(problem, archive, settings.population, np.random.default_rng((problem.seed, 0)))
    if len(first.codes):
        archive.add(*first)
    else:
        archive = first_generation(problem, settings.population)
    for rng in rounds(problem, settings, archive):
        scaled = _scaled(problem, archive, settings.population, rng)
        if not len(scaled.codes):
            break
        archive.add(*scaled)
    return archive


def _scaled(problem: Problem, archive: Archive, n: int, rng: np.random.Generator) -> Candidates:
    """At most ``n`` new networks, each the largest feasible one of its direction; before them all of ``include``."""
    space = problem.space
    roles = [gene.role for gene in space.genes]
    names = list(dict.fromkeys(roles))
    directions = rng.random((_DIRECTIONS * n, len(names)))
    directions /= directions.max(axis=1, keepdims=True)
    growth = directions[:, [names.index(role) for role in roles]]
    drawn = (rng.random(growth.shape) * space.num_options).astype(DTYPE)

    # The largest coefficient that the limits allow, of each direction that has a feasible one.
    largest, reached = drawn, np.zeros(len(growth), bool)
    for coefficient in _COEFFICIENTS:
        levels = np.round(coefficient * growth * (space.num_options - 1)).astype(DTYPE)
        codes = space.canonical(np.where(space.ordered, levels, drawn))
        good = problem.filter_feasible(codes)[2]
        largest, reached = np.where(good[:, None], codes, largest), reached | good

    codes = np.concatenate([problem.include, largest[reached]])
    new = archive.unseen(codes)
    codes = codes[new[: max(n, (new < len(problem.include)).sum())]]
    return Candidates(codes, problem.costs(codes), float(reached.mean()))
