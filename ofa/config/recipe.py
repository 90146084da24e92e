"""Recipes: what a run does, as one frozen value. ``ofa.config.recipe_file`` reads and writes them as YAML.

A recipe is checked whole before anything starts: every problem is listed with its file, its dotted key, the value and
what is allowed. ``Recipe.to_dict`` is complete, so that what a run folder stores loads again as the same recipe.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError

from ofa.config.errors import Problem, invalid_keys, nearest, recipe_error, short
from ofa.config.target import Target, TargetName, target_problems
from ofa.config.train import TrainConfig, train_problems
from ofa.config.types import (
    MAX_COUNT,
    MAX_FILE_NAME,
    MAX_IMAGES,
    UNPRINTABLE,
    Absolute,
    Probability,
    Section,
    Share,
    Text,
    real,
    reserved,
    whole,
    zero_or,
)
from ofa.errors import UserError
from ofa.strategies.ranges import RANGES
from ofa.supernet import families
from ofa.supernet.space import SearchSpace, space_class_of


def _channels(value: int) -> int:
    # Not Literal[1, 3]: pydantic takes true for 1 there.
    if value not in (1, 3):
        raise ValueError("must be 1 (grey) or 3 (colour)")
    return value


def _ascending_pair(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError("must be [smallest, largest]")
    return value


def _folder_name(value: str) -> str:
    """A name that every file system takes: the run folder, and a line of cards and reports, are called so."""
    if UNPRINTABLE.search(value) or re.fullmatch(r"\w[^/\\]*", value) is None:
        raise ValueError("must begin with a letter or digit, without / or \\ or control characters")
    if len(value) > MAX_NAME or len(value.encode()) > MAX_FILE_NAME:
        raise ValueError(f"must have at most {MAX_NAME} characters and {MAX_FILE_NAME} bytes, not {len(value)}")
    if reserved(value) or value.endswith((".", " ")):
        raise ValueError("must be a name that a folder can have everywhere, not a device's, nor end in a dot or space")
    return value


MAX_CANDIDATES = 20
MIN_NETWORKS = 10  # as many as the accuracy predictor is judged on
MIN_CALIBRATION_IMAGES = 2  # one image has no variance
MAX_NAME = 100
MAX_TARGETS = 100
MAX_WORKERS = 128
MAX_THREADS = 1024
MAX_SEED = 2**32 - 1  # what scikit-learn takes
Ratio = real(0.01, 100)
Area = real(0.001, 1)
# timm's own words: a policy, and settings such as -m9 and -mstd0.5 behind it. More than nine operations take seconds.
_POLICY = (
    r"^(rand|augmix|original|originalr|v0|v0r|3a)"
    r"(-((m|mstd|mmax|inc|p|a|b|t)([0-9]{1,3}(\.[0-9]{1,4})?)?|[nwd][0-9])){0,8}$"
)


def _search(name: str) -> Any:
    """The type of a setting of the search."""
    low, high = RANGES[name]
    return whole(max(1, int(low)), int(high)) if isinstance(low, int) and high > 1 else real(low, high)


class AugmentConfig(Section):
    """Training augmentation: arguments of ``timm.data.create_transform``. The defaults change nothing."""

    scale: Annotated[tuple[Area, Area], AfterValidator(_ascending_pair)] = (1.0, 1.0)
    ratio: Annotated[tuple[Ratio, Ratio], AfterValidator(_ascending_pair)] = (1.0, 1.0)
    hflip: Probability = 0.0
    color_jitter: zero_or(1e-3, 4) = 0.0
    auto_augment: Annotated[str, Field(pattern=_POLICY)] | None = None


class DataConfig(Section):
    """Where the images come from: ``folder`` (timm's layout), ``idx`` (MNIST's format), or neither: embedded digits.

    ``licence`` is told on the models' cards. Paths are absolute here; a recipe's relative ones start at the working
    directory.
    """

    folder: Absolute | None = None
    idx: Absolute | None = None
    channels: Annotated[int, AfterValidator(_channels)] | None = None
    crop_pct: real(0.25, 1) | None = None
    validation: Share = 0.2
    test_share: Share = 0.2
    test: Text | None = None
    workers: whole(0, MAX_WORKERS) = 2
    licence: Text | None = None
    augment: AugmentConfig = AugmentConfig()


class CollectConfig(Section):
    """Subnets measured for the predictor, on the first ``images`` of the validation split (``None``: all).

    ``strategy``: ``spread`` evenly over MACs, or ``active``, which chooses ``batch`` after ``batch`` where they may
    move the front of accuracy over MACs, and stops at ``subnets`` or when the front has settled.
    """

    strategy: Literal["spread", "active"] = "spread"
    batch: whole(MIN_NETWORKS, 1000) = 20
    subnets: whole(MIN_NETWORKS, 20_000) = 100
    images: whole(1, MAX_IMAGES) | None = None
    calibration_images: whole(MIN_CALIBRATION_IMAGES, MAX_COUNT) = 512


class PredictorConfig(Section):
    """The accuracy predictor: Gaussian process, multilayer perceptrons, trees, or the one that predicts best."""

    kind: Literal["gp", "mlp", "trees", "auto"] = "gp"


class MeasureConfig(Section):
    """The latency table: whole subnets that correct it, others that judge it, and how often each block is timed."""

    threads: whole(1, MAX_THREADS) = 1
    fit_subnets: whole(2, 1000) = 16
    test_subnets: whole(2, 1000) = 8
    rounds: whole(1, 10_000) = 20


class SearchConfig(Section):
    """How ``ofa.search`` searches; ``parents``, ``crossover``: shares of the population, ``mutation``: probability of
    each gene; ``patience``: generations without progress that end it, ``seconds`` end it too. The
    ``candidates`` best are measured, and the best measured one is chosen."""

    strategy: Literal["evolution", "random", "nsga2"] = "evolution"
    population: _search("population") = 100
    generations: _search("generations") = 30
    parents: _search("parents") = 0.25
    mutation: _search("mutation") = 0.1
    crossover: _search("crossover") = 0.5
    patience: _search("patience") | None = None
    seconds: _search("seconds") | None = None
    candidates: whole(1, MAX_CANDIDATES) = 3


class Recipe(Section):
    """A whole recipe. Made by ``load_recipe`` or ``from_dict``, which also check sections against each other."""

    name: Annotated[str, AfterValidator(_folder_name)]
    seed: whole(0, MAX_SEED) = 0
    space: SearchSpace
    data: DataConfig = DataConfig()
    train: TrainConfig
    collect: CollectConfig = CollectConfig()
    predictor: PredictorConfig = PredictorConfig()
    measure: MeasureConfig = MeasureConfig()
    search: SearchConfig = SearchConfig()
    targets: Annotated[dict[TargetName, Target], Field(min_length=1, max_length=MAX_TARGETS)]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, defaults filled in; ``Recipe.from_dict`` of it is this recipe."""
        return self.model_dump(mode="json", by_alias=True)

    @classmethod
    def from_dict(cls, values: dict[str, Any], *, source: str = "recipe", overridden: Sequence[str] = ()) -> Recipe:
        """``values`` as YAML gives them; ``source`` names the file in messages, except for ``overridden`` keys.

        Raises ``UserError`` that lists every problem, one a line.
        """
        # An empty section ("data:" with every key commented out) means its defaults.
        values = {key: value for key, value in values.items() if value is not None}
        values["space"], problems = _whole_space(values.get("space"))
        try:
            # Strict JSON mode is what YAML needs: lists become tuples, but "3" is no number and true is no 1.
            recipe = cls.model_validate_json(_as_json(values), strict=True)
            problems += _across_sections(recipe)
        except ValidationError as error:
            problems += invalid_keys(error, cls, space=space_class_of(values["space"]))
        if problems:
            raise recipe_error(problems, source=source, overridden=overridden)
        return recipe


