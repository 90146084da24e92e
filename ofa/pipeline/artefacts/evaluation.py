"""``evaluation.json``: the models timed, and scored on the test images; all that a report says and a stage measured."""

from __future__ import annotations

from typing import ClassVar

from ofa.pipeline.artefacts.base import Artefact, Value


class ClassCounts(Value):
    """A confusion matrix without its zeros: test images and right answers per class, and ``(true, predicted, images)``
    of each mistake, the most frequent first."""

    images: tuple[int, ...]
    right: tuple[int, ...]
    taken_for: tuple[tuple[int, int, int], ...]


class Evaluated(Value):
    """A target's model: accuracy on the test images with its 95 % interval, and milliseconds for one image.

    ``latency`` is at the pace of the target's cost table, ``latency_clock`` what the clock said, ``pace`` how many
    times slower than for the table the machine was. Without a time: it cannot be timed, or is not timed here.
    """

    test_accuracy: float
    test_interval: tuple[float, float] | None = None
    test_classes: ClassCounts | None = None
    latency: float | None = None
    latency_clock: float | None = None
    pace: float | None = None


class Preprocessing(Value):
    """What an image becomes before a model sees it."""

    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    crop_pct: float


class Machine(Value):
    cpu: str = ""
    python: str = ""
    system: str = ""


class Evaluation(Artefact):
    """When, where and with which packages it was measured; ``images`` are counts of each split."""

    FILE: ClassVar[str] = "evaluation.json"
    STAGE: ClassVar[str] = "evaluate"

    date: str
    machine: Machine
    versions: dict[str, str]
    classes: tuple[str, ...]
    images: dict[str, int]
    preprocessing: Preprocessing
    targets: dict[str, Evaluated]
