"""A cost table on disk: JSON of today's format, and of the two formats before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import index
from pathlib import Path
from typing import Any

import numpy as np

from ofa.predictors.costs.caches import Caches
from ofa.predictors.costs.part_genes import part_genes
from ofa.predictors.costs.parts import Part
from ofa.supernet.categorical import CategoricalSpace
from ofa.supernet.cells.space import CellSpace
from ofa.supernet.files import read_json, write_json
from ofa.supernet.genome import Genome
from ofa.supernet.space import SearchSpace

# Format 1 had no such key: ``fixed`` (resolutions) was stem and head, ``blocks`` (resolutions, blocks, kernels,
# expands) had null where a stage has fewer options than another. Format 2 had no ``caches``.
FORMAT = 3

# Of the spaces that are no family's own, by the key ``family``.
_SPACES = {"categorical": CategoricalSpace, "cells": CellSpace}


def write(
    path: Path, space: Genome, parts: Sequence[Part], values: Mapping[str, Any], *, caches: Caches | None = None
) -> None:
    """Atomically; ``values`` are what JSON can hold."""
    rows = [
        {
            "genes": list(part.genes),
            "depth_gene": part.depth_gene,
            "min_option": part.min_option,
            "costs": part.costs.tolist(),
        }
        for part in parts
    ]
    written = {"space": space.to_dict(), "parts": rows, "caches": None if caches is None else caches.to_dict()}
    write_json(path, {"format": FORMAT, **values, **written})


def read(path: Path) -> dict[str, Any]:
    """The file's JSON. Raises ``ValueError`` naming the file when that is damaged, or written by a newer version."""
    document = read_json(path)
    version = document.get("format", 1) if isinstance(document, dict) else 1
    if isinstance(version, int) and version > FORMAT:
        raise ValueError(
            f"{path} has format {version}, and this version of ofa reads up to {FORMAT}: install the version that "
            "wrote it, or measure again"
        )
    return document


def parse(document: Mapping[str, Any]) -> tuple[Genome, tuple[Part, ...], dict[str, Any]]:
    """Space, parts and all other values. Raises ``ValueError``, ``KeyError`` or ``TypeError`` for what is no table."""
    values = dict(document)
    version = values.pop("format", 1)
    written = values.pop("space")
    space = _SPACES.get(written.get("family"), SearchSpace).from_dict(written)
    if version == 1:
        return space, _parts_of_format_1(space, values.pop("fixed"), values.pop("blocks")), values
    if version not in (2, FORMAT):
        raise ValueError(f"its format is {version!r}")
    parts = tuple(
        Part(tuple(row["genes"]), np.array(row["costs"], np.float64), row["depth_gene"], index(row["min_option"]))
        for row in values.pop("parts")
    )
    caches = values.pop("caches") if version == FORMAT else None
    values["caches"] = None if caches is None else Caches.from_dict(caches)
    return space, parts, values


def _parts_of_format_1(space: SearchSpace, fixed: list[float], blocks: list[Any]) -> tuple[Part, ...]:
    ends, table = np.array(fixed, np.float64), np.array(blocks, np.float64)
    rows = part_genes(space)
    shapes = [tuple(space.num_options[list(row.genes)]) for row in rows[1:]]
    if table.shape != (len(ends), len(shapes), *np.max(shapes, axis=0)[1:]):
        raise ValueError("its table has not the shape of its space")
    costs = [ends, *(table[:, number, : shape[1], : shape[2]] for number, shape in enumerate(shapes))]
    return tuple(row.part(values) for row, values in zip(rows, costs, strict=True))