def _as_json(values: dict[str, Any]) -> str:
    try:
        return json.dumps(values, default=str)
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f"a recipe is made of plain values: {error}") from error


def _whole_space(given: Any) -> tuple[Any, list[Problem]]:
    """The space written out, from a preset's name, ``{preset: NAME, changes}`` or the whole mapping."""
    presets = families.presets()
    if isinstance(given, str):
        given = {"preset": given}
    if given is None or given == {}:
        return presets["tiny_mbv3"], [("space", f"missing; give a preset ({', '.join(presets)}) or a whole space")]
    if not isinstance(given, dict) or "preset" not in given:
        return given, []
    name = given["preset"]
    changes = {key: value for key, value in given.items() if key != "preset"}
    if not isinstance(name, str) or name not in presets:
        # The changes are still checked, so that one run of the command shows every problem.
        text = f"unknown preset {short(name)}{nearest(name, presets)}"
        return {**presets["tiny_mbv3"], **changes}, [("space.preset", text)]
    return {**presets[name], **changes}, []


def _across_sections(recipe: Recipe) -> list[Problem]:
    problems = []
    data = recipe.data
    if recipe.space.size < MIN_NETWORKS:
        text = f"has {recipe.space.size} networks, too few to predict from; give it options for {MIN_NETWORKS}"
        problems.append(("space", text))
    if data.folder and data.idx:
        problems.append(("data", "folder and idx are both given; keep one of them"))
    if data.test and not data.folder:
        problems.append(("data.test", f'"{data.test}" names a sub-folder of data.folder, which is not given'))
    problems += train_problems(recipe.train, recipe.space)
    for name, target in recipe.targets.items():
        problems += target_problems(name, target, recipe.space)
    return problems
