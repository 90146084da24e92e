"""The recipe's sections ``collect:``, ``predictor:``, ``measure:`` and ``search:``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ofa.config.types import MAX_COUNT, MAX_IMAGES, Section, real, whole
from ofa.strategies.ranges import RANGES

MIN_NETWORKS = 10  # as many as the accuracy predictor is judged on
MIN_CALIBRATION_IMAGES = 2  # one image has no variance
MAX_CANDIDATES = 20
MAX_THREADS = 1024


def _search(name: str) -> Any:
    """The type of a setting of the search."""
    low, high = RANGES[name]
    return whole(max(1, int(low)), int(high)) if isinstance(low, int) and high > 1 else real(low, high)


class CollectConfig(Section):
    """Which subnets are measured to train the accuracy predictor, on the validation split."""

    strategy: Literal["spread", "active"] = Field(
        "spread",
        description="spread: subnets evenly over MACs; active: those that may move the front of accuracy over MACs.",
    )
    batch: whole(MIN_NETWORKS, 1000) = Field(20, description="Subnets that strategy active chooses at a time.")
    subnets: whole(MIN_NETWORKS, 20_000) = Field(
        100, description="Subnets to measure; strategy active stops earlier when the front no longer moves."
    )
    images: whole(1, MAX_IMAGES) | None = Field(
        None, description="Validation images on which each subnet is measured; null: all."
    )
    calibration_images: whole(MIN_CALIBRATION_IMAGES, MAX_COUNT) = Field(
        512, description="Training images from which a subnet's batch norm statistics are computed."
    )


class PredictorConfig(Section):
    """The model that predicts a subnet's accuracy from its choices."""

    kind: Literal["gp", "mlp", "trees", "auto"] = Field(
        "gp",
        description="gp: Gaussian process; mlp: neural networks; trees: boosted trees; auto: what predicts best here.",
    )


class MeasureConfig(Section):
    """How latency is measured on each target's runtime."""

    threads: whole(1, MAX_THREADS) = Field(1, description="Threads of the runtime while it is timed.")
    fit_subnets: whole(2, 1000) = Field(16, description="Whole subnets that are timed to correct the latency table.")
    test_subnets: whole(2, 1000) = Field(8, description="Other subnets that are timed to judge the latency table.")
    rounds: whole(1, 10_000) = Field(20, description="Times that each block and subnet is timed.")


class SearchConfig(Section):
    """How the most accurate subnet inside each target's limits is searched for."""

    strategy: Literal["evolution", "random", "nsga2"] = Field(
        "evolution", description="evolution: one best subnet; nsga2: a whole front; random: to compare with."
    )
    population: _search("population") = Field(100, description="Subnets of a generation.")
    generations: _search("generations") = Field(30, description="Generations after the first.")
    parents: _search("parents") = Field(0.25, description="Fraction of the population that the next one is bred from.")
    mutation: _search("mutation") = Field(0.1, description="Probability that a mutated subnet changes a given choice.")
    crossover: _search("crossover") = Field(0.5, description="Fraction of new subnets that mix two parents.")
    patience: _search("patience") | None = Field(
        None, description="Generations without progress after which the search ends; null: none."
    )
    seconds: _search("seconds") | None = Field(
        None, description="Seconds after which the search of a target ends; null: unlimited."
    )
    candidates: whole(1, MAX_CANDIDATES) = Field(
        3, description="Best predicted subnets that are built and measured; the best measured one is chosen."
    )
