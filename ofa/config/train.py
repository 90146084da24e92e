"""The recipe's section ``train:``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, create_model

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
from ofa.supernet import families
from ofa.supernet.genome import MAX_OPTIONS
from ofa.supernet.space import SearchSpace
from ofa.supernet.training.names import LR_SCHEDULE_NAMES, SOFT_LOSS_NAMES, SUBNETS_PER_RANK
from ofa.supernet.training.phases import SCHEDULES, TEACHERS, WARMUP, Phase
from ofa.supernet.training.sampling import SAMPLERS

MAX_BATCH = 65_536
MAX_SUBNETS = 64
MAX_PHASES = 300
# Peak learning rates that suit sgd (docs/results.md), for so many images of a batch, to which they are proportional: of
# a start from nothing, and from pretrained weights, with the factor on it from layer to layer.
LR_BATCH = 64
AUTO_LR = 0.2
PRETRAINED_LR = 0.02
PRETRAINED_LAYER_DECAY = 0.9


# Every role that a family's progressive shrinking opens.
OPEN_ROLES = tuple(dict.fromkeys(role for name in families.names() for role in families.space_class(name).shrinking))


_PLURALS = {
    "kernel": "kernel sizes",
    "depth": "stage depths",
    "expand": "expand ratios",
    "kind": "kinds of blocks",
    "width": "stage widths",
    "heads": "numbers of attention heads",
    "stride": "strides",
}


OpenConfig = create_model(
    "OpenConfig",
    __base__=Section,
    __module__=__name__,
    __doc__="Open options of each role, counted from the largest; 1: the largest alone. Resolutions are always open.",
    **{
        role: (whole(1, MAX_OPTIONS), Field(1, description=f"How many {_PLURALS.get(role, role)} are open."))
        for role in OPEN_ROLES
    },
)


class PhaseConfig(Section):
    """One training phase."""

    name: Text = Field(description="Name of the phase, shown while it trains and in the report.")
    epochs: Epochs = Field(description="Passes over the training images.")
    lr: LearningRate = Field(description="Peak learning rate of the phase.")
    subnets: whole(1, MAX_SUBNETS) = Field(1, description="Subnets trained in each step; gradients are averaged.")
    open: OpenConfig = Field(
        OpenConfig(), description="Which choices the phase trains; the others stay at their largest option."
    )
    sort_channels: bool = Field(False, description="Whether channels are sorted by importance before the phase.")
    sampling: Literal[tuple(SAMPLERS)] = Field("uniform", description="Which subnets a step trains.")
    teacher: Literal[TEACHERS] | None = Field(
        None, description="Whose outputs subnets learn; null: what suits the sampling and the phase's place."
    )

    def phase(self, *, first: bool) -> Phase:
        """``teacher`` unless given: the full network, but for the ``first`` phase and for in-place samplings.

        Raises ``ValueError`` when sampling, teacher and subnets do not fit each other.
        """
        usual = "in_place" if SAMPLERS[self.sampling].largest_first else "none" if first else "full"
        return Phase(**self.model_dump() | {"teacher": self.teacher or usual})


class CheckpointConfig(Section):
    """When training writes a checkpoint besides the one after every epoch: every so many minutes, or steps."""

    minutes: real(0.01, 1e5) | None = Field(10.0, description="Minutes between checkpoints; null: no such rule.")
    steps: whole(1, 1_000_000_000) | None = Field(
        None, description="Optimizer steps between checkpoints; null: no such rule."
    )


Phases = Annotated[
    Annotated[Literal[tuple(SCHEDULES)], Tag("<preset>")]
    | Annotated[tuple[PhaseConfig, ...], Field(min_length=1, max_length=MAX_PHASES), Tag("<list>")],
    Discriminator(lambda value: "<preset>" if isinstance(value, str) else "<list>"),
]

Weights = Annotated[
    Annotated[Absolute, Tag("<path>")] | Annotated[Literal["pretrained"], Tag("<word>")],
    Discriminator(lambda value: "<word>" if value == "pretrained" else "<path>"),
]


class TrainConfig(Section):
    """How the supernet is trained."""

    phases: Phases = Field(
        "auto",
        description="A schedule by its name, or a list of phases written out; where epochs is given "
        "and this is not, progressive_shrinking.",
    )
    total_epochs: Epochs | None = Field(
        None, description="Epochs of all phases of auto together; auto needs it, and needs nothing else."
    )
    epochs: Epochs | None = Field(
        None,
        description="Epochs of the first phase of another named schedule, which needs it; listed phases have theirs.",
    )
    lr: LearningRate | None = Field(
        None,
        description="Peak learning rate of a named schedule's first phase; needed as epochs is, but with auto or init: "
        f"null is then {AUTO_LR:g} for {LR_BATCH} images of a batch; with init what suits pretrained weights, "
        f"{PRETRAINED_LR:g}, and layer_decay too.",
    )
    shrinking_lr_scale: real(1e-3, 1e3) = Field(
        1.0, description="Factor on the learning rates of a named schedule's phases after the first."
    )
    init: Weights | None = Field(
        None,
        description="Weights of the full network to start from: a .safetensors file of ours or timm's; or pretrained, "
        "which is those that timm downloads for the model of the space.",
    )
    skip_first_phase: bool = Field(False, description="Whether the first phase is left out, as init has its result.")
    batch_size: whole(2, MAX_BATCH) = Field(64, description="Images of one optimizer step, over all processes.")
    grad_accum_steps: whole(1, MAX_BATCH // 2) = Field(
        1, description="Pieces that a batch is worked on in, one after the other, to need less memory."
    )
    optimizer: Literal["sgd", "adamw", "lamb", "rmsprop"] = Field("sgd", description="timm's optimizer of this name.")
    lr_schedule: Literal[LR_SCHEDULE_NAMES] = Field(
        "cosine", description="How the learning rate falls to 0 within each phase."
    )
    momentum: zero_or(1e-3, 0.9999) = Field(0.9, description="Momentum of sgd (Nesterov's) and rmsprop.")
    layer_decay: real(0.1, 1) | None = Field(
        None,
        description="Factor on the learning rate from each layer to the one before it, so that trained weights near "
        f"the images change least; null: 1 (none), but {PRETRAINED_LAYER_DECAY:g} with init where lr is left out.",
    )
    weight_decay: zero_or(1e-12, 10) = Field(3e-5, description="Weight decay; biases and norms have none.")
    label_smoothing: zero_or(1e-6, 0.99) = Field(0.1, description="Probability that labels spread over all classes.")
    dropout: zero_or(1e-6, 0.95) = Field(0.1, description="Dropout rate before the classifier.")
    drop_path: zero_or(1e-6, 0.95) = Field(0.0, description="Rate at which residual blocks are skipped in training.")
    mixup: zero_or(0.01, 100) = Field(0.0, description="Alpha of mixup; 0: none.")
    cutmix: zero_or(0.01, 100) = Field(0.0, description="Alpha of cutmix; 0: none.")
    distill_weight: zero_or(1e-6, 1000) = Field(
        1.0, description="Weight of the teacher's soft labels beside the labels; 0: labels only."
    )
    distill_loss: Literal[SOFT_LOSS_NAMES] = Field(
        "soft_ce",
        description="How subnets learn soft labels: cross-entropy, KL divergence or AlphaNet's alpha divergence.",
    )
    warmup_epochs: zero_or(1e-6, MAX_EPOCHS) = Field(
        0.0,
        description="Epochs of the first phase in which the learning rate rises linearly; 0 with auto: "
        f"{WARMUP:g} of total_epochs.",
    )
    clip_grad: real(1e-6, 1e6) | None = Field(None, description="Largest norm of all gradients; null: not clipped.")
    ema: Share | None = Field(
        None, description="Decay of the weights' moving average, which every phase ends with; null: no average."
    )
    amp: bool = Field(True, description="Whether CUDA trains in mixed precision; CPUs train in float32.")
    compile: bool = Field(
        False, description="Whether torch.compile compiles the blocks in phases that train one network."
    )
    subnets_per_rank: Literal[SUBNETS_PER_RANK] = Field(
        "shared", description="Whether torchrun's processes train the same subnets in a step, or each its own."
    )
    checkpoint: CheckpointConfig = Field(CheckpointConfig(), description="When checkpoints are written.")
    eval_images: whole(0, MAX_IMAGES) = Field(
        500, description="Validation images on which three networks are measured after every epoch; 0: none."
    )
    tensorboard: bool = Field(False, description="Whether figures of the training are written for TensorBoard.")

    @property
    def from_pretrained(self) -> bool:
        """Whether learning rates are those that suit pretrained weights."""
        return self.init is not None and self.lr is None and isinstance(self.phases, str)

    @property
    def first_epochs(self) -> int | None:
        """What a named schedule is made from: its first phase's epochs, or those of all phases of auto."""
        return self.total_epochs if self.phases == "auto" else self.epochs

    @property
    def first_lr(self) -> float | None:
        """Peak learning rate of a named schedule's first phase."""
        if self.lr is not None:
            return self.lr
        return (PRETRAINED_LR if self.init else AUTO_LR) * self.batch_size / LR_BATCH

    @property
    def lr_factor_of_layers(self) -> float:
        """``layer_decay``, or its default."""
        return self.layer_decay or (PRETRAINED_LAYER_DECAY if self.from_pretrained else 1.0)


