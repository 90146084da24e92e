"""What predictors see of widths that parts share, and of blocks with two genes of one role."""

from functools import cached_property

import numpy as np
import pytest
from scipy.stats import kendalltau

from ofa.predictors.accuracy.features import feature_groups, features
from ofa.predictors.accuracy.predictor import AccuracyPredictor
from ofa.predictors.costs.cost_table import CostTable
from ofa.supernet.genome import Gene, Genome
from ofa.supernet.space import SearchSpace


class TwoKernels(Genome):
    """Two stages of up to two blocks, each with two depthwise convolutions."""

    @cached_property
    def genes(self):
        kernels = [
            Gene("kernel", (3, 5), stage, block, name=f"kernel_{place}")
            for stage in (0, 1)
            for block in (0, 1)
            for place in ("start", "mid")
        ]
        return (Gene("resolution", (8, 16)), *(Gene("depth", (1, 2), stage) for stage in (0, 1)), *kernels)


def groups_of(space, codes):
    columns = features(space, codes)
    return [columns[:, group] for group in feature_groups(space)]


def test_two_kernels_of_a_block_are_told_apart():
    space = TwoKernels()
    codes = np.zeros((3, space.num_genes), np.int8)
    codes[1, [3, 5, 7, 9]] = 1  # every "start"
    codes[2, [4, 6, 8, 10]] = 1  # every "mid"
    codes[:, 1:3] = 1
    resolution, start, mid, stages, network, _ = groups_of(space, codes)
    assert resolution.shape == (3, 1) and start.shape == mid.shape == (3, 4)
    assert start.tolist() == [[0.5] * 4, [1] * 4, [0.5] * 4] and mid.tolist() == [[0.5] * 4, [0.5] * 4, [1] * 4]
    # Mean ranks of both stages, four times as wide: how many blocks run, their first kernels, their second ones.
    assert stages.tolist() == [[4, 4, 2, 2, 2, 2], [4, 4, 4, 4, 2, 2], [4, 4, 2, 2, 4, 4]]
    assert network.tolist() == [[8, 4, 4], [8, 8, 4], [8, 4, 8]]


def test_widths_are_of_the_whole_network_or_of_a_stage(wide_family):
    space = SearchSpace.preset("wide_small")
    codes = np.stack([space.encode(space.smallest), space.encode(space.largest)])
    wholes, widths, expands, stages, *_ = groups_of(space, codes)
    assert wholes.tolist() == [[0, 0, 0], [4, 4, 4]], "resolution, stem and head"
    assert widths == pytest.approx(np.array([[1 / 3, 1 / 3], [1, 1]])) and expands.shape == (2, 4)
    assert stages[1].tolist() == [4] * 6, "of two stages the blocks, the width, and the expand ratios"
    many = np.unique(space.sample(500, np.random.default_rng(0)), axis=0)
    assert len(np.unique(features(space, many), axis=0)) == len(many)


@pytest.mark.parametrize("kind", ["gp", "mlp"])
def test_networks_of_many_widths_are_ranked(kind, wide_family):
    space = SearchSpace.preset("wide_small")
    table = CostTable.params(space, num_classes=10)
    codes, rng = space.sample(600, np.random.default_rng(0)), np.random.default_rng(1)
    accuracy = 0.9 - 0.4 * np.exp(-table.predict(codes) / 2e4) - 2 / np.array(space.resolutions)[codes[:, 0]]
    noisy = accuracy[:120] + rng.normal(0, 0.002, 120)
    predicted = AccuracyPredictor(space, kind=kind).fit(codes[:120], noisy).predict(codes[120:])
    assert kendalltau(predicted, accuracy[120:]).statistic > 0.9
