"""Every network that a search evaluated."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from ofa.strategies.problem import Problem
from ofa.strategies.settings import SearchSettings


class Archive:
    """Evaluates networks and keeps them: each once and each feasible.

    Attributes:
        history: per generation ``{"generation", "accuracy", "evaluated", "feasible"}``, as in ``SearchResult``.
        stale: number of generations since the last one that raised the best score; a strategy that looks for more may
            set it to 0.
    """

    def __init__(self, problem: Problem) -> None:
        self._score = problem.score
        self._seen = set(_keys(problem.avoid))
        none = problem.feasible_seeds[:0]
        self._codes, self._scores, self._costs = [none], [np.empty(0)], [np.empty((0, len(problem.limits)))]
        self._evaluated, self._best = 0, -np.inf
        self.history: list[dict[str, float]] = []
        self.stale = 0

    def unseen(self, codes: np.ndarray) -> np.ndarray:
        """Rows of the codes that are neither known nor to avoid, in order; of equal codes the first."""
        # A dict of keys keeps the first row, and its cost does not grow with the number of known networks.
        first: dict[bytes, int] = {}
        for row, key in enumerate(_keys(codes)):
            if key not in self._seen:
                first.setdefault(key, row)
        return np.fromiter(first.values(), int, len(first))

    def add(self, codes: np.ndarray, costs: np.ndarray, feasible: float) -> np.ndarray:
        """Evaluates one generation of unseen codes and returns their scores ``(n,)``.

        ``feasible``: the fraction of the generation's candidates that were. Raises ``ValueError`` for a score that is
        not finite.
        """
        scores = finite_scores(self._score(codes), codes)
        self.pass_over(codes)
        for kept, new in ((self._codes, codes), (self._scores, scores), (self._costs, costs)):
            kept.append(new)
        self._evaluated += len(codes)
        self.stale = 0 if scores.max() > self._best else self.stale + 1
        self._best = max(self._best, float(scores.max()))
        self.history.append(
            {
                "generation": len(self.history),
                "accuracy": self._best,
                "evaluated": self._evaluated,
                "feasible": feasible,
            }
        )
        return scores

    def pass_over(self, codes: np.ndarray) -> None:
        """From now on these codes are known: none of them is evaluated any more."""
        self._seen.update(_keys(codes))

    def networks(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All of them in the order of evaluation: codes ``(n, genes)``, scores ``(n,)``, costs ``(n, c)``."""
        return np.concatenate(self._codes), np.concatenate(self._scores), np.concatenate(self._costs)


def rounds(problem: Problem, settings: SearchSettings, archive: Archive) -> Iterator[np.random.Generator]:
    """One generator a generation, until a setting says stop; none after a first generation without a network.

    What one generation draws does not depend on how much another did.
    """
    if not archive.history:
        return
    from tqdm import tqdm  # not at the top: a recipe's check reads the names of the strategies

    generations = range(1, settings.generations + 1)
    for generation in tqdm(generations, desc="search", unit="generation", disable=not problem.progress):
        stale = settings.patience is not None and archive.stale >= settings.patience
        if stale or time.monotonic() >= problem.deadline:
            return
        yield np.random.default_rng((problem.seed, generation))


def finite_scores(answer: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """The predictor's answer for the codes as numbers ``(n,)``. Raises ``ValueError`` when one is not finite."""
    scores = np.asarray(answer, float)
    if not np.isfinite(scores).all():
        code = codes[np.argmin(np.isfinite(scores))].tolist()
        raise ValueError(f"the predictor's answer for code {code} is not a finite number")
    return scores


def best_first(scores: np.ndarray, costs: np.ndarray) -> np.ndarray:
    """Rows from the best score to the worst; of equal ones the one of lower first cost comes first."""
    first = costs[:, 0] if costs.shape[1] else np.zeros(len(scores))
    return np.lexsort((first, -scores))


def _keys(codes: np.ndarray) -> list[bytes]:
    """One hashable key per code. Bytes strings drop trailing zeros, which codes of one length can spare."""
    codes = np.ascontiguousarray(codes)
    return codes.view(f"S{codes.shape[1] * codes.itemsize}").ravel().tolist()
