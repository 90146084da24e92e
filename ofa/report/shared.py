"""Why several targets of a report have the same network: what search measured for each says it."""

from __future__ import annotations

import math
from typing import Any

from ofa.report.units import with_unit


def shared_notes(values: dict[str, Any]) -> list[str]:
    """A sentence for each network that two or more targets share, with the reason."""
    targets, by_id = values["targets"], dict[str, list[str]]()
    for name, target in targets.items():
        by_id.setdefault(target["id"], []).append(name)
    return [
        f"{_list(names)} share network {network}: {_reason({name: targets[name] for name in names})}."
        for network, names in by_id.items()
        if len(names) > 1
    ]


def _reason(targets: dict[str, dict[str, Any]]) -> str:
    if above := [name for name, target in targets.items() if not _chosen_is_inside(target)]:
        return f"nothing that was measured for {_list(above)} was inside its limits, and this was the nearest"
    limits = [target["limits"] for target in targets.values()]
    if all(limit == limits[0] for limit in limits):
        return "their limits are equal"
    loosest, tightest = (_extreme(targets, loosest=loosest) for loosest in (True, False))
    if loosest is None or tightest is None or loosest == tightest:
        return "it was the most accurate of those that measured inside each one's limits"
    limit = ", ".join(f"<= {with_unit(*each)}" for each in targets[tightest]["limits"].items())
    reason = f"the most accurate measured inside the limit of {loosest} also meets that of {tightest} ({limit})"
    others = [one for one in targets[loosest].get("candidates") or () if not one.get("chosen")]
    larger = [one for one in others if "accuracy" in one["measured"] and not _inside(one, targets[tightest]["limits"])]
    if len(larger) > 1:
        return f"{reason}, and {len(larger)} measured networks that need more were not more accurate"
    if larger:
        return f"{reason}, and the one measured network that needs more was not more accurate"
    return f"{reason}, and search proposed none that needs more"


def _extreme(targets: dict[str, dict[str, Any]], *, loosest: bool) -> str | None:
    """The target whose every limit is at least (at most) those of all others, on the same device; None for none."""

    def contains(one: dict[str, Any], other: dict[str, Any]) -> bool:
        """Whether what is inside the limits of ``other`` is inside those of ``one``."""
        if _device(one) != _device(other):
            return False
        return all(other["limits"].get(cost, math.inf) <= limit for cost, limit in one["limits"].items())

    for name, target in targets.items():
        pairs = [(target, other) if loosest else (other, target) for other in targets.values()]
        if all(contains(*pair) for pair in pairs):
            return name
    return None


def _device(target: dict[str, Any]) -> tuple[Any, ...]:
    table = target.get("latency_table") or {}
    return tuple(table.get(key) for key in ("runtime", "bits", "device", "threads"))


def _chosen_is_inside(target: dict[str, Any]) -> bool:
    chosen = [one for one in target.get("candidates") or () if one.get("chosen")]
    return all(_inside(one, target["limits"]) for one in chosen)


def _inside(candidate: dict[str, Any], limits: dict[str, float]) -> bool:
    """By what was measured of it, and as predicted what was not."""
    costs = {**candidate["predicted"], **candidate["measured"]}
    return all(costs[cost] <= limit for cost, limit in limits.items() if cost in costs)


def _list(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
