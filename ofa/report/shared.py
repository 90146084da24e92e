"""Why several targets of a report have the same network, from what search measured for each of them."""

from __future__ import annotations

import math

from ofa.pipeline.artefacts.report import Report, TargetReport
from ofa.pipeline.artefacts.search import Candidate
from ofa.report.units import with_unit
from ofa.report.words import listed


def shared_notes(report: Report) -> list[str]:
    """A sentence for each network that two or more targets share, with the reason."""
    by_id: dict[str, list[str]] = {}
    for name, target in report.targets.items():
        by_id.setdefault(target.id, []).append(name)
    return [
        f"{listed(names)} share network {network}: {_reason({name: report.targets[name] for name in names})}."
        for network, names in by_id.items()
        if len(names) > 1
    ]


def _reason(targets: dict[str, TargetReport]) -> str:
    """Why these targets share a network."""
    above = [
        name
        for name, target in targets.items()
        if any(candidate.chosen and not _inside(candidate, target.limits) for candidate in target.candidates)
    ]
    if above:
        return f"nothing that was measured for {listed(above)} was inside its limits, and this was the nearest"

    limits = [target.limits for target in targets.values()]
    if all(limit == limits[0] for limit in limits):
        return "their limits are equal"
    loosest, tightest = (_extreme(targets, loosest=loosest) for loosest in (True, False))
    if loosest is None or tightest is None or loosest == tightest:
        return "it was the best of those that measured inside each one's limits"

    limit = ", ".join(f"<= {with_unit(cost, value)}" for cost, value in targets[tightest].limits.items())
    reason = f"the best measured inside the limit of {loosest} also meets that of {tightest} ({limit})"
    larger = [
        candidate
        for candidate in targets[loosest].candidates
        if not candidate.chosen
        and candidate.measured.accuracy is not None
        and not _inside(candidate, targets[tightest].limits)
    ]
    if len(larger) > 1:
        return f"{reason}, and {len(larger)} measured networks that need more were not better"
    if larger:
        return f"{reason}, and the one measured network that needs more was not better"
    return f"{reason}, and search proposed none that needs more"


def _extreme(targets: dict[str, TargetReport], *, loosest: bool) -> str | None:
    """The target whose every limit is at least (at most) those of all others, on the same device; None for none."""

    def contains(outer: TargetReport, inner: TargetReport) -> bool:
        """Whether what is inside the limits of ``inner`` is inside those of ``outer``."""
        if _deployment(outer) != _deployment(inner):
            return False
        return all(inner.limits.get(cost, math.inf) <= limit for cost, limit in outer.limits.items())

    for name, target in targets.items():
        pairs = [(target, other) if loosest else (other, target) for other in targets.values()]
        if all(contains(*pair) for pair in pairs):
            return name
    return None


def _deployment(target: TargetReport) -> tuple[str | int | None, ...]:
    table = target.latency_table
    return (table.runtime, table.bits, table.device, table.threads) if table else ()


def _inside(candidate: Candidate, limits: dict[str, float]) -> bool:
    """Whether its measured costs meet the limits; a cost that was not measured counts as predicted."""
    costs = {**candidate.predicted.costs, **candidate.measured.costs}
    return all(costs[cost] <= limit for cost, limit in limits.items() if cost in costs)