_OF_OTHERS = ("phases", "total_epochs")


def with_phases(train: Any) -> Any:
    """The section's plain values; with ``epochs`` alone, which has always meant the published schedule, its name."""
    if not isinstance(train, dict) or train.get("epochs") is None or not train.keys().isdisjoint(_OF_OTHERS):
        return train
    return train | {"phases": "progressive_shrinking"}


def _length_problems(train: TrainConfig) -> list[Problem]:
    """Epochs and learning rates that the schedule lacks, or that are another one's."""
    if not isinstance(train.phases, str):
        given = [key for key in ("epochs", "lr") if getattr(train, key) is not None]
        problems = [(f"train.{key}", f"not with listed phases; set train.phases.0.{key} and so on") for key in given]
        if train.total_epochs is not None:
            problems.append(("train.total_epochs", "not with listed phases; set train.phases.0.epochs and so on"))
        return problems
    needed, other = ("total_epochs", "epochs") if train.phases == "auto" else ("epochs", "total_epochs")
    problems = []
    if getattr(train, needed) is None:
        problems.append((f"train.{needed}", f"missing; phases: {train.phases} needs it"))
    if getattr(train, other) is not None:
        problems.append((f"train.{other}", f"not with phases: {train.phases}, which takes {needed}; leave it out"))
    if train.lr is None and not train.init and train.phases != "auto":
        problems.append(("train.lr", f"missing; phases: {train.phases} needs it"))
    return problems


