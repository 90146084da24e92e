"""The recipe's section ``train:``, and ``finetune:`` of a target."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from ofa.config.errors import Problem
from ofa.config.types import (
    MAX_EPOCHS,
    MAX_IMAGES,
    Absolute,
    Epochs,
    LearningRate,
    Section,
    Share,
    Text,
    real,
    whole,
    zero_or,
)
from ofa.supernet.space import MAX_OPTIONS, SearchSpace
from ofa.supernet.training.phases import Phase
from ofa.supernet.training.sampling import SAMPLERS

MAX_BATCH = 65_536
MAX_SUBNETS = 64
MAX_PHASES = 300


class PhaseConfig(Section):
    """One training phase. ``kernel``, ``depth`` and ``expand`` count open options from the largest; 1: only that."""

    name: Text
    epochs: Epochs
    lr: LearningRate
    subnets: whole(1, MAX_SUBNETS) = 1
    kernel: whole(1, MAX_OPTIONS) = 1
    depth: whole(1, MAX_OPTIONS) = 1
    expand: whole(1, MAX_OPTIONS) = 1
    sort_channels: bool = False
    sampling: Literal["uniform", "sandwich", "best_up", "worst_up"] = "uniform"
    teacher: Literal["none", "full", "in_place"] | None = None

    def phase(self, *, first: bool) -> Phase:
        """``teacher`` unless given: the full network, but for the ``first`` phase and for in-place samplings.

        Raises ``ValueError`` when sampling, teacher and subnets do not fit each other.
        """
        usual = "in_place" if SAMPLERS[self.sampling].largest_first else "none" if first else "full"
        return Phase(**self.model_dump() | {"teacher": self.teacher or usual})


class CheckpointConfig(Section):
    """When training writes a checkpoint besides the one after every epoch: every so many minutes, or steps."""

    minutes: real(0.01, 1e5) | None = 10.0
    steps: whole(1, 1_000_000_000) | None = None


Phases = Annotated[
    Annotated[Literal["progressive_shrinking", "random", "sandwich", "attentive"], Tag("<preset>")]
    | Annotated[tuple[PhaseConfig, ...], Field(min_length=1, max_length=MAX_PHASES), Tag("<list>")],
    Discriminator(lambda value: "<preset>" if isinstance(value, str) else "<list>"),
]


class TrainConfig(Section):
    """Training. ``epochs`` and ``lr`` (the peak) are for a schedule named by preset: the full network's, where it has a
    phase of its own. ``init``: weights of the full network to start from; ``skip_first_phase`` then leaves out its
    training. ``later_lr`` multiplies the learning rates of a preset's phases after the first. ``watch_images``:
    validation images on which every epoch measures three networks."""

    phases: Phases = "progressive_shrinking"
    epochs: Epochs | None = None
    lr: LearningRate | None = None
    later_lr: real(1e-3, 1e3) = 1.0
    init: Absolute | None = None
    skip_first_phase: bool = False
    batch_size: whole(2, MAX_BATCH) = 64
    accumulate: whole(1, MAX_BATCH // 2) = 1
    optimizer: Literal["sgd", "adamw", "lamb", "rmsprop"] = "sgd"
    lr_schedule: Literal["cosine", "linear"] = "cosine"
    momentum: zero_or(1e-3, 0.9999) = 0.9
    weight_decay: zero_or(1e-12, 10) = 3e-5
    label_smoothing: zero_or(1e-6, 0.99) = 0.1
    dropout: zero_or(1e-6, 0.95) = 0.1
    drop_path: zero_or(1e-6, 0.95) = 0.0
    mixup: zero_or(0.01, 100) = 0.0
    cutmix: zero_or(0.01, 100) = 0.0
    distill: zero_or(1e-6, 1000) = 1.0
    loss: Literal["soft_ce", "kl", "alpha"] = "soft_ce"
    warmup_epochs: zero_or(1e-6, MAX_EPOCHS) = 0.0
    clip_grad: real(1e-6, 1e6) | None = None
    ema: Share | None = None
    amp: bool = True
    compile: bool = False
    ranks: Literal["same", "different"] = "same"
    checkpoint: CheckpointConfig = CheckpointConfig()
    watch_images: whole(0, MAX_IMAGES) = 500
    tensorboard: bool = False


class FinetuneConfig(Section):
    """Training of a target's own network after the search, distilled from the full network; otherwise as ``train:``."""

    epochs: Epochs
    lr: LearningRate


def train_problems(train: TrainConfig, space: SearchSpace) -> list[Problem]:
    """Keys that do not fit each other or the space."""
    problems = []
    for key in ("epochs", "lr"):
        value = getattr(train, key)
        if isinstance(train.phases, str) and value is None:
            problems.append((f"train.{key}", f"missing; phases: {train.phases} needs it"))
        elif not isinstance(train.phases, str) and value is not None:
            problems.append((f"train.{key}", f"not with listed phases; set train.phases.0.{key} and so on"))
    if train.accumulate > train.batch_size // 2:
        text = f"must be at most {train.batch_size // 2}, so that a piece of a batch has two images"
        problems.append(("train.accumulate", f"{text}; it is {train.accumulate}"))
    if train.optimizer == "sgd" and not train.momentum:
        problems.append(("train.momentum", "0 does not work with sgd, which has Nesterov's momentum; give 0.9"))
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
