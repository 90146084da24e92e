"""From learned probabilities to networks inside hard limits, at every resolution.

A resolution is no choice of a network: images have one, and only costs depend on it. So it is fixed while architecture
parameters learn, and the most probable networks are proposed for each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ofa.strategies.archive import best_first
from ofa.strategies.limits import Cost, InfeasibleLimit, feasible_codes
from ofa.strategies.pareto import front
from ofa.strategies.result import TOP, SearchResult
from ofa.supernet.genome import Genome

if TYPE_CHECKING:
    from ofa.supernet.relaxation.architecture import Architecture

_PRUNED = 1e-9  # the probability of a pruned option: the last resort, when no network without it meets the limits


def fix_resolution(architecture: Architecture, space: Genome, limits: Mapping[Cost, float]) -> int | None:
    """Closes all resolutions but the largest at which a network drawn uniformly meets the limits, else the smallest.

    Gives that resolution in pixels; None for a space without such a choice.
    """
    import torch

    columns = space.genes_of("resolution").tolist()
    if not columns:
        return None
    options = space.genes[columns[0]].options

    def fits(chosen: int) -> bool:
        probabilities = [torch.full((int(count),), 1 / int(count)) for count in space.num_options]
        probabilities[columns[0]] = torch.eye(len(options))[chosen]
        return all(float(table.expected(probabilities)) <= limit for table, limit in limits.items())

    chosen = next((option for option in reversed(range(len(options))) if fits(option)), 0)
    architecture.open[columns[0]].copy_(torch.arange(len(options)) == chosen)
    return int(options[chosen])


def probabilities_of(architecture: Architecture) -> list[np.ndarray]:
    """Of each gene's options, as arrays."""
    return [values.detach().double().cpu().numpy() for values in architecture.probabilities()]


def proposals(
    space: Genome, probabilities: Sequence[np.ndarray], limits: Mapping[Cost, float], *, count: int = TOP
) -> np.ndarray:
    """Canonical codes ``(n, genes)``: of each resolution the ``count`` most probable networks inside the limits.

    The resolution that was learned at comes first, the others follow from the largest down.

    Raises ``InfeasibleLimit`` when no network meets the limits.
    """
    from ofa.supernet.relaxation.derive import most_probable

    column = next(iter(space.genes_of("resolution").tolist()), None)
    likely = [np.maximum(values, _PRUNED) for values in probabilities]
    found, problem = [], None
    for option in [None] if column is None else _resolutions(probabilities[column]):
        if option is not None:
            likely[column] = (np.arange(len(probabilities[column])) == option).astype(float)
        try:
            found.append(most_probable(space, likely, limits=limits, count=count))
        except ValueError as error:
            problem = problem or error
    if not found:
        feasible_codes(space, limits, seed=0)  # which raises, naming the limit and the cheapest network
        raise InfeasibleLimit(f"search: {problem}")
    return np.concatenate(found)


def _resolutions(probabilities: np.ndarray) -> list[int]:
    own = int(probabilities.argmax())
    return [own, *(option for option in reversed(range(len(probabilities))) if option != own)]


def proposed_result(
    space: Genome,
    codes: np.ndarray,
    scores: np.ndarray,
    limits: Mapping[Cost, float],
    *,
    history: Sequence[dict[str, Any]] = (),
) -> SearchResult:
    """The ``codes`` by their ``scores`` ``(n,)``, higher is better, as every search gives its networks."""
    tables = list(limits)
    columns = [np.asarray(cost.predict(codes), float) for cost in tables]
    costs = np.stack(columns, axis=1) if columns else np.empty((len(codes), 0))

    def described(row: int) -> dict[str, Any]:
        names = [cost.name for cost in tables]
        return {
            "subnet": space.decode(codes[row]),
            "accuracy": float(scores[row]),
            "costs": dict(zip(names, costs[row].tolist(), strict=True)),
        }

    order = best_first(scores, costs)
    best = described(int(order[0]))
    rows = front(np.column_stack([costs[:, :1], -scores])) if tables else []
    return SearchResult(
        best=best["subnet"],
        front=[described(int(row)) for row in rows] or [best],
        top=[space.decode(codes[row]) for row in order[:TOP]],
        history=list(history),
        accuracy=best["accuracy"],
        costs=best["costs"],
        evaluated=len(codes),
    )
