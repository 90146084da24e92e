"""A run whose images are arrays or files of the caller, in the place of a recipe's ``data:``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ofa.config.recipe import Recipe
from ofa.data.loader import CACHE_BYTES, Data
from ofa.data.readers.source import Source, Split
from ofa.pipeline.job import Job

TARGET = "classifier"


def recipe_of(
    *,
    space: Any,
    limits: Mapping[str, Any] | None,
    runtime: str | None,
    epochs: int,
    batch_size: int,
    subnets: int,
    seed: int,
    settings: Mapping[str, Any] | None,
) -> Recipe:
    """The recipe that the estimator's parameters stand for; ``settings`` are more of its keys, ``train.lr`` and such.

    Raises ``UserError`` that names each key that is wrong.
    """
    target = {"limits": dict(limits or {"macs": "1x"})} | ({"runtime": runtime} if runtime else {})
    values = {
        "name": "estimator",
        "seed": seed,
        "space": space.to_dict() if hasattr(space, "to_dict") else space,
        "train": {"total_epochs": epochs, "batch_size": batch_size},
        "collect": {"subnets": subnets},
        "targets": {TARGET: target},
    }
    for key, value in (settings or {}).items():
        section, _, rest = key.partition(".")
        values[section] = {**values.get(section, {}), rest: value} if rest else value
    return Recipe.from_dict(values, source="OnceForAllClassifier")


def holdout(labels: np.ndarray, share: float, *, seed: int) -> np.ndarray:
    """Which images ``(n,)`` are held out to choose networks by: of each class its share, and never all of a class."""
    rng, chosen = np.random.default_rng([seed, 17]), np.zeros(len(labels), bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        count = min(len(rows) - 1, max(1, round(share * len(rows))))
        chosen[rng.permutation(rows)[:count]] = True
    return chosen


class ArrayJob(Job):
    """A job on a labelled split, of which the ``held_out`` images are for validation."""

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        images: Split,
        *,
        classes: tuple[str, ...],
        held_out: np.ndarray,
        channels: int,
    ) -> None:
        super().__init__(recipe, folder)
        # Where every class has a single image, those are all that there is to choose by.
        validation = np.flatnonzero(held_out) if held_out.any() else np.arange(len(images))
        splits = {"train": images[np.flatnonzero(~held_out)], "validation": images[validation]}
        self._source = Source("arrays" if images.root is None else "folder", classes, splits)
        self._channels = channels

    @cached_property
    def data(self) -> Data:
        config, files = self.recipe.data, self._source.kind == "folder"
        return Data(
            self._source,
            channels=self._channels,
            crop_pct=config.crop_pct or (0.875 if files else 1.0),
            augment=config.augment,
            resolution=self.recipe.space.resolutions[-1],
            seed=self.recipe.seed,
            workers=config.workers if files else 0,
            cache_bytes=CACHE_BYTES,
        )
