"""What an accuracy predictor sees of a network."""

from __future__ import annotations

from typing import Any

import numpy as np

from ofa.supernet.genome import DTYPE, Genome

# Wider columns matter more to anything that measures distances. A stage's mean is worth more than one block, the whole
# network's more than one stage; the one-hot columns only let an option differ from the trend of its neighbours. Chosen
# on the published OFA networks (benchmarks/predictors.py): Kendall tau 0.94 at 100 rows, for 0.90 of plain one-hot.
_NETWORK_GENE, _STAGE, _NETWORK, _ONE_HOT = 4.0, 4.0, 8.0, 0.3
_SHARES = 2.0


def features(space: Genome, codes: np.ndarray) -> np.ndarray:
    """Float32 ``(n, columns)`` of canonical codes ``(n, genes)``; the number of columns depends on the space alone.

    Of genes whose options have an order: the rank (0 to 1) of those of the whole network; of the other genes, role by
    role, the rank of each (1 for the largest option, 0 for a block that is off); per stage the fraction of blocks that
    run, and the mean of the ranks of each role over the stage; the means of those over the stages; one-hot columns.
    Where a block has several genes of one role, such as two kernels, each counts as a role of its own. All but
    the one-hot columns are ordered, so that few measured networks say something about options that none of them has.

    Of genes without an order, role by role: the rank of each option (0 to 1); one-hot columns; where the role has
    several genes, the fraction of them that chose each option.
    """
    return np.concatenate(_grouped(space, codes), axis=1).astype(np.float32)


def inputs_of(model: Any, space: Genome, codes: np.ndarray) -> np.ndarray:
    """What ``model.predict`` sees of canonical codes: a row each. A model with ``inputs`` says so itself."""
    own = getattr(model, "inputs", None)
    return features(space, codes).astype(float) if own is None else own(space, codes)


def feature_groups(space: Genome) -> tuple[slice, ...]:
    """The columns of ``features``, all of them, in groups of one kind each, for models that weigh kinds apart."""
    widths = [columns.shape[1] for columns in _grouped(space, np.zeros((1, space.num_genes), DTYPE))]
    ends = np.cumsum(widths).tolist()
    return tuple(slice(end - width, end) for end, width in zip(ends, widths, strict=True) if width)


def _grouped(space: Genome, codes: np.ndarray) -> list[np.ndarray]:
    return [*_of_ordered(space, codes), *_of_unordered(space, codes)]


def _of_ordered(space: Genome, codes: np.ndarray) -> list[np.ndarray]:
    ordered = [(column, gene) for column, gene in enumerate(space.genes) if gene.ordered]
    if not ordered:
        return []
    ranks = space.active_genes(codes) * (codes + 1.0) / space.num_options
    groups, per_stage = [], []

    # Genes of the whole network, such as the resolution, start from 0: there is no block to be off.
    wholes = [column for column, gene in ordered if gene.stage is None]
    if wholes:
        groups.append(_NETWORK_GENE * codes.take(wholes, axis=1) / np.maximum(space.num_options[wholes] - 1, 1))

    # Stages: of the depth gene the fraction of blocks that run, of the other roles the mean rank of the stage's genes.
    block_stages = np.array([block.stage for block in space.blocks])
    stages = np.unique(block_stages)
    per_stage.append(space.active(codes) @ _means(block_stages, stages))
    kinds: dict[str, list[int]] = {}
    for column, gene in ordered:
        if gene.stage is not None and gene.role != "depth":
            kinds.setdefault(gene.role if gene.block is None else gene.key, []).append(column)
    for columns in kinds.values():
        of_role = ranks.take(columns, axis=1)
        groups.append(of_role)
        per_stage.append(of_role @ _means(np.array([space.genes[column].stage for column in columns]), stages))
    means = np.stack(per_stage, axis=1)
    groups.append(_STAGE * means.reshape(len(codes), means.shape[1] * len(stages)))
    groups.append(_NETWORK * means.mean(axis=2))
    of_ordered = np.repeat(space.ordered, space.num_options)
    return [*groups, _ONE_HOT * space.one_hot(codes)[:, of_ordered]]


def _means(stage_of: np.ndarray, stages: np.ndarray) -> np.ndarray:
    """What a row of one value a gene is multiplied with to give its mean in each stage ``(genes, stages)``."""
    members = (stage_of[:, None] == stages).astype(float)
    return members / np.maximum(members.sum(axis=0), 1)


def _of_unordered(space: Genome, codes: np.ndarray) -> list[np.ndarray]:
    active, counts = space.active_genes(codes), space.num_options
    groups = []
    for role in dict.fromkeys(gene.role for gene in space.genes if not gene.ordered):
        columns = np.array([column for column in space.genes_of(role) if not space.genes[column].ordered])
        # Genes of one role may have other options: one that several have is one column.
        values = list(dict.fromkeys(option for column in columns for option in space.genes[column].options))
        places = [np.array([values.index(option) for option in space.genes[column].options]) for column in columns]
        option = np.stack([place[codes[:, column]] for place, column in zip(places, columns, strict=True)], axis=1)
        chosen = active[:, columns, None] & (option[:, :, None] == np.arange(len(values)))
        groups.append(codes[:, columns] / np.maximum(counts[columns] - 1.0, 1))
        groups.append(chosen.reshape(len(codes), chosen.shape[1] * chosen.shape[2]).astype(float))
        if len(columns) > 1:
            groups.append(_SHARES * chosen.mean(axis=1))
    return groups
