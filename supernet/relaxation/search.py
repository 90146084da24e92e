"""A whole architecture search, on the one training loop: stages, figures, guards, checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ofa.supernet.relaxation.figures import Collapsed, collapse, figures_of, skip_share
from ofa.supernet.relaxation.learning import NAME, Search, alphas_of, learning_step
from ofa.supernet.relaxation.methods import METHODS, Method, check_method
from ofa.supernet.relaxation.objectives import Costs, reference
from ofa.supernet.relaxation.relaxed import Relaxed
from ofa.supernet.relaxation.schedules import Stage, epochs_of
from ofa.supernet.threads import Threads, fixed
from ofa.supernet.training import distributed, loop
from ofa.supernet.training.checkpoint import Checkpoint, check_space
from ofa.supernet.training.loop import Batches, Hooks
from ofa.supernet.training.phases import Phase
from ofa.supernet.training.settings import Settings
from ofa.supernet.training.state import EpochSums, TrainState

StageNetwork = Callable[[nn.Module, Stage], nn.Module]


@dataclass(frozen=True)
class Searched:
    """How a search ended; what it found is in the ``Relaxed`` that it was given.

    Attributes:
        ended: why it ended early; None: it ran to its end.
        collapsed: why its architecture parameters should not be trusted, a sentence each; mostly empty.
    """

    ended: str | None
    collapsed: tuple[str, ...]


def search_architecture(
    relaxed: Relaxed,
    method: Method | str,
    batches: Batches,
    *,
    epochs: int,
    steps_per_epoch: int,
    normalize: Callable[[Tensor], Tensor],
    settings: Settings | None = None,
    lr: float | None = None,
    resolution: int | None = None,
    costs: Iterable[Costs] | None = None,
    limits: Mapping[Costs, float] | None = None,
    stage_network: StageNetwork | None = None,
    max_skip_share: float | None = None,
    resume: Checkpoint | None = None,
    save_checkpoint: Callable[[Checkpoint], None] | None = None,
    checkpoint_due: Callable[[int], bool] = lambda global_step: False,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
    threads: Threads | None = None,
    progress: bool = True,
) -> Searched:
    """Trains the weights and the architecture parameters of ``relaxed`` in place; ``relaxed.derive`` then chooses.

    With several processes (torch.distributed), each works on its own rows of both batches, gradients are averaged, and
    all end with the same parameters.

    Args:
        method: or its name in ``METHODS``; ``relaxed`` must have its relaxation.
        batches: see ``loop.train``; yields ``(images, labels, other images, other labels)`` of two halves of the
            training data, the first for the weights, the second for the architecture (``pairs.paired``).
        epochs: of all stages together.
        settings: of the weights' training; None: the method's, with seed 0. ``warmup_epochs``, ``mixup``, ``cutmix``,
            ``compile`` and ``subnets_per_rank`` do not count.
        lr: of the weights at each stage's beginning; None: the method's.
        resolution: in pixels, that the network is trained at; None: the most probable one, or that of the batches where
            the space does not choose one.
        costs: the tables in the loss; None: those with limits.
        limits: by table, for terms that want them. The derived network is told its limits by ``relaxed.derive``.
        stage_network: makes a stage's network of the one before (which it may return); None: one network for all.
        max_skip_share: the search ends with ``Collapsed`` after an epoch in which skips dominate more of the choices.
        resume: go on from here; the result is that of an uninterrupted search, bit for bit on a CPU.
        save_checkpoint, checkpoint_due, stop, threads: see ``weight_sharing.train_supernet``.
        on_epoch: given the epoch's figures: those of ``loop.Hooks``, of ``figures.figures_of``, ``temperature``,
            ``costs`` (expected, by the table's name) and ``collapsed``, reasons not to trust the parameters.

    Raises:
        ValueError: the method cannot search this network, with these epochs or costs; no network is inside the limits;
            ``resume`` is of another space.
        Collapsed: see ``max_skip_share``; the epoch's checkpoint has been saved.
        Diverged, OutOfMemory, Stopped: see ``weight_sharing.train_supernet``.
    """
    method = _known(method)
    check_relaxed(relaxed, method, has_stage_network=stage_network is not None)
    if limits:
        relaxed.derive(limits=limits)  # which says now, not hours later, that no network is inside
    costs_in_loss = make_costs(relaxed, limits=limits or {}, costs=costs)
    search = Search(
        relaxed, method, epochs * steps_per_epoch, normalize=normalize, resolution=resolution, **costs_in_loss
    )
    if resume:
        check_space(resume, relaxed.space)
    state = _make_state(
        search,
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        lr=method.weights.lr if lr is None else lr,
        settings=settings or method.weights.settings(seed=relaxed.architecture.seed),
        threads=threads or fixed(),
        stage_network=stage_network,
        resume=resume,
    )

    def check(state: TrainState) -> None:  # after an epoch
        if reason := _early_end(search, max_skip_share=max_skip_share):
            state.sums = EpochSums()
            if save_checkpoint:
                save_checkpoint(state.to_checkpoint())
            raise reason

    def epoch_ended(state: TrainState, figures: dict[str, Any]) -> None:
        if on_epoch:
            on_epoch({**figures, **_figures(search), "collapsed": collapse(relaxed.architecture)})
        check(state)

    hooks = Hooks(
        begin_phase=partial(_begin_stage, search=search, stage_network=stage_network),
        on_epoch=epoch_ended,
        save_checkpoint=save_checkpoint,
        checkpoint_due=checkpoint_due,
        stop=stop,
    )
    ended = None
    try:
        if resume and state.step % steps_per_epoch == 0:  # a search that ended early ends again
            check(state)
        step = partial(learning_step, search=search)
        loop.train(state, step, batches, normalize=normalize, hooks=hooks, progress=progress)
    except _Ended as reason:
        distributed.broadcast_buffers(state.net)
        ended = str(reason)
    return Searched(ended, tuple(collapse(relaxed.architecture)))


class _Ended(Exception):
    """A search ends early, and what it found counts."""


def check_relaxed(relaxed: Relaxed, method: Method | str, *, has_stage_network: bool = False) -> None:
    """Raises ``ValueError`` with one sentence when ``relaxed`` cannot be searched by ``method``."""
    method = _known(method)
    if (theirs := relaxed.architecture.relaxation) != method.relaxation:
        raise ValueError(
            f"the method needs the relaxation {method.relaxation!r}, and this network has {theirs!r}; "
            f"give Relaxed(net, relaxation={method.relaxation!r})"
        )
    check_method(method, relaxed.net, has_stage_network=has_stage_network)


def make_costs(
    relaxed: Relaxed, *, limits: Mapping[Costs, float], costs: Iterable[Costs] | None
) -> dict[str, tuple[Any, ...]]:
    """Tables, references and limits as ``Search`` has them.

    Raises ``ValueError`` for a cost without gradient.
    """
    tables = tuple(limits if costs is None else costs)
    uniform = [reference(table, relaxed.space.num_options) for table in tables]
    return {
        "tables": tables,
        "references": tuple(limits.get(table, cost) for table, cost in zip(tables, uniform, strict=True)),
        "limited": tuple(table in limits for table in tables),
    }


def _known(method: Method | str) -> Method:
    if isinstance(method, str) and method not in METHODS:
        raise ValueError(f"no method is called {method!r}; there are {', '.join(METHODS)}")
    return METHODS[method] if isinstance(method, str) else method


def _make_state(
    search: Search,
    *,
    epochs: int,
    steps_per_epoch: int,
    lr: float,
    settings: Settings,
    threads: Threads,
    stage_network: StageNetwork | None,
    resume: Checkpoint | None,
) -> TrainState:
    """Before the first stage, or where a checkpoint was made, with the network of that stage."""
    relaxed, method = search.relaxed, search.method
    space, lengths = relaxed.space.to_dict(), epochs_of(method.stages, epochs)
    if stage_network and resume:
        relaxed.net = stage_network(relaxed.net, method.stages[resume.phase])
    state = TrainState(
        net=relaxed.net,
        phases=[Phase(f"stage {number}", length, lr) for number, length in enumerate(lengths, start=1)],
        steps_per_epoch=steps_per_epoch,
        settings=replace(settings, warmup_epochs=0.0),
        space=space,
        threads=threads,
        modules={NAME: relaxed.architecture},
        optimizers={NAME: method.alphas.make(alphas_of(relaxed))},
    )
    if resume:
        state.load(resume)
    return state


def _begin_stage(state: TrainState, *, search: Search, stage_network: StageNetwork | None) -> None:
    """Options are pruned, parameters begin anew, and the network becomes the stage's."""
    relaxed, stages = search.relaxed, search.method.stages
    stage, optimizer = stages[state.phase_index], state.optimizers[NAME]
    if state.phase_index and (keep := stages[state.phase_index - 1].keep) < 1:
        relaxed.architecture.prune(keep)
    if stage.restart:
        relaxed.architecture.restart()
        optimizer.state.clear()
    if stage_network:
        net = stage_network(relaxed.net, stage).to(state.device)
        if net is not relaxed.net:
            relaxed.net = state.net = net
            _take_over(state, search=search)


def _take_over(state: TrainState, *, search: Search) -> None:
    """The architecture parameters' optimizer goes on with those of a new network in place of the old one's."""
    old = state.optimizers[NAME]
    new = search.method.alphas.make(alphas_of(search.relaxed))
    for alpha in search.relaxed.alphas:
        if alpha in old.state:
            new.state[alpha] = old.state[alpha]
    state.optimizers[NAME] = new


def _figures(search: Search) -> dict[str, Any]:
    architecture = search.relaxed.architecture
    with torch.no_grad():
        probabilities = architecture.probabilities()
        costs = {table.name: float(table.expected(probabilities)) for table in search.tables}
    figures = figures_of(architecture)
    code = search.relaxed.space.canonical(architecture.code()[None])[0].tolist()
    return {**figures, "code": code, "temperature": search.relaxed.temperature, "costs": costs}


def _early_end(search: Search, *, max_skip_share: float | None) -> Exception | None:
    """Why the search ends after this epoch, if it does."""
    architecture, most = search.relaxed.architecture, search.method.skips_that_end
    share = skip_share(architecture.genes, architecture.probabilities())
    if share is None:
        return None
    if most is not None and share > most:
        return _Ended(f"skips dominate {share:.0%} of the choices that can skip something, more than {most:.0%}")
    if max_skip_share is not None and share > max_skip_share:
        return Collapsed(
            f"skips dominate {share:.0%} of the choices that can skip something, more than {max_skip_share:.0%}: use a "
            "method that is fair to other operations (fairdarts, pdarts, drnas), or fewer epochs"
        )
    return None
