"""Settings of searches: what every strategy has, and what those that breed networks share.

A setting is a field with its default, its smallest and largest value and a sentence. ``ofa.search`` and recipes are
made from these, so that both take the same values.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ofa.errors import UserError


class Range(NamedTuple):
    """The smallest and the largest value of a setting."""

    low: float
    high: float


def setting(default: float | None, low: float, high: float, help: str) -> Any:
    """A field of a strategy's settings; a default of ``None`` may be kept."""
    return dataclasses.field(default=default, metadata={"range": Range(low, high), "help": help})


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """How long to search, and in what steps."""

    population: int = setting(100, 2, 100_000, "Subnets of a generation.")
    generations: int = setting(30, 0, 100_000, "Generations after the first.")
    patience: int | None = setting(
        None, 1, 100_000, "Generations without progress after which the search ends; null: none."
    )
    seconds: float | None = setting(
        None, 1e-9, 1e7, "Seconds after which the search of a target ends; null: unlimited."
    )

    def __post_init__(self) -> None:
        """Raises ``UserError`` naming the setting, its value and its range."""
        for field in dataclasses.fields(self):
            value, (low, high) = getattr(self, field.name), field.metadata["range"]
            if not ((value is None and field.default is None) or low <= value <= high):
                raise UserError(f"search: {field.name} is {value}; it must be from {low} to {high}")


@dataclass(frozen=True, kw_only=True)
class BreedingSettings(SearchSettings):
    """Those of strategies that make new networks of old ones."""

    mutation: float = setting(0.1, 0, 1, "Probability that a mutated subnet changes a given choice.")
    crossover: float = setting(0.5, 0, 1, "Fraction of new subnets that mix two parents.")


def chosen(settings: type[SearchSettings], values: Mapping[str, Any]) -> SearchSettings:
    """The ``settings`` that are among the ``values``; others of the values are of other strategies."""
    names = {field.name for field in dataclasses.fields(settings)}
    return settings(**{name: value for name, value in values.items() if name in names})
