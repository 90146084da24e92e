"""The subnets that ``collect: {strategy: proxies}`` measures."""

from __future__ import annotations

import numpy as np

from ofa.pipeline.job import Job
from ofa.predictors.proxies.aggregate import aggregate
from ofa.predictors.proxies.sampling import denser_above
from ofa.predictors.proxies.table import AGGREGATES
from ofa.predictors.sampling import stratified_sample
from ofa.proxies.scoring import FILE, score_subnets, weights_digest

_PROXIES = AGGREGATES["az_nas"]
_IMAGES = 16
_POOL = 4  # networks that are scored for each one that is measured


def promising_subnets(job: Job, count: int) -> np.ndarray:
    """Codes ``(count, genes)`` spread over MACs, at each cost mostly those that the proxies rank first.

    All are scored with the trained supernet's weights. The run's ``proxies.csv`` keeps the values, so that a run that
    goes on chooses the same. Fewer codes come back when the space has fewer networks.
    """
    space, seed = job.recipe.space, job.recipe.seed
    pool = stratified_sample(space, _POOL * count, job.macs, np.random.default_rng([seed, 4]))
    scored = score_subnets(
        job,
        job.supernet,
        pool,
        _PROXIES,
        images=_IMAGES,
        path=job.folder / FILE,
        weights=weights_digest(job),
        required=False,
    )
    rng = np.random.default_rng([seed, 5])
    return pool[denser_above(aggregate(scored.values), job.macs.predict(pool), n=count, rng=rng)]
