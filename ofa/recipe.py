"""Recipes: what a run does, as one frozen value. ``ofa.recipe_file`` reads and writes them as YAML.

A recipe is checked whole before anything starts: every problem is listed with its file, its dotted key, the value and
what is allowed. ``Recipe.to_dict`` is complete, so that what a run folder stores loads again as the same recipe.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PlainValidator, ValidationError, model_serializer

from ofa.recipe_errors import Problem, invalid_keys, nearest, recipe_error, short
from ofa.recipe_train import FinetuneConfig, TrainConfig, train_problems
from ofa.recipe_types import Absolute, Count, NotNegative, Positive, Probability, Section, Share
from ofa.supernet.presets import PRESETS
from ofa.supernet.space import SearchSpace


def _channels(value: int) -> int:
    # Not Literal[1, 3]: pydantic takes true for 1 there.
    if value not in (1, 3):
        raise ValueError("must be 1 (grey) or 3 (colour)")
    return value


def _ascending_pair(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError("must be [smallest, largest]")
    return value


def _fraction(value: Any) -> str | None:
    if value is None or (isinstance(value, str) and _share(value)):
        return value
    example = f"{value}x" if isinstance(value, int | float) and 0 < value <= 1 else "0.5x"
    raise ValueError(f"must be a share of the largest subnet's latency such as {example}; milliseconds are latency_ms")


def _amount(value: Any) -> float | str | None:
    if value is None or (isinstance(value, str) and _share(value)):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf:
        return float(value)
    raise ValueError("must be a positive number such as 5e6, or a share of the largest subnet's cost such as 0.5x")


def _share(text: str) -> float | None:
    """``"0.5x"`` as 0.5; ``None`` when it is not a share above 0x and up to 1x."""
    found = re.fullmatch(r"(\d+\.?\d*|\.\d+)x", text)
    return float(found[1]) if found and 0 < float(found[1]) <= 1 else None


FEWEST_NETWORKS = 10  # as many as the accuracy predictor is judged on
Area = Annotated[float, Field(gt=0, le=1)]


class AugmentConfig(Section):
    """Training augmentation: arguments of ``timm.data.create_transform``. The defaults change nothing."""

    scale: Annotated[tuple[Area, Area], AfterValidator(_ascending_pair)] = (1.0, 1.0)
    ratio: Annotated[tuple[Positive, Positive], AfterValidator(_ascending_pair)] = (1.0, 1.0)
    hflip: Probability = 0.0
    color_jitter: NotNegative = 0.0
    auto_augment: Annotated[str, Field(pattern=r"^(rand|augmix|original|originalr|v0|v0r|3a)(-.*)?$")] | None = None


class DataConfig(Section):
    """Where the images come from: ``folder`` (timm's layout), ``idx`` (MNIST's format), or neither: embedded digits.

    Paths are absolute here; a recipe's relative ones start at the working directory.
    """

    folder: Absolute | None = None
    idx: Absolute | None = None
    channels: Annotated[int, AfterValidator(_channels)] | None = None
    crop_pct: Annotated[float, Field(gt=0, le=1)] | None = None
    validation: Share = 0.2
    test_share: Share = 0.2
    test: Annotated[str, Field(min_length=1)] | None = None
    workers: Annotated[int, Field(ge=0)] = 2
    augment: AugmentConfig = AugmentConfig()


class CollectConfig(Section):
    """Subnets measured for the predictor, on the first ``images`` of the validation split (``None``: all).

    ``strategy``: ``spread`` evenly over MACs, or ``active``, which chooses ``batch`` after ``batch`` where they may
    move the front of accuracy over MACs, and stops at ``subnets`` or when the front has settled.
    """

    strategy: Literal["spread", "active"] = "spread"
    batch: Annotated[int, Field(ge=FEWEST_NETWORKS)] = 20
    subnets: Annotated[int, Field(ge=FEWEST_NETWORKS)] = 100
    images: Count | None = None
    calibration_images: Count = 512


class PredictorConfig(Section):
    """The accuracy predictor: Gaussian process, multilayer perceptrons, trees, or the one that predicts best."""

    kind: Literal["gp", "mlp", "trees", "auto"] = "gp"


class MeasureConfig(Section):
    """The latency table: whole subnets that correct it, others that judge it, and how often each block is timed."""

    threads: Count = 1
    fit_subnets: Annotated[int, Field(ge=2)] = 16
    test_subnets: Annotated[int, Field(ge=2)] = 8
    rounds: Count = 20


class SearchConfig(Section):
    """How ``ofa.search`` searches; ``parents``, ``crossover``: shares of the population, ``mutation``: probability of
    each gene; ``patience``: generations without progress that end it, ``seconds`` end it too."""

    strategy: Literal["evolution", "random", "nsga2"] = "evolution"
    population: Annotated[int, Field(ge=2)] = 100
    generations: Count = 30
    parents: Annotated[float, Field(gt=0, le=1)] = 0.25
    mutation: Probability = 0.1
    crossover: Probability = 0.5
    patience: Count | None = None
    seconds: Positive | None = None


@dataclass(frozen=True)
class Limit:
    """The most that a subnet may cost: milliseconds, MACs or parameters, or when ``relative`` a share of the largest's.

    ``Limit("latency", 0.5, True)`` is half of the largest subnet's latency.
    """

    cost: Literal["latency", "macs", "params"]
    value: float
    relative: bool


class LimitsConfig(Section):
    """Limits as a recipe writes them: ``latency_ms: 0.8``, ``latency: 0.5x``, ``macs: 5e6``, ``params: 0.3x``."""

    latency_ms: Positive | None = None
    latency: Annotated[str | None, PlainValidator(_fraction)] = None
    macs: Annotated[float | str | None, PlainValidator(_amount)] = None
    params: Annotated[float | str | None, PlainValidator(_amount)] = None

    @model_serializer
    def _given(self) -> dict[str, Any]:
        return {key: value for key, value in self if value is not None}


class Target(Section):
    """One device: the runtime that runs its model, its limits, and whether its network is trained further."""

    runtime: Literal["onnxruntime"] = "onnxruntime"
    finetune: FinetuneConfig | None = None
    written: LimitsConfig = Field(alias="limits")

    @property
    def limits(self) -> tuple[Limit, ...]:
        limits = []
        for key, value in self.written.model_dump().items():
            relative = isinstance(value, str)
            limits.append(Limit(key.removesuffix("_ms"), _share(value) if relative else value, relative))
        return tuple(limits)


class Recipe(Section):
    """A whole recipe. Made by ``load_recipe`` or ``from_dict``, which also check sections against each other."""

    name: Annotated[str, Field(pattern=r"^\w[^/\\]*$")]
    seed: Annotated[int, Field(ge=0)] = 0
    space: SearchSpace
    data: DataConfig = DataConfig()
    train: TrainConfig
    collect: CollectConfig = CollectConfig()
    predictor: PredictorConfig = PredictorConfig()
    measure: MeasureConfig = MeasureConfig()
    search: SearchConfig = SearchConfig()
    targets: Annotated[dict[Annotated[str, Field(pattern=r"^[a-z0-9_-]+$")], Target], Field(min_length=1)]

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
            recipe = cls.model_validate_json(json.dumps(values, default=str), strict=True)
            problems += _across_sections(recipe)
        except ValidationError as error:
            problems += invalid_keys(error, cls)
        if problems:
            raise recipe_error(problems, source=source, overridden=overridden)
        return recipe


def _whole_space(given: Any) -> tuple[Any, list[Problem]]:
    """The space written out, from a preset's name, ``{preset: NAME, changes}`` or the whole mapping."""
    if isinstance(given, str):
        given = {"preset": given}
    if given is None or given == {}:
        return PRESETS["tiny_mbv3"], [("space", f"missing; give a preset ({', '.join(PRESETS)}) or a whole space")]
    if not isinstance(given, dict) or "preset" not in given:
        return given, []
    name = given["preset"]
    changes = {key: value for key, value in given.items() if key != "preset"}
    if not isinstance(name, str) or name not in PRESETS:
        # The changes are still checked, so that one run of the command shows every problem.
        text = f"unknown preset {short(name)}{nearest(name, PRESETS)}"
        return {**PRESETS["tiny_mbv3"], **changes}, [("space.preset", text)]
    return {**PRESETS[name], **changes}, []


def _across_sections(recipe: Recipe) -> list[Problem]:
    problems = []
    data = recipe.data
    if recipe.space.size < FEWEST_NETWORKS:
        text = f"has {recipe.space.size} networks, too few to predict from; give it options for {FEWEST_NETWORKS}"
        problems.append(("space", text))
    if data.folder and data.idx:
        problems.append(("data", "folder and idx are both given; keep one of them"))
    if data.test and not data.folder:
        problems.append(("data.test", f'"{data.test}" names a sub-folder of data.folder, which is not given'))
    problems += train_problems(recipe.train, recipe.space)
    for name, target in recipe.targets.items():
        costs = [limit.cost for limit in target.limits]
        if not costs:
            problems.append((f"targets.{name}.limits", "empty; give at least one limit (macs: 1x allows every subnet)"))
        if len(set(costs)) < len(costs):
            problems.append((f"targets.{name}.limits", "latency and latency_ms are both given; keep one of them"))
    return problems
