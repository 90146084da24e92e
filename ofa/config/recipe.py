"""Recipes: what a run does, as one frozen value. ``ofa.config.recipe_file`` reads and writes them as YAML.

A recipe is checked whole before anything starts: every problem is listed with its file, its dotted key, the value and
what is allowed. ``Recipe.to_dict`` is complete, so that what a run folder stores loads again as the same recipe.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationError

from ofa.config.data import DataConfig
from ofa.config.errors import Problem, invalid_keys, recipe_error
from ofa.config.finetune import FinetuneConfig, or_false
from ofa.config.renamed import renamed_problems, with_new_names
from ofa.config.search import MIN_NETWORKS, CollectConfig, MeasureConfig, PredictorConfig, SearchConfig
from ofa.config.space import whole_space
from ofa.config.target import Target, TargetName, target_problems
from ofa.config.train import TrainConfig, train_problems, with_phases
from ofa.config.types import MAX_FILE_NAME, UNPRINTABLE, Section, Takes, reserved, whole
from ofa.errors import UserError
from ofa.predictors.accuracy.kinds import loss_problem
from ofa.supernet.space import SearchSpace, space_class_of


def _folder_name(value: str) -> str:
    """A name that every file system takes: the run folder, and a line of cards and reports, are called so."""
    if UNPRINTABLE.search(value) or re.fullmatch(r"\w[^/\\]*", value) is None:
        raise ValueError("must begin with a letter or digit, without / or \\ or control characters")
    if len(value) > MAX_NAME or len(value.encode()) > MAX_FILE_NAME:
        raise ValueError(f"must have at most {MAX_NAME} characters and {MAX_FILE_NAME} bytes, not {len(value)}")
    if reserved(value) or value.endswith((".", " ")):
        raise ValueError(
            "must be a folder name on every system: no device name such as con, no dot or space at its end"
        )
    return value


MAX_NAME = 100
MAX_TARGETS = 100
MAX_SEED = 2**32 - 1  # what scikit-learn takes


class Recipe(Section):
    """A whole recipe.

    Made by ``load_recipe`` or ``from_dict``, which also check sections against each other.
    """

    name: Annotated[
        str, AfterValidator(_folder_name), Takes("file name", f"at most {MAX_NAME} characters", "the file's name")
    ] = Field(description="Name of the run, and of its folder below runs/.")
    seed: whole(0, MAX_SEED) = Field(0, description="Of every random draw: the same seed gives the same networks.")
    space: SearchSpace = Field(
        description="The search space: a preset's name, a preset with changes, a model of timm, or a whole one."
    )
    data: DataConfig = Field(DataConfig(), description="Where the images come from.")
    train: TrainConfig = Field(description="How the supernet is trained.")
    collect: CollectConfig = Field(CollectConfig(), description="Which subnets are measured for the predictor.")
    predictor: PredictorConfig = Field(PredictorConfig(), description="The model that predicts accuracy.")
    measure: MeasureConfig = Field(MeasureConfig(), description="How latency is measured.")
    search: SearchConfig = Field(SearchConfig(), description="How the best subnet is searched for.")
    finetune: or_false(FinetuneConfig) = Field(
        FinetuneConfig(),
        description="How each target's network is trained further after the search; false: it is not.",
    )
    targets: Annotated[dict[TargetName, Target], Field(min_length=1, max_length=MAX_TARGETS)] = Field(
        description="The devices by name; each gets a network of its own."
    )

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
        values["space"], problems = whole_space(values.get("space"))
        problems += renamed_problems(values)
        values = with_new_names(values)  # so that one run of the command shows every problem
        if "train" in values:
            values["train"] = with_phases(values["train"])
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
    if problem := loss_problem(recipe.predictor.kind, recipe.predictor.loss):
        problems.append(("predictor", problem))
    problems += train_problems(recipe.train, recipe.space)
    for name, target in recipe.targets.items():
        problems += target_problems(name, target, recipe.space)
    return problems
