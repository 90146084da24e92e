"""What an accuracy predictor sees of a network."""

from __future__ import annotations

import numpy as np

from ofa.supernet.space import SearchSpace

# Wider columns matter more to anything that measures distances. A stage's mean is worth more than one block, the whole
# network's more than one stage; the one-hot columns only let an option differ from the trend of its neighbours. Chosen
# on the published OFA networks (benchmarks/predictors.py): Kendall tau 0.94 at 100 rows, for 0.90 of plain one-hot.
_RESOLUTION, _STAGE, _NETWORK, _ONE_HOT = 4.0, 4.0, 8.0, 0.3


def features(space: SearchSpace, codes: np.ndarray) -> np.ndarray:
    """Float32 ``(n, columns)`` of canonical codes ``(n, genes)``; the number of columns hangs on the space alone.

    Columns: resolution; per block slot the rank of its kernel and of its expand ratio (1 for the largest option, 0 for
    a block that is off); per stage the share of blocks that run, and the means of both ranks over the stage's slots;
    the means of those over the stages; ``space.one_hot``. All but the one-hot columns are ordered, so that few measured
    networks say something about options that none of them has.
    """
    counts = space.option_counts
    on = space.active(codes)
    kernels = on * (codes[:, space.kernel_genes] + 1.0) / counts[space.kernel_genes]
    expands = on * (codes[:, space.expand_genes] + 1.0) / counts[space.expand_genes]
    slot_stages = np.array([slot.stage for slot in space.slots])
    share = (slot_stages[:, None] == np.arange(len(space.stages))).astype(float)
    share /= share.sum(axis=0)
    stages = np.stack([on @ share, kernels @ share, expands @ share], axis=1)
    columns = [
        _RESOLUTION * codes[:, :1] / max(counts[0] - 1, 1),
        kernels,
        expands,
        _STAGE * stages.reshape(len(codes), 3 * len(space.stages)),
        _NETWORK * stages.mean(axis=2),
        _ONE_HOT * space.one_hot(codes),
    ]
    return np.concatenate(columns, axis=1).astype(np.float32)
