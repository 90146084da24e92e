"""The recipe's section ``finetune:``, and that of a target; and ``quantization_aware:`` of a target."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from ofa.config.types import Epochs, LearningRate, Section, Takes, number_or_share


def or_false(section: Any) -> Any:
    """The type of a section, or of ``false``: no fine-tuning."""
    options = Annotated[section, Tag("<section>")] | Annotated[Literal[False], Takes("false"), Tag("<off>")]
    return Annotated[options, Discriminator(lambda value: "<off>" if value is False else "<section>")]


EpochsOrShare, LearningRateOrShare = number_or_share(Epochs), number_or_share(LearningRate)
_EPOCHS = "Passes over the training images; a share is one of the supernet's epochs, at least one"
_LR = "Peak learning rate; a share is one of the highest of the supernet's phases"


class FinetuneConfig(Section):
    """How each target's own network is trained further after the search, with the full network as its teacher; else as
    ``train:`` says. It is kept where it is better on the validation images.
    """

    epochs: EpochsOrShare = Field("0.2x", description=f"{_EPOCHS}.")
    lr: LearningRateOrShare = Field("0.4x", description=f"{_LR}.")


class TargetFinetuneConfig(Section):
    """What is otherwise for one target."""

    epochs: EpochsOrShare | None = Field(None, description=f"{_EPOCHS}; null: as in finetune.")
    lr: LearningRateOrShare | None = Field(None, description=f"{_LR}; null: as in finetune.")


class QuantizationAwareConfig(Section):
    """Training of an int8 target's network as int8 computes it, by AdamW, with its float32 network as the teacher."""

    epochs: EpochsOrShare = Field("0.05x", description=f"{_EPOCHS}.")
    lr: LearningRate = Field(3e-5, description="Peak learning rate, of AdamW whatever trains the supernet.")
