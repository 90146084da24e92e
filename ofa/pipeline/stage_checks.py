"""What the stages themselves say of a recipe, asked before the first one starts.

Each stage builds what it would build (on torch's device ``meta``, which has no memory) and does a first small step with
it, so that there is no second list of rules that could differ from the stages' own.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec

import numpy as np
import torch

from ofa.config.finetuning import finetunings
from ofa.config.recipe import Recipe
from ofa.config.relaxing import relaxing
from ofa.config.schedule import training_phases, training_settings
from ofa.data.architecture import SearchImages, few_images
from ofa.data.loader import Data
from ofa.errors import UserError
from ofa.pipeline import feasibility
from ofa.pipeline.step_memory import check_memory
from ofa.pipeline.training_log import TENSORBOARD
from ofa.predictors.costs.cost_table import CostTable
from ofa.stages.train import start_from
from ofa.strategies.differentiable import adapted, share_of, start
from ofa.strategies.search import search
from ofa.supernet.relaxation.schedules import epochs_of
from ofa.supernet.supernet import Supernet
from ofa.supernet.training.mixup import make_mixup
from ofa.supernet.training.optim import make_optimizer, make_scheduler
from ofa.supernet.training.phases import sample_subnets
from ofa.supernet.training.sampling import CandidateScorer
from ofa.targets.deployment import deployment_of
from ofa.targets.known_tables import known_table

_SEARCHED = 30  # networks that the trial of the search looks at

ModelKwargs = Mapping[str, int]


def check_stages(recipe: Recipe, data: Data) -> list[str]:
    """Lines to print of limits that are narrow. Raises ``UserError`` that lists what the stages refuse."""
    model_kwargs = {"num_classes": len(data.classes), "in_chans": data.channels}
    problems: list[str] = []
    lines: list[str] = []
    checks: list[Callable[[], list[str] | None]] = [
        lambda: _images(recipe, data),
        lambda: _training(recipe, model_kwargs, steps=data.steps(recipe.train.batch_size)),
        lambda: check_memory(recipe, model_kwargs, images=data.counts["train"]),
        lambda: _threads(recipe),
        lambda: _known(recipe),
        lambda: feasibility.check_limits(recipe, model_kwargs),
        lambda: _relaxing(recipe, data, model_kwargs) if relaxing(recipe) else _search(recipe, model_kwargs),
    ]
    for check in checks:
        try:
            with _draws_kept():
                lines += check() or []
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise UserError("\n".join(problems))
    return lines


def _images(recipe: Recipe, data: Data) -> None:
    if (count := data.counts["train"]) < 2:
        raise UserError(f"data: {count} training image(s); batch norm needs two")
    try:
        data.try_augmentation()
    except Exception as error:  # whatever timm's own words for it are
        raise UserError(f"data.augment: timm cannot do that to an image: {error}") from error


def _training(recipe: Recipe, model_kwargs: ModelKwargs, *, steps: int) -> None:
    config, space, schedule, same = recipe.train, recipe.space, training_phases(recipe), training_settings(recipe)
    rates = {"drop_rate": config.dropout, "drop_path_rate": config.drop_path}
    macs = CostTable.macs(space, **model_kwargs).predict
    try:
        with torch.device("meta"):
            net = Supernet(space, **model_kwargs, **rates)
        make_mixup(same, num_classes=net.num_classes)
        for number, phase in enumerate(schedule):
            optimizer = make_optimizer(net, same, lr=phase.lr)
            make_scheduler(optimizer, same, phase, steps_per_epoch=steps, first=number == 0).step_update(0)
            scorer = CandidateScorer(macs=macs, loss=lambda codes: np.zeros(len(codes)))
            sample_subnets(space, phase, rng=np.random.default_rng(0), resolution=0, scorer=scorer)
        for how in finetunings(recipe).values():
            make_optimizer(net, same, lr=how.lr)
    except (ValueError, TypeError, AssertionError, ArithmeticError) as error:
        raise UserError(f"train: {error}") from error
    if config.tensorboard and find_spec("tensorboard") is None:
        raise UserError(TENSORBOARD)
    if config.init:
        start_from(net, config, schedule[0], download=False)


def _threads(recipe: Recipe) -> None:
    here = any(each.timed and not each.remote for each in map(deployment_of, recipe.targets.values()))
    cores = os.cpu_count() or 1
    if here and recipe.measure.threads > cores:
        asked = f"{recipe.measure.threads} threads on {cores} cores"
        raise UserError(f"measure.threads: {asked} wait for each other; give at most {cores}")


def _known(recipe: Recipe) -> None:
    if recipe.measure.known is not None:
        known_table(recipe.measure.known, recipe.space)


def _search(recipe: Recipe, model_kwargs: ModelKwargs) -> None:
    """A first generation, on accuracies that are all the same."""
    settings = recipe.search.settings
    settings |= {"generations": 1, "population": min(settings["population"], _SEARCHED)}
    limits = {CostTable.macs(recipe.space, **model_kwargs): np.inf}
    search(recipe.space, _Alike(), limits=limits, strategy=recipe.search.strategy, seed=recipe.seed, **settings)


def _relaxing(recipe: Recipe, data: Data, model_kwargs: ModelKwargs) -> list[str]:
    """The beginning of a differentiable search, with each target's limits that are known without a measurement."""
    config, space = relaxing(recipe), recipe.space
    try:
        images = SearchImages(data, share=share_of(config.how), batch_size=recipe.train.batch_size)
        method = adapted(config.how, steps=config.epochs * images.steps)
        epochs_of(method.stages, config.epochs)
        with torch.device("meta"):
            net = Supernet(space, **model_kwargs)
        for target in recipe.targets.values():
            deployment = deployment_of(target)
            tables = feasibility.known(deployment, space, model_kwargs, seed=recipe.seed)
            tables |= feasibility.estimated(deployment, space, model_kwargs)
            limits = [limit for limit in target.limits if limit.cost in tables]
            by_table = {tables[limit.cost]: limit.absolute(tables[limit.cost]) for limit in limits}
            start(net, config.how, limits=by_table, seed=recipe.seed)
    except ValueError as error:
        raise UserError(f"search: {error}") from error
    if not images.alternates:
        return []
    return [few_images(data.counts["train"])]


class _Alike:
    def predict(self, codes: np.ndarray) -> np.ndarray:
        return np.zeros(len(codes))


@contextmanager
def _draws_kept() -> Iterator[None]:
    """What the checks draw from global generators changes nothing for what comes after."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