def train_problems(train: TrainConfig, space: SearchSpace) -> list[Problem]:
    """Keys that do not fit each other or the space."""
    problems = _length_problems(train)
    if train.grad_accum_steps > train.batch_size // 2:
        text = f"must be at most {train.batch_size // 2}, so that a piece of a batch has two images"
        problems.append(("train.grad_accum_steps", f"{text}; it is {train.grad_accum_steps}"))
    if train.optimizer == "sgd" and not train.momentum:
        problems.append(("train.momentum", "0 does not work with sgd, which has Nesterov's momentum; give 0.9"))
    if train.shrinking_lr_scale != 1 and not isinstance(train.phases, str):
        problems.append(("train.shrinking_lr_scale", "not with listed phases; set train.phases.1.lr and so on"))
    if train.lr is None and (train.from_pretrained or train.phases == "auto") and train.optimizer != "sgd":
        of = "pretrained weights" if train.init else "auto"
        text = f"missing; what suits {of} is known for sgd alone, and optimizer is {train.optimizer}"
        problems.append(("train.lr", text))
    if train.init == "pretrained" and not getattr(space, "timm", ""):
        text = "pretrained needs a space of a timm model (space: {timm: NAME}); give a .safetensors file of weights"
        problems.append(("train.init", text))
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
        for role, count in phase.open.model_dump().items():
            most = max(1, space.max_options(role))
            if count > most:
                where = f"train.phases.{index}.open.{role}"
                problems.append((where, f"must be at most {most} (options); it is {count}"))
    return problems
