"""``report.json``: everything that is shown of a run, measured beside predicted. All other forms are made from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

from ofa.pipeline.artefacts.base import Artefact, OpenValue, Value
from ofa.pipeline.artefacts.cost_info import CostInfo
from ofa.pipeline.artefacts.drawn import SubnetDescription
from ofa.pipeline.artefacts.evaluation import ClassCounts, Machine
from ofa.pipeline.artefacts.quality import Quality
from ofa.pipeline.artefacts.relaxation import Relaxation
from ofa.pipeline.artefacts.search import Figures, Searched
from ofa.pipeline.artefacts.verification import Verified


class Measured(Figures):
    """What was measured of a target's model file: accuracies on two splits, and its costs.

    ``pace``: how many times slower than for the cost table the machine was; ``latency_clock``: what the clock said.
    """

    validation_accuracy: float
    validation_interval: tuple[float, float] | None = None
    test_accuracy: float
    test_interval: tuple[float, float] | None = None
    test_classes: ClassCounts | None = None
    latency_clock: float | None = None
    pace: float | None = None


class TargetReport(Searched):
    """A target: what search said of it, and its model file in the run folder.

    ``relaxation``: the differentiable search that proposed its network, where one did.
    """

    measured: Measured
    verified: Verified
    latency_table: CostInfo | None = None
    model: str
    relaxation: Relaxation | None = None

    @property
    def accuracy_as_predicted(self) -> float:
        """The measured validation accuracy of what the predictor speaks of: before any fine-tuning, in float32."""
        for accuracy in (
            self.verified.accuracy_before_finetuning,
            self.verified.validation_accuracy_float32,
        ):
            if accuracy is not None:
                return accuracy
        return self.measured.validation_accuracy


class Data(Value):
    """What the images are, and how many each split has."""

    source: str
    images: dict[str, int]


class Epoch(OpenValue):
    """A line of ``train/metrics.jsonl``; accuracies (shares) of the networks that training watched stand in
    ``accuracy_NAME``."""

    __pydantic_extra__: dict[str, Any]

    phase: str
    epoch: int
    loss: float
    lr: float

    @property
    def accuracies(self) -> dict[str, float]:
        prefix, extra = "accuracy_", self.__pydantic_extra__
        return {key.removeprefix(prefix): value for key, value in extra.items() if key.startswith(prefix)}


class Report(Artefact):
    """A whole run.

    ``space``: what ``SearchSpace.to_dict`` says; ``drawn``: the subnet of each target. Older reports lack them.
    """

    FILE: ClassVar[str] = "report.json"
    STAGE: ClassVar[str] = "report"

    name: str
    date: str
    data: Data
    classes: tuple[str, ...] = ()
    machine: Machine
    versions: dict[str, str]
    space: dict[str, Any] | None = None
    predictor: Quality
    latency_table: CostInfo
    targets: dict[str, TargetReport]
    training: tuple[Epoch, ...] = ()
    drawn: tuple[SubnetDescription, ...] | None = None

    def table_of(self, target: str) -> CostInfo:
        """What is known of a target's cost table; in older reports all have one."""
        return self.targets[target].latency_table or self.latency_table

    def with_models_below(self, folder: Path) -> Self:
        """The same with the models' paths as they are seen from here; older reports have the folder in them."""
        targets = {
            name: target.model_copy(update={"model": str(folder / target.model)})
            if target.model.startswith("models/")
            else target
            for name, target in self.targets.items()
        }
        return self.model_copy(update={"targets": targets})
