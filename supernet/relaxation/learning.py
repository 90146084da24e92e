"""One step of an architecture search: the architecture parameters learn, and the weights get their gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ofa.supernet.relaxation.methods import Method
from ofa.supernet.relaxation.objectives import COST_TERMS, Costs, expected_costs
from ofa.supernet.relaxation.relaxed import Relaxed
from ofa.supernet.relaxation.updates import UPDATES, Bilevel, momentum_step, rates, statistics_kept
from ofa.supernet.training import distributed
from ofa.supernet.training.errors import Diverged, OutOfMemory
from ofa.supernet.training.state import TrainState
from ofa.supernet.training.step import Batch, StepBatch, backward, resize, run_measured, step_seed

NAME = "architecture"  # among a training state's modules and optimizers


@dataclass(frozen=True)
class Search:
    """What every step of a search knows, unchanged.

    Attributes:
        steps: of the whole search.
        normalize: uint8 images to floats at the same size.
        resolution: in pixels, that the network is trained at; None: the most probable one, or that of the batches where
            the space does not choose one.
        tables, references, limited: the costs in the loss, what each is compared with, and whether that is a limit.
    """

    relaxed: Relaxed
    method: Method
    steps: int
    normalize: Callable[[Tensor], Tensor]
    resolution: int | None = None
    tables: tuple[Costs, ...] = ()
    references: tuple[float, ...] = ()
    limited: tuple[bool, ...] = ()


def alphas_of(relaxed: Relaxed) -> list[nn.Parameter]:
    """All architecture parameters: of the genes, and the weights of edges that a network may have beside them."""
    return [*relaxed.alphas, *edge_alphas(relaxed.net)]


def edge_alphas(net: nn.Module) -> list[nn.Parameter]:
    """Architecture parameters that are the network's own (PC-DARTS' edges); mostly none."""
    return list(getattr(net, "edge_alphas", ()))


def learning_step(state: TrainState, batch: Batch, *, search: Search) -> float:
    """Updates the architecture parameters, then adds the weights' gradients; returns the training loss.

    See ``ofa.supernet.training.loop`` on step functions. A method whose weights come first updates the architecture
    parameters at the beginning of the step after, which is the same order.
    """
    method, relaxed, net = search.method, search.relaxed, state.net
    stage = method.stages[state.phase_index]
    relaxed.temperature = method.temperature.at(state.global_step / max(1, search.steps - 1))
    if hasattr(net, "skip_drop"):
        net.skip_drop = stage.skip_drop_at(state.step / state.phase_steps)

    size = search.resolution or relaxed.resolution() or batch.images.shape[-1]
    if len(batch.labels):
        batch = batch._replace(images=resize(batch.images, size))
    if architecture_learns(state, method) and not learn_architecture(state, batch, search=search, size=size):
        return math.nan  # on all ranks: they have the same gradients
    return weights_gradients(state, batch, search=search)


def architecture_learns(state: TrainState, method: Method) -> bool:
    """Whether the step updates the architecture parameters."""
    frozen = min(round(method.stages[state.phase_index].frozen * state.phase_steps), state.phase_steps - 1)
    first = frozen if method.alphas_first else frozen + 1
    return state.step >= first and (state.step - first) % method.every == 0


def weights_gradients(state: TrainState, batch: Batch, *, search: Search) -> float:
    """Adds those of the training loss, in which neither costs nor penalties are; returns the loss."""
    net, settings, architecture = state.net, state.settings, search.relaxed.architecture
    drawn = architecture.draw(search.relaxed.temperature, of_weights=True)
    if not len(batch.labels):
        return 0.0
    weights = [each.detach().to(batch.images.device) for each in drawn]
    lesson = StepBatch(batch.images, batch.labels, [None], teacher=None, in_place=False, where=str(state))
    learn = partial(
        backward,
        lambda images: net.forward_mixed(images, weights),
        lesson,
        distill_loss=settings.distill_loss,
        distill_weight=0.0,
        label_smoothing=settings.label_smoothing,
        pieces=settings.grad_accum_steps,
        autocast=state.autocast,
        scale=state.scaler.scale,
    )
    try:
        return run_measured(state, learn, work=lambda: float(batch.images.numel()))
    except Diverged:  # perhaps on this rank alone: the loop says so on all of them
        return math.nan
    finally:
        for alpha in edge_alphas(net):  # they have an optimizer of their own
            alpha.grad = None


def learn_architecture(state: TrainState, batch: Batch, *, search: Search, size: int) -> bool:
    """One update of the architecture parameters, the same on every rank; false when a gradient is not finite.

    Batch norm's statistics stay as they were, and the draws are counted once whatever the update needs.

    Raises ``OutOfMemory`` naming the batch.
    """
    relaxed, method, alphas = search.relaxed, search.method, alphas_of(search.relaxed)
    number = int(relaxed.architecture.draws)
    relaxed.architecture.draws += 1
    images, labels = _own_images(batch, search=search, size=size)
    enough = min(len(labels), len(batch.labels)) > 1
    if enough:
        problem = _problem(state, batch, images, labels, search=search, number=number)
        try:
            with statistics_kept(state.net):
                gradients = UPDATES[method.update].gradients(problem)
        except torch.OutOfMemoryError as error:
            raise OutOfMemory(
                f"out of memory in {state}, in the update of the architecture, {len(images)} images of {size} pixels; "
                "lower batch_size, or raise grad_accum_steps (the same batch in more pieces)"
            ) from error
        for alpha, gradient in zip(alphas, gradients, strict=True):
            alpha.grad = gradient

    # Each rank has told the gradients from its own images; all take the mean.
    count, _ = distributed.average_gradients(alphas, images=len(labels) if enough else 0, sums=())
    finite = all(alpha.grad is None or bool(alpha.grad.isfinite().all()) for alpha in alphas)
    if count and finite:
        if method.alphas.clip is not None:
            nn.utils.clip_grad_norm_(alphas, method.alphas.clip)
        before = [alpha.detach().clone() for alpha in relaxed.alphas]
        state.optimizers[NAME].step()
        relaxed.architecture.settle(before)
    state.optimizers[NAME].zero_grad()
    return finite


def _own_images(batch: Batch, *, search: Search, size: int) -> tuple[Tensor, Tensor]:
    """What the architecture parameters learn from: normalised images and labels."""
    if not UPDATES[search.method.update].own_images:
        return batch.images, batch.labels
    if len(batch.others) < 2:
        raise ValueError(
            "the architecture parameters learn from images of their own: batches must yield (images, labels, other "
            "images, other labels), as ofa.supernet.relaxation.pairs.paired does"
        )
    images, labels = batch.others[:2]
    return (resize(search.normalize(images), size), labels) if len(labels) else (images, labels)


def _problem(
    state: TrainState, batch: Batch, images: Tensor, labels: Tensor, *, search: Search, number: int
) -> Bilevel:
    """The two losses as gradients; every pass has the draws of ``number``, and the same dropout."""
    settings, relaxed, seed = state.settings, search.relaxed, step_seed(state.settings.seed, state.global_step)
    own = {id(alpha) for alpha in edge_alphas(state.net)}
    weights = [weight for weight in state.trained if id(weight) not in own]

    def gradients(images: Tensor, labels: Tensor, objective: Callable[[Tensor], Tensor], of: Sequence[Tensor]):
        total = [torch.zeros_like(tensor) for tensor in of]
        pieces = max(1, min(settings.grad_accum_steps, len(labels) // 2))
        torch.manual_seed(seed)
        for part, answers in zip(images.tensor_split(pieces), labels.tensor_split(pieces), strict=True):
            with state.autocast():
                drawn = relaxed.architecture.drawn(number, relaxed.temperature)
                logits = state.net.forward_mixed(part, [each.to(part.device) for each in drawn])
                loss = F.cross_entropy(logits, answers, label_smoothing=settings.label_smoothing)
            loss = objective(loss) * (len(answers) / len(labels))
            for whole, gradient in zip(total, torch.autograd.grad(loss, of, allow_unused=True), strict=True):
                if gradient is not None:
                    whole += gradient
        return total

    progress = state.global_step / max(1, search.steps - 1)
    return Bilevel(
        weights=weights,
        alphas=alphas_of(relaxed),
        training=partial(gradients, batch.images, batch.labels, lambda loss: loss),
        objective=partial(gradients, images, labels, partial(objective, search=search, progress=progress)),
        virtual_step=partial(momentum_step, state.optimizer, weights),
        rates=rates(state.optimizer, weights),
        mixed_weight=search.method.mixed_weight,
    )


def objective(loss: Tensor, *, search: Search, progress: float) -> Tensor:
    """What the architecture parameters minimise, of their ``loss``: costs by the method's term, and its penalties."""
    method, architecture = search.method, search.relaxed.architecture
    if search.tables:
        term = COST_TERMS[method.cost_term]
        costs = expected_costs(
            search.tables, architecture.probabilities(), references=search.references, limited=search.limited
        )
        loss = term.apply(loss, costs, method.cost_settings or term.settings, progress)
    if method.penalty_weight:
        loss = loss + method.penalty_weight * architecture.penalty()
    if method.entropy_weight:
        loss = loss + method.entropy_weight * architecture.entropy()
    return loss
