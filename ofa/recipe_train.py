"""The recipe's section ``train:``, and ``finetune:`` of a target."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from ofa.recipe_errors import Problem
from ofa.recipe_types import Absolute, Count, NotNegative, Positive, Section, Share
from ofa.supernet.space import SearchSpace
from ofa.supernet.training.phases import LARGEST_FIRST, Phase


class PhaseConfig(Section):
    """One training phase. ``kernel``, ``depth`` and ``expand`` count open options from the largest; 1: only that."""

    name: Annotated[str, Field(min_length=1)]
    epochs: Count
    lr: Positive
    subnets: Count = 1
    kernel: Count = 1
    depth: Count = 1
    expand: Count = 1
    sort_channels: bool = False
    sampling: Literal["uniform", "sandwich", "best_up", "worst_up"] = "uniform"
    teacher: Literal["none", "full", "in_place"] | None = None

    def phase(self, *, first: bool) -> Phase:
        """``teacher`` unless given: the full network, but for the ``first`` phase and for in-place samplings.

        Raises ``ValueError`` when sampling, teacher and subnets do not fit each other.
        """
        usual = "in_place" if self.sampling in LARGEST_FIRST else "none" if first else "full"
        return Phase(**self.model_dump() | {"teacher": self.teacher or usual})


class CheckpointConfig(Section):
    """When training writes a checkpoint besides the one after every epoch: every so many minutes, or steps."""

    minutes: Positive | None = 10.0
    steps: Count | None = None


Phases = Annotated[
    Annotated[Literal["progressive_shrinking", "random", "sandwich", "attentive"], Tag("<preset>")]
    | Annotated[tuple[PhaseConfig, ...], Field(min_length=1), Tag("<list>")],
    Discriminator(lambda value: "<preset>" if isinstance(value, str) else "<list>"),
]


class TrainConfig(Section):
    """Training. ``epochs`` and ``lr`` (the peak) are for a schedule named by preset: the full network's, where it has a
    phase of its own. ``init``: weights of the full network to start from; ``skip_first_phase`` then leaves out its
    training. ``later_lr`` multiplies the learning rates of a preset's phases after the first. ``watch_images``:
    validation images on which every epoch measures three networks."""

    phases: Phases = "progressive_shrinking"
    epochs: Count | None = None
    lr: Positive | None = None
    later_lr: Positive = 1.0
    init: Absolute | None = None
    skip_first_phase: bool = False
    batch_size: Annotated[int, Field(ge=2)] = 64
    accumulate: Count = 1
    optimizer: Literal["sgd", "adamw", "lamb", "rmsprop"] = "sgd"
    lr_schedule: Literal["cosine", "linear"] = "cosine"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: NotNegative = 3e-5
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0
    mixup: NotNegative = 0.0
    cutmix: NotNegative = 0.0
    distill: NotNegative = 1.0
    loss: Literal["soft_ce", "kl", "alpha"] = "soft_ce"
    warmup_epochs: NotNegative = 0.0
    clip_grad: Positive | None = None
    ema: Share | None = None
    amp: bool = True
    compile: bool = False
    ranks: Literal["same", "different"] = "same"
    checkpoint: CheckpointConfig = CheckpointConfig()
    watch_images: Annotated[int, Field(ge=0)] = 500
    tensorboard: bool = False


class FinetuneConfig(Section):
    """Training of a target's own network after the search, distilled from the full network; otherwise as ``train:``."""

    epochs: Count
    lr: Positive


def train_problems(train: TrainConfig, space: SearchSpace) -> list[Problem]:
    """Keys that do not fit each other or the space."""
    problems = []
    for key in ("epochs", "lr"):
        value = getattr(train, key)
        if isinstance(train.phases, str) and value is None:
            problems.append((f"train.{key}", f"missing; phases: {train.phases} needs it"))
        elif not isinstance(train.phases, str) and value is not None:
            problems.append((f"train.{key}", f"not with listed phases; set train.phases.0.{key} and so on"))
    if train.later_lr != 1 and not isinstance(train.phases, str):
        problems.append(("train.later_lr", "not with listed phases; set train.phases.1.lr and so on"))
    if train.skip_first_phase and not train.init:
        problems.append(("train.skip_first_phase", "needs train.init: the weights that the first phase would train"))
    if train.skip_first_phase and train.phases in ("sandwich", "attentive"):
        problems.append(("train.skip_first_phase", f"phases: {train.phases} has one phase only; leave it out"))
    for index, phase in enumerate(() if isinstance(train.phases, str) else train.phases):
        if index == 0 and phase.teacher == "full" and not train.init:
            problems.append(
                ("train.phases.0.teacher", "full is untrained in the first phase; leave it out, or train.init")
            )
        try:
            phase.phase(first=index == 0)
        except ValueError as error:
            problems.append((f"train.phases.{index}", str(error)))
        for key in ("kernel", "depth", "expand"):
            most = max(len(getattr(stage, f"{key}s")) for stage in space.stages)
            if (count := getattr(phase, key)) > most:
                problems.append((f"train.phases.{index}.{key}", f"must be at most {most} (options); it is {count}"))
    return problems
