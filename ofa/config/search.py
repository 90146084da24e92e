"""The recipe's sections ``collect:``, ``predictor:``, ``measure:`` and ``search:``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, create_model

from ofa.config.types import (
    MAX_COUNT,
    MAX_IMAGES,
    Absolute,
    Epochs,
    LearningRate,
    Section,
    number_or_share,
    real,
    whole,
)
from ofa.predictors.accuracy.choice import CHOICES
from ofa.predictors.accuracy.kinds import AUTO, KINDS, LOSSES
from ofa.predictors.accuracy.targets import TARGETS
from ofa.predictors.proxies.table import PROXIES
from ofa.strategies.learned import DIFFERENTIABLE, HELP, LearnedSettings
from ofa.strategies.table import STRATEGIES, all_settings
from ofa.supernet.relaxation.names import COST_TERM_NAMES, METHOD_NAMES

MIN_NETWORKS = 10  # as many as the accuracy predictor is judged on
MIN_CALIBRATION_IMAGES = 2  # one image has no variance
MIN_SAMPLES = 5  # as many as a table is transferred with
MAX_CANDIDATES = 20
MAX_THREADS = 1024


def choices(table: Mapping[str, Any]) -> str:
    """The entries of a table with what each is, for a description."""
    return "; ".join(f"{name}: {entry.help}" for name, entry in table.items())


class CollectConfig(Section):
    """Which subnets are measured to train the accuracy predictor, on the validation split."""

    strategy: Literal["spread", "active", "proxies"] = Field(
        "spread",
        description="spread: subnets evenly over MACs; active: those that may move the front of accuracy over MACs; "
        "proxies: evenly over MACs, and at each cost mostly those that zero-cost proxies rank first.",
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
    features: tuple[Literal[tuple(PROXIES)], ...] = Field(
        (),
        max_length=len(PROXIES),
        description="Zero-cost proxies that accuracy is told from beside the choices, computed of the measured subnets "
        f"and of as many others (seldom of use where weights are shared): {choices(PROXIES)}.",
    )


class MeasureConfig(Section):
    """How latency is measured on each target's runtime."""

    threads: whole(1, MAX_THREADS) = Field(1, description="Threads of the runtime while it is timed.")
    fit_subnets: whole(2, 1000) = Field(16, description="Whole subnets that are timed to correct the latency table.")
    test_subnets: whole(2, 1000) = Field(8, description="Other subnets that are timed to judge the latency table.")
    rounds: whole(1, 10_000) = Field(20, description="Times that each block and subnet is timed.")
    known: Absolute | None = Field(
        None,
        description="Latency table of another device (costs/TARGET.json of a run) from which, and a few whole subnets "
        "timed, those of the targets are predicted; null: every block is timed.",
    )
    samples: whole(MIN_SAMPLES, 1000) = Field(10, description="Whole subnets that are timed where a table is known.")


def _search_setting(field: dataclasses.Field[Any]) -> tuple[Any, Any]:
    """A key of ``search:`` from a field of a strategy's settings: its type and its default with a description."""
    low, high = field.metadata["range"]
    kind = whole(max(1, low), high) if "int" in str(field.type) else real(low, high)
    kind = kind | None if field.default is None else kind
    return kind, Field(field.default, description=field.metadata["help"])


_LEARNED = LearnedSettings()


class _SearchSection(Section):
    strategy: Literal[(*STRATEGIES, DIFFERENTIABLE)] = Field(
        "evolution", description=f"{choices(STRATEGIES)}; {DIFFERENTIABLE}: {HELP}."
    )
    candidates: whole(1, MAX_CANDIDATES) = Field(
        3, description="Best predicted subnets that are built and measured; the best of them is chosen."
    )
    choose_by: Literal[tuple(CHOICES)] = Field("measured", description=f"{choices(CHOICES)}.")

    # Of strategy ``differentiable`` alone.
    method: Literal[tuple(METHOD_NAMES)] = Field(
        _LEARNED.method,
        description=f"Of strategy {DIFFERENTIABLE}: how the architecture learns (differentiable.md).",
    )
    epochs: number_or_share(Epochs) = Field(
        "0.2x",
        description=f"Of strategy {DIFFERENTIABLE}: passes over the images that teach the weights; a share is one of "
        "the supernet's epochs, at least one.",
    )
    architecture_share: real(0.05, 0.95) | None = Field(
        _LEARNED.architecture_share,
        description=f"Of strategy {DIFFERENTIABLE}: share of the training images that teach the architecture, not the "
        "weights; null: as the method has it.",
    )
    cost_term: Literal[COST_TERM_NAMES] | None = Field(
        _LEARNED.cost_term,
        description=f"Of strategy {DIFFERENTIABLE}: how the limited costs are in the loss; hinge: by what they are "
        "above their limits; null: as the method has it.",
    )
    cost_weight: real(1e-6, 1e6) | None = Field(
        _LEARNED.cost_weight, description=f"Of strategy {DIFFERENTIABLE}: weight of that term; null: as published."
    )
    architecture_lr: LearningRate | None = Field(
        _LEARNED.architecture_lr,
        description=f"Of strategy {DIFFERENTIABLE}: learning rate of the architecture parameters; null: as the method "
        "has it, and larger in proportion when the search has fewer steps than were published.",
    )
    dominance: real(1e-3, 1) | None = Field(
        _LEARNED.dominance,
        description=f"Of strategy {DIFFERENTIABLE}: of the choices that can skip something the share that does, above "
        "which the search stops; null: as the method has it.",
    )

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
