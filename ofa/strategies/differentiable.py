"""``ofa.search(..., strategy="differentiable")``: architecture parameters learn beside a copy of the weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ofa.errors import UserError
from ofa.strategies.learned import LearnedSettings
from ofa.strategies.limits import Cost, feasible_codes
from ofa.strategies.proposals import fix_resolution, probabilities_of, proposals, proposed_result
from ofa.strategies.result import SearchResult
from ofa.strategies.validation import check_costs
from ofa.supernet.genome import Genome

if TYPE_CHECKING:
    from ofa.data.architecture import SearchImages
    from ofa.data.arrays import ArrayImages
    from ofa.supernet.relaxation.methods import Method
    from ofa.supernet.relaxation.relaxed import Relaxed

_CALIBRATION = 512  # images
# What ``ofa.search`` passes on beside what every strategy has.
ARGUMENTS = (
    *("net", "images", "labels", "epochs", "batch_size", "lr", "on_epoch"),
    *(field.name for field in fields(LearnedSettings)),
)


def search_differentiable(
    space: Genome,
    predictor: Any,
    *,
    limits: Mapping[Cost, float],
    net: Any = None,
    images: Any = None,
    labels: Any = None,
    epochs: int = 10,
    batch_size: int = 64,
    lr: float | None = None,
    seed: int = 0,
    progress: bool = False,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
    **settings: Any,
) -> SearchResult:
    """The network that the architecture parameters of ``net`` come to, inside the limits; ``net`` stays as it is.

    The images are split in two by their content: one part teaches a copy of the weights, the other the architecture
    parameters; of fewer than 10,000 images each teaches both, in different epochs. ``history`` has for each epoch loss,
    entropy, skip share, expected costs, the probabilities of every gene, and reasons not to trust them: ``collapsed``.

    With a ``predictor`` the networks of the result are the most probable ones of every resolution, ranked by it.
    Without one they are those of the resolution that was searched at, the most probable first; the accuracy of the
    best, with the copy's weights and calibrated, is then measured on images that taught the architecture.

    Args:
        net: a ``Supernet`` or a ``CellNetwork`` of ``space``, trained or not.
        images, labels: see ``ofa.data.arrays.ArrayImages``.
        epochs: passes over the images that teach the weights.
        lr: of the weights; None: as the method was published.
        on_epoch: given the figures of each epoch.
        settings: those of ``ofa.strategies.learned.LearnedSettings``.

    Raises ``UserError`` for a method that cannot search this network, a cost without gradient, and images that cannot
    be split; ``InfeasibleLimit`` when no network meets the limits; ``Collapsed`` above ``dominance``.
    """
    from ofa.data.architecture import SearchImages
    from ofa.data.arrays import ArrayImages
    from ofa.supernet.image_batches import Normalisation
    from ofa.supernet.relaxation.search import search_architecture

    if net is None or images is None:
        raise UserError("search: differentiable learns from images; give net= and images= (and labels=)")
    if net.space is not space and net.space.to_dict() != space.to_dict():
        raise UserError("search: net is of another search space; give its own")
    check_costs(space, limits, ())
    feasible_codes(space, limits, seed=seed)
    how = LearnedSettings(**settings)
    normalisation = Normalisation.known(getattr(net, "pretrained_cfg", None))
    known = ArrayImages(images, labels, normalisation=normalisation, seed=seed)
    history: list[dict[str, Any]] = []

    def ended(figures: dict[str, Any]) -> None:
        history.append(figures)
        if on_epoch:
            on_epoch(figures)

    try:
        split = SearchImages(known, share=share_of(how), batch_size=batch_size)
        method = adapted(how, steps=epochs * split.steps)
        relaxed, resolution = start(copy.deepcopy(net), how, limits=limits, seed=seed)
        search_architecture(
            relaxed,
            method,
            split.batches,
            epochs=epochs,
            steps_per_epoch=split.steps,
            normalize=lambda batch: batch,
            lr=lr,
            resolution=resolution,
            limits=limits,
            max_skip_share=how.dominance,
            on_epoch=ended,
            progress=progress,
        )
    except ValueError as error:
        raise UserError(f"search: {error}") from error

    codes = proposals(space, probabilities_of(relaxed.architecture), limits)
    if predictor is not None:
        scores = np.asarray(predictor.predict(codes), float)
        return proposed_result(space, codes, scores, limits, history=history)
    accuracy = _accuracy(relaxed, space.decode(codes[0]), known, split, resolution)
    ranks = -np.arange(len(codes), dtype=float)
    return replace(proposed_result(space, codes, ranks, limits, history=history), accuracy=accuracy)


def share_of(how: LearnedSettings) -> float:
    """Of the images, that teach the architecture; 0 for a method that learns it from those of the weights.

    Raises ``ValueError`` for an unknown method.
    """
    from ofa.supernet.relaxation.updates import UPDATES

    method = published(how.method)
    if not UPDATES[method.update].own_images:
        return 0.0
    return method.architecture_share if how.architecture_share is None else how.architecture_share


def published(name: str) -> Method:
    """Raises ``ValueError`` for an unknown method."""
    from ofa.supernet.relaxation.methods import METHODS

    if name not in METHODS:
        raise ValueError(f"no method is called {name!r}; there are {', '.join(METHODS)}")
    return METHODS[name]


def adapted(how: LearnedSettings, *, steps: int) -> Method:
    """The published method with the settings that are given otherwise, for a search of so many ``steps``.

    Raises ``ValueError`` for an unknown method or term.
    """
    from ofa.supernet.relaxation.methods import shortened
    from ofa.supernet.relaxation.objectives import COST_TERMS

    method = replace(shortened(published(how.method), steps), architecture_share=share_of(how))
    if how.architecture_lr is not None:
        method = replace(method, alphas=replace(method.alphas, lr=how.architecture_lr))
    if how.cost_term is not None and how.cost_term not in COST_TERMS:
        raise ValueError(f"cost_term is {how.cost_term!r}; there are {', '.join(COST_TERMS)}")
    if how.cost_term is not None and how.cost_term != method.cost_term:
        method = replace(method, cost_term=how.cost_term, cost_settings=None)
    if how.cost_weight is not None:
        usual_term = method.cost_settings or COST_TERMS[method.cost_term].settings
        method = replace(method, cost_settings=replace(usual_term, weight=how.cost_weight))
    return method


def start(net: Any, how: LearnedSettings, *, limits: Mapping[Cost, float], seed: int) -> tuple[Relaxed, int | None]:
    """``net`` with new architecture parameters, and the resolution that it is searched at.

    Raises ``ValueError`` when the method cannot search it, or a cost has no gradient.
    """
    from ofa.supernet.relaxation.objectives import reference
    from ofa.supernet.relaxation.relaxed import Relaxed
    from ofa.supernet.relaxation.search import check_relaxed

    relaxed = Relaxed(net, relaxation=published(how.method).relaxation, seed=seed)
    try:
        check_relaxed(relaxed, how.method)
    except ValueError as error:
        raise ValueError(f"{how.method}: {error}") from error
    for table in limits:
        if not hasattr(table, "expected"):
            raise ValueError(f"{table.name} is a cost without gradient; give an ofa.CostTable")
        reference(table, relaxed.space.num_options)
    return relaxed, fix_resolution(relaxed.architecture, relaxed.space, limits)


def _accuracy(relaxed: Relaxed, network: Any, known: ArrayImages, split: SearchImages, resolution: int | None) -> float:
    """Of a network with the search's weights, calibrated on images of the weights; on those of the architecture."""
    from ofa.predictors.metrics import top1
    from ofa.supernet.calibration import calibrate
    from ofa.supernet.training.step import resize

    teaches = split.teaches_architecture(0)
    rows = np.flatnonzero(teaches) if teaches.any() else np.arange(len(teaches))
    others = np.flatnonzero(~teaches)[:_CALIBRATION]

    def sized(batches: Any) -> Any:
        for images, labels in batches:
            yield (images if resolution is None else resize(images, resolution)), labels

    model = calibrate(relaxed.net.extract(network), (images for images, _ in sized(known.batches(others))))
    return top1(model, sized(known.batches(rows)))
