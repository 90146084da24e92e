"""``predictor/quality.json``: how good the accuracy predictor is on subnets that it has not seen."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from ofa.pipeline.artefacts.base import Artefact, Value


class Quality(Value):
    """See ``ofa.predictors.accuracy.quality``. ``held_out``: predicted, standard deviation, measured of each row.

    ``target``: what accuracy was told from, of the recipe's ``predictor:``.
    """

    kendall_tau: float
    rmse: float
    mae: float | None = None
    calibration: float | None = None
    rows_fitted: float | None = None
    rows_held_out: float | None = None
    held_out: tuple[tuple[float, float, float], ...] = ()
    rows_dropped: float = 0.0
    kind: str | None = None
    target: str | None = None
    scores: dict[str, float] = Field(default_factory=dict)


class PredictorQuality(Artefact, Quality):
    FILE: ClassVar[str] = "predictor/quality.json"
    STAGE: ClassVar[str] = "predict"
