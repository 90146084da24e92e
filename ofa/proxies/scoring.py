"""Scores subnets by proxies, one after the other, and keeps what a table has of them already."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ofa.errors import UserError
from ofa.pipeline.job import Job
from ofa.pipeline.manifest import file_digest
from ofa.predictors.proxies.table import PROXIES
from ofa.proxies.table_file import Row, read_rows, write_rows
from ofa.supernet.space import Subnet
from ofa.supernet.supernet import Supernet

FILE = "proxies.csv"  # in a run folder


@dataclass(frozen=True)
class Scored:
    """Values ``(n,)`` of the subnets by each proxy; reasons of NaN and milliseconds of those scored now, by proxy.

    ``undefined``: why proxies that were not asked for by name are left out.
    """

    values: dict[str, np.ndarray]
    reasons: dict[str, list[str]] = field(default_factory=dict)
    milliseconds: dict[str, list[float]] = field(default_factory=dict)
    undefined: dict[str, str] = field(default_factory=dict)


def score_subnets(
    job: Job,
    net: Supernet,
    codes: np.ndarray,
    names: Sequence[str],
    *,
    images: int,
    path: Path,
    weights: str,
    required: bool,
) -> Scored:
    """Scores the subnets ``codes`` ``(n, genes)`` of ``net`` on so many training images, at each one's resolution.

    ``path`` is the table, written after every subnet; ``weights`` names those of ``net`` in it. ``required``: a proxy
    that is not defined for these networks is an error; else it is left out.

    Raises ``UserError`` for such a proxy, and for a table that is none.
    """
    batch_of = _batches(job, images)
    try:
        known = {row.key: row for row in read_rows(path, job.recipe.space)}
    except ValueError as error:
        raise UserError(str(error)) from error
    scored = Scored({}, {name: [] for name in names}, {name: [] for name in names})
    rows: list[Row] = []
    for code in tqdm(codes, desc="score", unit="subnet", disable=None):
        job.check_interrupt()
        subnet = job.recipe.space.decode(code)
        pictures, labels, digest = batch_of(subnet.resolution)
        row = Row(code, weights, digest)
        row = known.setdefault(row.key, row)
        rows.append(row)
        missing = [name for name in names if name not in row.values and name not in scored.undefined]
        if missing:
            _score(net, subnet, row, missing, pictures, labels, scored, seed=job.recipe.seed, required=required)
            write_rows(path, job.recipe.space, known.values())
    for name in names:
        if name not in scored.undefined:
            scored.values[name] = np.array([row.values[name] for row in rows])
            scored.reasons[name] = [row.reasons[name] for row in rows if name in row.reasons]
    return scored


def weights_digest(job: Job) -> str:
    """The name of the trained supernet's weights in a table."""
    return file_digest(job.weights)[:10]


def _score(
    net: Supernet,
    subnet: Subnet,
    row: Row,
    names: Sequence[str],
    images: Tensor,
    labels: Tensor,
    scored: Scored,
    *,
    seed: int,
    required: bool,
) -> None:
    """Adds the values of one subnet to its row."""
    model = net.extract(subnet)
    for name in names:
        try:
            score = PROXIES[name].measure(model, images, labels, seed)
        except ValueError as error:
            if required:
                raise UserError(str(error)) from error
            scored.undefined[name] = str(error)
            continue
        row.values[name] = score.value
        scored.milliseconds[name].append(score.milliseconds)
        if score.reason:
            row.reasons[name] = score.reason.replace("; ", ", ")


def _batches(job: Job, count: int) -> Callable[[int], tuple[Tensor, Tensor, str]]:
    """The first training images, which cover the classes, with labels and a digest, at a resolution."""

    @cache
    def at(resolution: int) -> tuple[Tensor, Tensor, str]:
        batches = list(job.images("train", resolution, limit=count))
        images, labels = (torch.cat([batch[part] for batch in batches]) for part in (0, 1))
        content = hashlib.sha256(images.cpu().contiguous().numpy().tobytes())
        content.update(labels.cpu().numpy().tobytes())
        return images, labels, content.hexdigest()[:10]

    return at
