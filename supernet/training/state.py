"""Everything that training changes, as one value: into a checkpoint, and back from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from timm.scheduler.scheduler import Scheduler
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from ofa.supernet.threads import Threads, fixed
from ofa.supernet.training import distributed
from ofa.supernet.training.checkpoint import Checkpoint, pack_optimizer, part, unpack_optimizer
from ofa.supernet.training.optim import make_optimizer, make_scheduler, peak_lr
from ofa.supernet.training.phases import Phase
from ofa.supernet.training.precision import Autocast, make_precision
from ofa.supernet.training.settings import Settings


@dataclass
class EpochSums:
    """Of the epoch that is not finished, over all ranks: the steps' losses added up, and what they took."""

    loss: float = 0.0
    steps: int = 0
    images: int = 0
    seconds: float = 0.0


@dataclass(kw_only=True)
class TrainState:
    """What training changes, beside the settings that it does not.

    A new state stands before the first phase; ``load`` puts it where a checkpoint was made. A phase has its own
    optimizer, schedule and moving average of the weights.

    Attributes:
        net: the network, trained in place; its parameters are those of the main ``optimizer``.
        phases, steps_per_epoch, settings: what to do, unchanged.
        space: of the network, as JSON values; kept in checkpoints so that another one is noticed.
        threads: asked and told in every step.
        parameters: what gradients are averaged and clipped over, in this order (in the last bit, a norm depends on
            it); by default all of the optimizer, group by group.
        teacher: a frozen network that the state has to remember.
        modules, optimizers: what else a step function trains, by name, and with what (see ``loop``): for instance
            architecture parameters. The loop only saves and restores them; the step function updates them.
        phase_index, step: the phase, and how many of its steps are done.
    """

    net: nn.Module
    phases: Sequence[Phase]
    steps_per_epoch: int
    settings: Settings
    space: dict[str, Any] = field(default_factory=dict)
    threads: Threads = field(default_factory=fixed)
    parameters: Sequence[Tensor] | None = None
    teacher: nn.Module | None = None
    modules: dict[str, nn.Module] = field(default_factory=dict)
    optimizers: dict[str, torch.optim.Optimizer] = field(default_factory=dict)

    phase_index: int = 0
    step: int = 0
    sums: EpochSums = field(default_factory=EpochSums)

    # Made for the whole training, and for each phase by ``begin_phase``.
    autocast: Autocast = field(init=False)
    scaler: torch.amp.GradScaler = field(init=False)
    optimizer: torch.optim.Optimizer = field(init=False)
    scheduler: Scheduler = field(init=False)
    ema: ModelEmaV3 | None = field(init=False, default=None)
    trained: Sequence[Tensor] = field(init=False, default=())
    # Of the step at hand: how much it had to do (see ``Threads.took``), and the seconds that measuring threads took.
    work: float = field(init=False, default=0.0)
    measuring_seconds: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self.autocast, self.scaler = make_precision(self.settings, self.device)

    @property
    def device(self) -> torch.device:
        return next(self.net.parameters()).device

    @property
    def finished(self) -> bool:
        return self.phase_index >= len(self.phases)

    @property
    def phase(self) -> Phase:
        return self.phases[self.phase_index]

    @property
    def phase_steps(self) -> int:
        """Of the whole phase."""
        return self.phase.epochs * self.steps_per_epoch

    @property
    def epochs(self) -> int:
        """Finished epochs, of all phases."""
        before = sum(phase.epochs for phase in self.phases[: self.phase_index])
        return before + self.step // self.steps_per_epoch

    @property
    def global_step(self) -> int:
        """Finished steps, of all phases."""
        before = sum(phase.epochs for phase in self.phases[: self.phase_index])
        return before * self.steps_per_epoch + self.step

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return peak_lr(self.optimizer)

    @property
    def averaged(self) -> nn.Module:
        """The weights' moving average when there is one, else the network."""
        return self.ema.module if self.ema else self.net

    def __str__(self) -> str:
        """Where training stands, for messages."""
        return f"phase {self.phase.name}, step {self.step}, learning rate {self.lr:.3g}"

    def begin_phase(self, checkpoint: Checkpoint | None = None) -> None:
        """Makes the phase's optimizer, moving average and schedule; ``checkpoint`` was made inside the phase."""
        self.optimizer = make_optimizer(self.net, self.settings, lr=self.phase.lr)
        self.trained = self.parameters or [one for group in self.optimizer.param_groups for one in group["params"]]
        self.ema = ModelEmaV3(self.net, decay=self.settings.ema, use_warmup=True) if self.settings.ema else None
        self.sums = EpochSums()
        if checkpoint:
            unpack_optimizer(self.optimizer, part(checkpoint.tensors, "optimizer"), checkpoint.values["optimizer"])
            self.sums = EpochSums(**checkpoint.values["sums"])
            if self.ema:
                self.ema.module.load_state_dict(part(checkpoint.tensors, "ema"))
        self.scheduler = make_scheduler(
            self.optimizer,
            self.settings,
            self.phase,
            steps_per_epoch=self.steps_per_epoch,
            first=self.phase_index == 0,
        )
        self.scheduler.step_update(self.step)

    def advance(self) -> None:
        """Counts a step: the schedule and the moving average follow; a phase ends with the average, on all ranks."""
        self.step += 1
        self.scheduler.step_update(self.step)
        ends = self.step == self.phase_steps
        if self.ema:
            self.ema.update(self.net, step=self.step)
            if ends:
                self.net.load_state_dict(self.ema.module.state_dict())
        if ends:
            distributed.broadcast_buffers(self.net)

    def to_checkpoint(self) -> Checkpoint:
        """What ``load`` reads; tensors are shared with the state, not copied."""
        tensors, values = pack_optimizer(self.optimizer)
        parts = {
            "net": self.net.state_dict(),
            "teacher": self.teacher.state_dict() if self.teacher is not None else {},
            "ema": self.ema.module.state_dict() if self.ema else {},
            "optimizer": tensors,
        }
        more: dict[str, Any] = {}
        for name, module in self.modules.items():
            parts[f"modules.{name}"] = module.state_dict()
        for name, optimizer in self.optimizers.items():
            parts[f"optimizers.{name}"], more[name] = pack_optimizer(optimizer)
        return Checkpoint(
            phase=self.phase_index,
            step=self.step,
            global_step=self.global_step,
            epochs=self.epochs,
            space=self.space,
            tensors={f"{prefix}.{name}": tensor for prefix, part in parts.items() for name, tensor in part.items()},
            values={
                "optimizer": values,
                "scaler": self.scaler.state_dict(),
                "sums": asdict(self.sums),
                "threads": self.threads.state,
                **({"optimizers": more} if more else {}),
            },
        )

    def load(self, checkpoint: Checkpoint) -> None:
        """Goes to where ``checkpoint`` was made; into ``teacher``, too, which must be there when it has one.

        Raises:
            ValueError: it lacks one of ``modules`` or ``optimizers``.
        """
        tensors, values = checkpoint.tensors, checkpoint.values
        optimizers = values.get("optimizers", {})
        missing = [f"module {name}" for name in self.modules if not part(tensors, f"modules.{name}")]
        missing += [f"optimizer {name}" for name in self.optimizers if name not in optimizers]
        if missing:
            raise ValueError(f"the checkpoint is of another training: it has no {' and no '.join(missing)}")

        # Weights, and what the step function trains beside them.
        self.net.load_state_dict(part(tensors, "net"))
        if weights := part(tensors, "teacher"):
            self.teacher.load_state_dict(weights)
        for name, module in self.modules.items():
            module.load_state_dict(part(tensors, f"modules.{name}"))
        for name, optimizer in self.optimizers.items():
            unpack_optimizer(optimizer, part(tensors, f"optimizers.{name}"), optimizers[name])
        if scaler := values["scaler"]:  # empty where float16 was not used
            self.scaler.load_state_dict(scaler)

        # The position: inside a phase, or at the beginning of the next one.
        self.phase_index, self.step = checkpoint.phase, checkpoint.step
        if self.finished or self.step >= self.phase_steps:
            self.phase_index, self.step = checkpoint.phase + 1, 0
        else:
            self.begin_phase(checkpoint)
