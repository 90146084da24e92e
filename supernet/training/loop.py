"""The training loop: phases, epochs and steps, for whatever a step function learns.

A step function ``step(state, batch) -> loss`` adds gradients to the parameters of ``state.net`` and returns the mean
loss over its images (0 without any); one that is not finite ends training on all ranks. It is called in every step on
every rank, with an empty batch too, since ranks may have to decide something together. Weight sharing
(``weight_sharing``) and fine-tuning (``finetune``) are two of them.

Differentiable search (``ofa.supernet.relaxation.learning``) is a third: architecture parameters are one of
``state.modules``, with their own one of ``state.optimizers``; ``batches`` yields ``(images, labels, other images, other
labels)`` of two halves of the data; and the step function first updates the architecture parameters by the others, then
adds the gradients of the weights, with which the loop goes on. Checkpoints hold all of it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from timm.data import Mixup
from torch import Tensor, nn
from tqdm import tqdm

from ofa.supernet.training import distributed
from ofa.supernet.training.checkpoint import Checkpoint
from ofa.supernet.training.errors import REMEDY, Diverged, Stopped
from ofa.supernet.training.mixup import mix
from ofa.supernet.training.phases import Phase
from ofa.supernet.training.state import EpochSums, TrainState
from ofa.supernet.training.step import Batch, apply_gradients, step_seed

Batches = Callable[[int, int], Iterable[tuple[Tensor, ...]]]
Step = Callable[[TrainState, Batch], float]


@dataclass(frozen=True)
class Hooks:
    """What the loop tells its caller, and asks.

    Attributes:
        begin_phase: called before a phase's first step, and before its optimizer is made.
        on_epoch: given the state and the epoch's figures: phase, epoch, loss (None without images), lr,
            images_per_second, seconds, seconds_left, and the number of torch's threads.
        save_checkpoint: given the state after every epoch, when ``checkpoint_due``, and before ``Stopped``.
        checkpoint_due: whether a checkpoint is to be saved after so many steps in all.
        stop: asked in every step; training ends after it when any rank says yes.
    """

    begin_phase: Callable[[TrainState], None] = lambda state: None
    on_epoch: Callable[[TrainState, dict[str, Any]], None] = lambda state, figures: None
    save_checkpoint: Callable[[Checkpoint], None] | None = None
    checkpoint_due: Callable[[int], bool] = lambda global_step: False
    stop: Callable[[], bool] = lambda: False


def train(
    state: TrainState,
    step: Step,
    batches: Batches,
    *,
    normalize: Callable[[Tensor], Tensor],
    mixup: Mixup | None = None,
    hooks: Hooks | None = None,
    progress: bool = True,
) -> None:
    """Trains ``state.net`` in place, from where the state stands to the end of its last phase.

    With several processes (torch.distributed), each works on its own rows of the batch, and gradients are averaged over
    all images. The result of training that was interrupted and goes on (``TrainState.load``) is that of training that
    was not, bit for bit on a CPU.

    Args:
        batches: (epoch counted over all phases, first step) to this rank's uint8 images and labels of the remaining
            steps of that epoch, and further tensors if the step function wants them; a batch may be empty, and one of a
            single image counts as empty.
        normalize: uint8 images to floats at the same size.
        mixup: mixes every batch.

    Raises:
        Diverged: naming phase, step and learning rate; ``save_checkpoint`` has not been given a bad state.
        Stopped: ``stop`` returned true, here or on another rank.
        ValueError: ``batches`` gave nothing.
    """
    hooks = hooks or Hooks()
    forked = [state.device] if state.device.type == "cuda" else []
    seed, steps_per_epoch = state.settings.seed, state.steps_per_epoch
    while not state.finished:
        # A phase begins, unless a checkpoint led into the middle of one.
        if state.step == 0:
            hooks.begin_phase(state)
            state.begin_phase()
        state.net.train()
        bar = tqdm(
            total=state.phase_steps,
            initial=state.step,
            desc=f"train {state.phase.name}",
            unit="step",
            disable=None if progress and distributed.rank() == 0 else True,
        )
        while state.step < state.phase_steps:
            epoch, index = state.epochs, state.step % steps_per_epoch
            before = state.step
            for images, labels, *others in islice(batches(epoch, index), steps_per_epoch - index):
                started = time.perf_counter()
                where, lr = str(state), state.lr
                batch = _to_device(state, images, labels, others, normalize=normalize, mixup=mixup)

                # Draws depend on the seed and the step alone, and leave torch's global state as it was.
                state.optimizer.zero_grad()
                state.work = state.measuring_seconds = 0.0
                with torch.random.fork_rng(devices=forked):
                    torch.manual_seed(step_seed(seed, state.global_step))
                    loss = step(state, batch)

                # Gradients, the loss and the request to stop travel together, in one all-reduce.
                images_here = len(batch.labels)
                sums = (loss * images_here, float(hooks.stop()))
                count, (loss_sum, stops) = apply_gradients(
                    state, state.optimizer, state.trained, images=images_here, sums=sums
                )
                if not math.isfinite(loss_sum):
                    raise Diverged(f"the loss is {loss_sum} in {where}; {REMEDY}")
                if count:
                    state.scaler.update()
                    state.sums.loss += loss_sum / count
                    state.sums.steps += 1
                    state.sums.images += count
                state.advance()

                # How long it took, but for measuring threads.
                seconds = time.perf_counter() - started - state.measuring_seconds
                state.threads.took(seconds, state.work)
                state.sums.seconds += seconds
                bar.update()
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)

                # No bad state is reported or saved.
                done = state.step % steps_per_epoch == 0
                due = bool(hooks.save_checkpoint) and (done or bool(stops) or hooks.checkpoint_due(state.global_step))
                if done or stops or due:
                    number = (state.step - 1) // steps_per_epoch + 1
                    _check_finite(state.net, f"{'after' if done else 'in'} epoch {number} of {where}")
                if done:
                    hooks.on_epoch(state, _figures(state, lr=lr))
                    state.sums = EpochSums()
                    state.net.train()
                if due:
                    hooks.save_checkpoint(state.to_checkpoint())
                if stops:
                    raise Stopped(f"in phase {state.phase.name} after step {state.step} of {state.phase_steps}")
            if state.step == before:
                raise ValueError(f"batches gave nothing for epoch {epoch} from step {index} on")
        bar.close()
        state.phase_index, state.step = state.phase_index + 1, 0


def _to_device(
    state: TrainState,
    images: Tensor,
    labels: Tensor,
    others: Iterable[Tensor],
    *,
    normalize: Callable[[Tensor], Tensor],
    mixup: Mixup | None,
) -> Batch:
    """The batch as the step function gets it; of a single image, batch norm takes no variance."""
    if len(labels) == 1:
        images, labels = images[:0], labels[:0]
    images, labels = images.to(state.device), labels.to(state.device)
    if len(labels):
        images = normalize(images)
        if mixup:
            key = (state.settings.seed, state.global_step, distributed.rank())
            images, labels = mix(mixup, images, labels, key=key)
    return Batch(images, labels, tuple(other.to(state.device) for other in others))


def _check_finite(net: nn.Module, where: str) -> None:
    if not all(torch.isfinite(tensor).all() for tensor in net.state_dict().values()):
        raise Diverged(f"the weights are no longer finite {where}; {REMEDY}")


def _figures(state: TrainState, *, lr: float) -> dict[str, Any]:
    """Of the epoch that the last step, at learning rate ``lr``, has finished."""
    sums, epoch = state.sums, state.step // state.steps_per_epoch

    def cost(phase: Phase) -> float:  # of a step, in networks; a frozen teacher's forward pass is about a third of one
        return phase.subnets + (phase.teacher == "full") / 3

    later = state.phases[state.phase_index + 1 :]
    left = (state.phase.epochs - epoch) * cost(state.phase) + sum(phase.epochs * cost(phase) for phase in later)
    return {
        "phase": state.phase.name,
        "epoch": epoch,
        "loss": sums.loss / sums.steps if sums.steps else None,
        "lr": lr,
        "images_per_second": sums.images / sums.seconds,
        "seconds": sums.seconds,
        "seconds_left": sums.seconds * left / cost(state.phase),
        "threads": torch.get_num_threads(),
    }
