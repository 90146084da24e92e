"""What ``predictor: {features: [...]}`` learns from: proxies of the collected subnets, and of others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ofa.pipeline.job import Job
from ofa.predictors.accuracy.proxy_line import ScoredNetworks
from ofa.predictors.sampling import stratified_sample
from ofa.proxies.scoring import FILE, score_subnets, weights_digest

_IMAGES = 16
_OTHERS = 1.0  # for each collected subnet, so many others are scored


def scored_networks(job: Job, codes: np.ndarray, names: Sequence[str]) -> ScoredNetworks:
    """The collected ``codes`` ``(n, genes)`` and others spread over MACs, with their values by each proxy.

    They are scored once: the run's ``proxies.csv`` keeps them. Raises ``UserError`` for a proxy that is not defined
    for these networks.
    """
    space, rng = job.recipe.space, np.random.default_rng([job.recipe.seed, 6])
    others = stratified_sample(space, round(_OTHERS * len(codes)), job.macs, rng)
    together = np.unique(np.concatenate([codes, others]), axis=0)
    path, weights = job.folder / FILE, weights_digest(job)
    options = {"images": _IMAGES, "path": path, "weights": weights, "required": True}
    return ScoredNetworks(together, score_subnets(job, job.supernet, together, names, **options).values)
