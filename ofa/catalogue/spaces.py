"""``ofa spaces``: the presets."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from ofa.supernet import families
from ofa.supernet.space import SearchSpace


def preset_lines() -> list[str]:
    """A line for each preset: genes, networks, resolutions."""
    rows = []
    for name in families.presets():
        space = SearchSpace.preset(name)
        resolutions = f"{progression(space.resolutions)} px"
        rows.append((name, f"{space.num_genes} genes", f"{space.size:,} networks", resolutions))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return [
        f"{name:<{widths[0]}}  {genes:>{widths[1]}}  {size:>{widths[2]}}  {resolutions}"
        for name, genes, size, resolutions in rows
    ]


def progression(values: Sequence[int]) -> str:
    """``16, 20, 24``, or ``128 to 224 by 4`` where four or more are evenly spaced."""
    steps = {after - before for before, after in itertools.pairwise(values)}
    if len(values) < 4 or len(steps) > 1:
        return ", ".join(map(str, values))
    return f"{values[0]} to {values[-1]} by {steps.pop()}"
