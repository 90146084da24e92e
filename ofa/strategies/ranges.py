"""The settings of a search: their smallest and largest values, for ``ofa.search`` and for recipes."""

from __future__ import annotations

RANGES: dict[str, tuple[float, float]] = {
    "population": (2, 100_000),
    "generations": (0, 100_000),
    "parents": (0, 0.9),
    "mutation": (0, 1),
    "crossover": (0, 1),
    "patience": (1, 100_000),
    "seconds": (1e-3, 1e7),
}
