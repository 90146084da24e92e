"""Genomes: codes, activity and sizes are what enumeration finds, for every kind of gene."""

from itertools import pairwise, product

import numpy as np
import pytest

from ofa.predictors.accuracy.features import feature_groups, features
from ofa.strategies.variation import sample, vary
from ofa.supernet.genome import DTYPE, Gene, Genome


class Listed(Genome):
    """A genome of the genes that it is given."""

    def __init__(self, *genes):
        self.listed = genes

    @property
    def genes(self):
        return self.listed


# A depth above a base (two blocks always run), one of a single option, a stage without a depth, unordered genes.
MIXED = Listed(
    Gene("resolution", (16, 24)),
    Gene("depth", (2, 3), 0),
    Gene("depth", (1,), 1),
    Gene("width", (8, 16), 0),
    Gene("width", (16, 24), 1),
    Gene("kernel", (3, 5), 0, 0),
    Gene("kernel", (3, 5), 0, 1),
    Gene("kernel", (3, 5, 7), 0, 2),
    Gene("operator", ("skip", "pool", "conv"), 0, 2, ordered=False),
    Gene("kernel", (3, 5), 1, 0),
    Gene("heads", (2, 4), 2, 0),
    Gene("operator", ("skip", "pool", "conv"), 2, 0, ordered=False),
)


def every_code(genome):
    return np.array(list(product(*map(range, genome.num_options))), DTYPE)


def test_size_is_what_enumeration_finds():
    codes = np.unique(MIXED.canonical(every_code(MIXED)), axis=0)
    assert MIXED.size == len(codes) == len({MIXED.decode(code) for code in codes})


def test_a_gene_is_inactive_when_the_depth_of_its_stage_says_so():
    codes = every_code(MIXED)
    active = MIXED.active_genes(codes)
    shallow = codes[:, 1] == 0  # two of three blocks
    for column, gene in enumerate(MIXED.genes):
        gated = gene.stage == 0 and gene.block == 2
        assert np.array_equal(active[:, column], ~shallow if gated else np.ones(len(codes), bool))
    assert [(block.stage, block.index) for block in MIXED.blocks] == [(0, 0), (0, 1), (0, 2), (1, 0), (2, 0)]
    assert np.array_equal(MIXED.active(codes)[:, 2], ~shallow) and MIXED.active(codes)[:, [0, 1, 3, 4]].all()


def test_genes_are_found_by_role():
    assert MIXED.genes_of("kernel").tolist() == [5, 6, 7, 9] and MIXED.genes_of("expand").tolist() == []
    assert MIXED.max_options("kernel") == 3 and MIXED.max_options("expand") == 0
    assert MIXED.ordered.tolist() == [gene.role != "operator" for gene in MIXED.genes]
    with pytest.raises(ValueError, match="read-only"):
        MIXED.num_options[0] = 9


def test_there_and_back():
    for code in MIXED.sample(50, np.random.default_rng(0)):
        assert np.array_equal(MIXED.encode(MIXED.decode(code)), code)
    assert MIXED.encode(MIXED.smallest).max() == 0
    assert np.array_equal(MIXED.encode(MIXED.largest), MIXED.num_options - 1)
    with pytest.raises(ValueError, match=r"choices\[0\] is 17; this space allows \[16, 24\]"):
        MIXED.encode((17, *MIXED.smallest[1:]))
    with pytest.raises(ValueError, match="11 choices; this space has 12 genes"):
        MIXED.encode(MIXED.smallest[1:])


def test_a_block_that_never_runs_is_refused():
    never = Listed(Gene("depth", (1, 2), 0), Gene("kernel", (3, 5), 0, 2))
    with pytest.raises(ValueError, match="block 2 of stage 0 never runs"):
        never.sample(1, np.random.default_rng(0))


def test_features_tell_networks_apart_and_ignore_inactive_genes():
    codes = np.unique(MIXED.canonical(every_code(MIXED)), axis=0)
    columns = features(MIXED, codes)
    assert len(np.unique(columns, axis=0)) == len(codes) and np.isfinite(columns).all()
    groups = feature_groups(MIXED)
    assert groups[0].start == 0 and groups[-1].stop == columns.shape[1]
    assert all(one.stop == other.start for one, other in pairwise(groups))


def test_unordered_options_are_redrawn_and_ordered_ones_also_step():
    rng = np.random.default_rng(0)
    codes = sample(MIXED, 5000, rng)
    assert np.array_equal(codes, MIXED.canonical(codes))
    free = MIXED.genes_of("operator")[1]
    assert np.bincount(codes[:, free]) / len(codes) == pytest.approx(1 / 3, abs=0.03)
    middle = np.array([[0, 1, 0, 0, 0, 0, 0, 1, 1, 0, 0, 1]], DTYPE)
    offspring = vary(MIXED, middle, 20_000, rng, mutation=1, crossover=0)
    # From the middle of three, a redraw stays a time in three, a step never: half of the ordered ones step.
    gated = offspring[:, 1] == 1
    assert (offspring[gated, 7] == 1).mean() == pytest.approx(1 / 6, abs=0.02)
    assert (offspring[:, free] == 1).mean() == pytest.approx(1 / 3, abs=0.02)
