"""``search/TARGET.json``: what the search found for a target, and what was measured of its candidates."""

from __future__ import annotations

from typing import ClassVar

from ofa.pipeline.artefacts.base import Artefact, OpenValue, SubnetValue, Value


class Figures(OpenValue):
    """An accuracy (a share) with what else the images said, and costs by their names, each in the unit of its table."""

    __pydantic_extra__: dict[str, float]

    accuracy: float | None = None
    smoothed_accuracy: float | None = None
    loss: float | None = None

    @property
    def costs(self) -> dict[str, float]:
        return self.__pydantic_extra__

    def cost(self, name: str) -> float | None:
        return self.__pydantic_extra__.get(name)


class Predicted(Figures):
    """By the accuracy predictor, with its standard deviation, and by the cost tables."""

    accuracy_std: float | None = None


class Candidate(Value):
    """A subnet that the search proposed and that was measured; one of a target's is ``chosen``.

    ``measured`` has no accuracy when the costs were measured to be above a limit. ``value`` is what those that were
    inside were compared by: as ``search.choose_by`` says, the accuracy that is expected of it, or what was measured.
    """

    subnet: SubnetValue
    id: str
    predicted: Predicted
    measured: Figures
    chosen: bool = False
    value: float | None = None


class FrontPoint(Value):
    """A subnet that no other was predicted to beat in both accuracy and cost."""

    subnet: SubnetValue
    accuracy: float
    costs: dict[str, float]


class Generation(OpenValue):
    """The best predicted accuracy after a generation of the search, and how many subnets it had evaluated by then."""

    generation: int
    accuracy: float
    evaluated: int


class Searched(Value):
    """What the search says of a target: ``limits`` by cost. Runs of older versions have no candidates or front."""

    subnet: SubnetValue
    id: str
    limits: dict[str, float]
    predicted: Predicted
    candidates: tuple[Candidate, ...] = ()
    evaluated: int | None = None
    history: tuple[Generation, ...] = ()
    front: tuple[FrontPoint, ...] = ()


class SearchRecord(Artefact, Searched):
    """``measured`` is that of the chosen candidate."""

    FILE: ClassVar[str] = "search/{target}.json"
    STAGE: ClassVar[str] = "search"

    measured: Figures = Figures()
