"""``models/TARGET/verify.json``: how a model file was checked, and what it scores in the runtime that will run it."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from ofa.pipeline.artefacts.base import Artefact, OpenValue, Value
from ofa.pipeline.artefacts.finetuning import Finetuned
from ofa.predictors.costs.names import COSTS

TRAINED = "quantization-aware training"  # the name of this way to quantise


class Int8Training(Value):
    """How a network was trained for int8 when no way to quantise it kept its accuracy.

    Attributes:
        float32_before: its validation accuracy in float32 before, from which the loss is counted.
    """

    epochs: int
    lr: float
    float32_before: float


class Quantization(Value):
    """How the int8 file was made. Accuracies are shares of the validation images.

    Attributes:
        tried: accuracy of the file that each way to quantise made.
        used: the way whose file was kept.
        allowed_drop: what the recipe lets int8 lose against float32; ``within``: whether it lost no more.
        unoptimised: accuracies with ONNX Runtime's optimisations off.
        depends_on_cpu: whether a processor with other instructions for int8 scores differently.
        cpu_has_vnni: whether this one has x86's VNNI; None: it is no x86.
        training: of the network for int8, if there was one; kept when it is what is ``used``.
        not_trained: why there was none although it was wanted, or its end.
    """

    calibration_images: int
    calibration_images_asked: int
    tried: dict[str, float] = Field(default_factory=dict)
    used: str
    allowed_drop: float
    within: bool
    unoptimised: dict[str, float] = Field(default_factory=dict)
    depends_on_cpu: bool = False
    cpu_has_vnni: bool | None = None
    training: Int8Training | None = None
    not_trained: str | None = None

    @property
    def untrained(self) -> tuple[str, float] | None:
        """The best way to quantise the network as it was, and its accuracy, where a trained one was kept."""
        others = {name: accuracy for name, accuracy in self.tried.items() if name != self.used}
        return max(others.items(), key=lambda item: item[1]) if self.trained and others else None

    @property
    def trained(self) -> bool:
        """Whether the file is of the network that was trained for int8."""
        return self.training is not None and self.used == TRAINED


class Program(OpenValue):
    """A microcontroller's program, with its costs by their names: ``sram``, ``flash``, ``instructions``.

    Attributes:
        name: what names in its C begin with.
        verified: whether it gave the same bytes as TensorFlow Lite Micro on ``images`` under QEMU's ``machine``; if
            not, ``reason`` says why it was not compared.
    """

    name: str = "model"
    verified: bool = False
    reason: str = ""
    images: int = 0
    machine: str = ""

    @property
    def costs(self) -> dict[str, float]:
        """What was measured, by the name of the cost."""
        return {name: self.__pydantic_extra__[name] for name in COSTS if name in self.__pydantic_extra__}


class Verified(OpenValue):
    """A model file of ``bytes`` in ``models/TARGET/``, and the environment (``runtime``, its ``version`` ...) where its
    validation accuracy was measured.

    Attributes:
        images, largest_difference, range, equal_predictions: of the comparison with torch.
        validation_accuracy_float32: of the float32 file that the int8 file was made from.
        finetuned: what training the network further has changed, in torch. A run of an older version has
            ``validation_accuracy_before_finetuning`` instead, where its network was trained further.
        resident_bytes: how much a process grows to load and run it.
        input_type: what the TFLite file takes, when the recipe says so.
    """

    file: str = "model.onnx"
    bytes: int = 0
    runtime: str = ""
    version: str = ""
    threads: int = 1
    cpu: str = ""
    images: int | None = None
    largest_difference: float | None = None
    range: float | None = None
    equal_predictions: float | None = None
    validation_accuracy: float | None = None
    validation_accuracy_float32: float | None = None
    validation_accuracy_before_finetuning: float | None = None
    finetuned: Finetuned | None = None
    resident_bytes: int | None = None
    input_type: str | None = None
    program: Program | None = None
    int8: Quantization | None = None

    @property
    def accuracy_before_finetuning(self) -> float | None:
        """Of the network as it was searched, in torch; ``None`` where that is the network of the file."""
        if self.finetuned:
            return self.finetuned.before.accuracy if self.finetuned.kept else None
        return self.validation_accuracy_before_finetuning


class Verification(Artefact, Verified):
    FILE: ClassVar[str] = "models/{target}/verify.json"
    STAGE: ClassVar[str] = "export"

    validation_accuracy: float
