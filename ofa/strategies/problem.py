"""What a strategy searches in, and how long: the question, apart from the way to the answer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ofa.supernet.genome import Genome

Function = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Problem:
    """Highest ``score`` (and lowest costs, when there are ``objectives``) where no cost is above its limit.

    Attributes:
        score: ``(n,)`` of canonical codes ``(n, genes)``; higher is better.
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
    seed: int = 0
    deadline: float = math.inf
    progress: bool = False

    def filter_feasible(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The feasible ones of the codes, their costs, and which they are: boolean ``(n,)``."""
        values = self.costs(codes)
        good = (values <= self.limits).all(axis=1)
        return codes[good], values[good], good
