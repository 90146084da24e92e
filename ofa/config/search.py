"""The recipe's sections ``collect:``, ``predictor:``, ``measure:`` and ``search:``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, create_model

from ofa.config.types import MAX_COUNT, MAX_IMAGES, Section, real, whole
from ofa.predictors.accuracy.choice import CHOICES
from ofa.predictors.accuracy.kinds import AUTO, KINDS, LOSSES
from ofa.predictors.accuracy.targets import TARGETS
from ofa.strategies.table import STRATEGIES, all_settings

MIN_NETWORKS = 10  # as many as the accuracy predictor is judged on
MIN_CALIBRATION_IMAGES = 2  # one image has no variance
MAX_CANDIDATES = 20
MAX_THREADS = 1024


def choices(table: Mapping[str, Any]) -> str:
    """The entries of a table with what each is, for a description."""
    return "; ".join(f"{name}: {entry.help}" for name, entry in table.items())


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

    kind: Literal[(*KINDS, AUTO)] = Field("gp", description=f"{choices(KINDS)}; {AUTO}: what predicts best here.")
    loss: Literal[tuple(LOSSES)] = Field(
        "squares",
        description="What its fit makes small: "
        + "; ".join(f"{name}: {help}" for name, help in LOSSES.items())
        + f" (kinds {', '.join(name for name, kind in KINDS.items() if 'ranking' in kind.losses)} and {AUTO}).",
    )
    target: Literal[tuple(TARGETS)] = Field(
        "smoothed_accuracy",
        description="What accuracy is told from when it is predicted, and when the best of the measured candidates is "
        f"chosen: {choices(TARGETS)}.",
    )


class MeasureConfig(Section):
    """How latency is measured on each target's runtime."""

    threads: whole(1, MAX_THREADS) = Field(1, description="Threads of the runtime while it is timed.")
    fit_subnets: whole(2, 1000) = Field(16, description="Whole subnets that are timed to correct the latency table.")
    test_subnets: whole(2, 1000) = Field(8, description="Other subnets that are timed to judge the latency table.")
    rounds: whole(1, 10_000) = Field(20, description="Times that each block and subnet is timed.")


def _search_setting(field: dataclasses.Field[Any]) -> tuple[Any, Any]:
    """A key of ``search:`` from a field of a strategy's settings: its type and its default with a description."""
    low, high = field.metadata["range"]
    kind = whole(max(1, low), high) if "int" in str(field.type) else real(low, high)
    kind = kind | None if field.default is None else kind
    return kind, Field(field.default, description=field.metadata["help"])


class _SearchSection(Section):
    strategy: Literal[tuple(STRATEGIES)] = Field("evolution", description=f"{choices(STRATEGIES)}.")
    candidates: whole(1, MAX_CANDIDATES) = Field(
        3, description="Best predicted subnets that are built and measured; the best of them is chosen."
    )
    choose_by: Literal[tuple(CHOICES)] = Field("measured", description=f"{choices(CHOICES)}.")

    @property
    def settings(self) -> dict[str, Any]:
        """Of ``ofa.search``: every strategy's, of which the chosen one takes its own."""
        return {name: getattr(self, name) for name in all_settings()}


SearchConfig = create_model(
    "SearchConfig",
    __base__=_SearchSection,
    __module__=__name__,
    __doc__="How the most accurate subnet inside each target's limits is searched for: a strategy, and the settings of "
    "all of them.",
    **{name: _search_setting(field) for name, field in all_settings().items()},
)
