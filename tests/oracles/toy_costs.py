"""Made-up spaces whose blocks depend on more genes than those of today's families."""

from __future__ import annotations

import numpy as np

from ofa.predictors.costs.parts import Part
from ofa.supernet.categorical import CategoricalSpace


def toy(rng: np.random.Generator, *, max_options: int = 4) -> tuple[CategoricalSpace, tuple[Part, ...]]:
    """A made-up family whose stages choose their width, too: a space and the parts of its networks.

    Genes: resolution; of each stage depth and width; of each block kernel and expand ratio. A block depends on the
    resolution, the width before it (another stage's, of a first block), its own width, kernel and expand ratio.
    """
    counts, parts = [int(rng.integers(1, max_options))], []

    def gene():
        counts.append(int(rng.integers(1, max_options)))
        return len(counts) - 1

    def part(genes, **depth):
        parts.append(Part(genes, rng.normal(size=[counts[one] for one in genes]), **depth))

    before = gene()  # of the stem
    part((0, before))
    for _ in range(rng.integers(1, 4)):
        depth, width = gene(), gene()
        for index in range(rng.integers(1, 5)):
            kernel, expand = gene(), gene()
            genes = (0, before, width, kernel, expand) if index == 0 else (0, width, kernel, expand)
            # The depth may even be one of the genes that a block's cost depends on.
            own = (*genes, depth) if rng.random() < 0.2 else genes
            runs = {"depth_gene": depth, "min_option": int(rng.integers(0, counts[depth] + 1))} if index else {}
            part(own, **runs)
        before = width
    part((0, before))
    return CategoricalSpace(counts), tuple(parts)
