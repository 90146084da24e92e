"""What a strategy searches in, and how long: the question, apart from the way to the answer."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ofa.supernet.genome import Genome

Function = Callable[[np.ndarray], np.ndarray]
Partial = Callable[[np.ndarray, float], np.ndarray]


@dataclass(frozen=True, eq=False)
class Problem:
    """Highest ``score`` (and lowest costs, when there are ``objectives``) where no cost is above its limit.

    Attributes:
        score: ``(n,)`` of canonical codes ``(n, genes)``; higher is better.
        partial_score: a cheaper and less certain score ``(n,)`` of codes and a budget, the share from 0 to 1 of what a
            score costs; None where there is none.
        costs: ``(n, c)`` of canonical codes.
        limits: ``(c,)`` the highest value allowed of each cost; infinite for those without a limit.
        objectives: columns of the costs that the front trades against the score.
        feasible_seeds: feasible codes ``(k, genes)``, at least one; infeasible draws are moved toward them.
        include: codes ``(i, genes)`` to evaluate first. They are feasible, different and not in ``avoid``.
        avoid: codes ``(a, genes)`` never to evaluate.
        seed: of every random draw.
        deadline: when the search ends, a ``time.monotonic()``; looked at between generations.
        progress: whether a bar is shown.
    """

    space: Genome
    score: Function
    costs: Function
    limits: np.ndarray
    objectives: tuple[int, ...]
    feasible_seeds: np.ndarray
    include: np.ndarray
    avoid: np.ndarray
    partial_score: Partial | None = None
    seed: int = 0
    deadline: float = math.inf
    progress: bool = False

    def filter_feasible(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The feasible ones of the codes, their costs, and which they are: boolean ``(n,)``."""
        values = self.costs(codes)
        good = (values <= self.limits).all(axis=1)
        return codes[good], values[good], good


def partial_score(predictor: Any) -> Partial | None:
    """``predict`` with a budget, of a predictor that has one: ``predict(codes, budget=0.1)``."""
    try:
        parameters = inspect.signature(predictor.predict).parameters
    except (TypeError, ValueError):  # a function without a signature
        return None
    return (lambda codes, budget: predictor.predict(codes, budget=budget)) if "budget" in parameters else None
