"""Networks that differ little from given ones."""

from __future__ import annotations

import numpy as np

from ofa.supernet.genome import Genome


def mutate(space: Genome, codes: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """``n`` canonical codes ``(n, genes)`` that differ from random ones of ``codes`` in about two genes."""
    parents = codes[rng.integers(0, len(codes), n)]
    anew = rng.integers(0, space.num_options, size=parents.shape).astype(parents.dtype)
    return space.canonical(np.where(rng.random(parents.shape) < 2 / space.num_genes, anew, parents))
