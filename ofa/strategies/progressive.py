"""Progressive search: choices are opened step by step, and a model picks what is evaluated (PNAS, arXiv:1712.00559)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ofa.predictors.blas import one_blas_thread
from ofa.strategies.archive import Archive, best_first, rounds
from ofa.strategies.candidates import Candidates, first_generation, sample_feasible
from ofa.strategies.problem import Problem
from ofa.strategies.settings import SearchSettings, setting
from ofa.strategies.surrogate import fit_model, model_inputs
from ofa.strategies.variation import inactive_redrawn
from ofa.supernet.genome import Genome

_MOST = 256  # combinations of one part's options; of a part with more some are drawn


@dataclass(frozen=True, kw_only=True)
class ProgressiveSettings(SearchSettings):
    """Those of ``progressive``."""

    beam: int = setting(10, 1, 10_000, "Best subnets that a step of strategy progressive goes on from.")


@one_blas_thread
def progressive(problem: Problem, settings: ProgressiveSettings) -> Archive:
    """Starts from the best of ``population`` random networks and opens its parts one after the other.

    A part is a block, or a choice outside of blocks. A step changes the next part of the ``beam`` best networks of the
    steps before to all its options; of these the ``population`` that a Gaussian process predicts to be best are
    evaluated. What is not open yet stays as at the start, so networks grow from few choices to many. When all parts are
    open, the next pass starts from the best network so far.
    """
    archive, step, started = first_generation(problem, settings.population), 0, 0
    parts = _parts(problem.space)
    for rng in rounds(problem, settings, archive):
        # A part that has nothing new to offer is passed over.
        for _ in range(len(parts)):
            codes, scores, costs = archive.networks()
            if step % len(parts) == 0:
                base, started = best_first(scores, costs)[:1], len(codes)
            rows = np.concatenate([base, np.arange(started, len(codes))])
            beam = codes[rows[best_first(scores[rows], costs[rows])[: settings.beam]]]
            found = _steps(problem, archive, beam, parts[step % len(parts)], rng)
            step += 1
            if len(found.codes):
                break
        else:
            found = sample_feasible(problem, archive, settings.population, rng)
            if not len(found.codes):
                break
        archive.add(*_most_promising(problem, archive, found, settings.population, rng))
    return archive


def _parts(space: Genome) -> list[list[int]]:
    """The columns of each block, and of each choice outside of blocks, in the order of the genes."""
    parts: dict[object, list[int]] = {}
    for column, gene in enumerate(space.genes):
        parts.setdefault(column if gene.block is None else (gene.stage, gene.block), []).append(column)
    return list(parts.values())


def _steps(
    problem: Problem, archive: Archive, beam: np.ndarray, part: list[int], rng: np.random.Generator
) -> Candidates:
    """All new feasible networks that differ from one of the beam's in this part, in random order."""
    counts = problem.space.num_options[part]
    if counts.prod(dtype=float) <= _MOST:
        options = np.indices(counts).reshape(len(part), -1).T
    else:
        options = rng.integers(counts, size=(_MOST, len(part)))
    codes = inactive_redrawn(problem.space, np.repeat(beam, len(options), axis=0), rng)
    codes[:, part] = np.tile(options, (len(beam), 1))
    codes = rng.permutation(problem.space.canonical(codes))
    codes, costs, good = problem.filter_feasible(codes[archive.unseen(codes)])
    return Candidates(codes, costs, float(good.mean()) if len(good) else 0.0)


def _most_promising(
    problem: Problem, archive: Archive, candidates: Candidates, n: int, rng: np.random.Generator
) -> Candidates:
    """At most ``n`` of the candidates: those that a Gaussian process predicts to be best."""
    rows = np.arange(len(candidates.codes))
    if len(rows) > n and len(archive.networks()[0]) > 1:
        model = fit_model("gp", problem, archive, rng)
        predicted, _ = model.predict(model_inputs(model, problem, candidates.codes), return_std=False)
        rows = np.argsort(-predicted, kind="stable")
    return candidates.of(rows[:n])
