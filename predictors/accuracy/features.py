"""What an accuracy predictor sees of a network."""

from __future__ import annotations

import numpy as np

from ofa.supernet.categorical import CategoricalSpace
from ofa.supernet.space import SearchSpace

Space = SearchSpace | CategoricalSpace

# Wider columns matter more to anything that measures distances. A stage's mean is worth more than one block, the whole
# network's more than one stage; the one-hot columns only let an option differ from the trend of its neighbours. Chosen
# on the published OFA networks (benchmarks/predictors.py): Kendall tau 0.94 at 100 rows, for 0.90 of plain one-hot.
_RESOLUTION, _STAGE, _NETWORK, _ONE_HOT = 4.0, 4.0, 8.0, 0.3
_SHARES = 2.0


def features(space: Space, codes: np.ndarray) -> np.ndarray:
    """Float32 ``(n, columns)`` of canonical codes ``(n, genes)``; the number of columns hangs on the space alone.

    Of a ``SearchSpace``: resolution; per block slot the rank of its kernel and of its expand ratio (1 for the largest
    option, 0 for a block that is off); per stage the share of blocks that run, and the means of both ranks over the
    stage's slots; the means of those over the stages; ``space.one_hot``. All but the one-hot columns are ordered, so
    that few measured networks say something about options that none of them has.

    Of a ``CategoricalSpace``: per gene the rank of its option (0 to 1) and its one-hot columns; per role of several
    genes the share of its genes that chose each option.
    """
    return np.concatenate(_grouped(space, codes), axis=1).astype(np.float32)


def feature_groups(space: Space) -> tuple[slice, ...]:
    """The columns of ``features``, all of them, in groups of one kind each, for models that weigh kinds apart."""
    widths = [columns.shape[1] for columns in _grouped(space, np.zeros((1, space.genes), np.int8))]
    ends = np.cumsum(widths).tolist()
    return tuple(slice(end - width, end) for end, width in zip(ends, widths, strict=True) if width)


def _grouped(space: Space, codes: np.ndarray) -> list[np.ndarray]:
    return _of_choices(space, codes) if isinstance(space, CategoricalSpace) else _of_stages(space, codes)


def _of_stages(space: SearchSpace, codes: np.ndarray) -> list[np.ndarray]:
    counts = space.option_counts
    on = space.active(codes)
    kernels = on * (codes[:, space.kernel_genes] + 1.0) / counts[space.kernel_genes]
    expands = on * (codes[:, space.expand_genes] + 1.0) / counts[space.expand_genes]
    slot_stages = np.array([slot.stage for slot in space.slots])
    share = (slot_stages[:, None] == np.arange(len(space.stages))).astype(float)
    share /= share.sum(axis=0)
    stages = np.stack([on @ share, kernels @ share, expands @ share], axis=1)
    return [
        _RESOLUTION * codes[:, :1] / max(counts[0] - 1, 1),
        kernels,
        expands,
        _STAGE * stages.reshape(len(codes), 3 * len(space.stages)),
        _NETWORK * stages.mean(axis=2),
        _ONE_HOT * space.one_hot(codes),
    ]


def _of_choices(space: CategoricalSpace, codes: np.ndarray) -> list[np.ndarray]:
    counts = space.option_counts
    groups = []
    for role in dict.fromkeys(space.roles):
        genes = [gene for gene, name in enumerate(space.roles) if name == role]
        chosen = codes[:, genes, None] == np.arange(counts[genes[0]])
        groups.append(codes[:, genes] / np.maximum(counts[genes] - 1.0, 1))
        groups.append(chosen.reshape(len(codes), len(genes) * counts[genes[0]]).astype(float))
        if len(genes) > 1:
            groups.append(_SHARES * chosen.mean(axis=1))
    return groups
