"""Published spaces: their exact sizes, and the parameters that were published."""

import math

import numpy as np
import pytest
import torch
from shared_networks import images, scramble

from ofa.predictors.costs.cost_table import CostTable
from ofa.supernet.space import SearchSpace
from ofa.supernet.supernet import Supernet

# Kinds of a block, and depths, of each stage; then resolutions and options of each width.
SIZES = {
    "ofa_proxyless": ([(9, (2, 3, 4))] * 5 + [(9, (1,))], 25, []),
    "ofa_resnet50": ([(3, (2, 3, 4))] * 2 + [(3, (4, 5, 6)), (3, (2, 3, 4)), (1, (0, 1))], 25, [2, 3, 3, 3, 3, 3]),
    "mcunet": ([(9, (2, 3, 4))] * 5 + [(9, (1,))], 12, []),
    "bignas": (
        [
            (1, (1, 2)),
            (1, (2, 3)),
            (2, (2, 3)),
            (2, (2, 3, 4)),
            (2, (2, 3, 4, 5, 6)),
            (2, (2, 3, 4, 5, 6)),
            (2, (1, 2)),
        ],
        4,
        [2, 2, 2, 2, 2, 3, 4, 5, 2],
    ),
    "attentivenas": (
        [(2, (1, 2)), (6, (3, 4, 5)), *[(6, (3, 4, 5, 6))] * 2, (6, range(3, 9)), (2, range(3, 9)), (2, (1, 2))],
        4,
        [2, 2, 2, 2, 2, 3, 4, 2, 2],
    ),
}
# Of the whole supernet with 1,000 classes, kernel matrices included.
OF_SUPERNETS = {
    "ofa_mbv3": 7_678_880,
    "ofa_mbv3_w1.2": 10_715_752,
    "ofa_proxyless": 7_956_882,
    "ofa_resnet50": 48_105_992,
}


@pytest.mark.parametrize("name", SIZES)
def test_size(name):
    stages, resolutions, widths = SIZES[name]
    networks = math.prod(sum(kinds**depth for depth in depths) for kinds, depths in stages)
    assert SearchSpace.preset(name).size == networks * resolutions * math.prod(widths)


def test_published_parameters_of_resnet50():
    space = SearchSpace.preset("ofa_resnet50")
    codes = np.stack([space.encode(space.smallest), space.encode(space.largest)])
    assert CostTable.params(space, num_classes=10).predict(codes).tolist() == [5_223_570, 46_077_482]


@pytest.mark.parametrize("name", OF_SUPERNETS)
def test_parameters_of_the_supernet(name):
    space = SearchSpace.preset(name)
    largest = CostTable.params(space, num_classes=1000).predict(space.encode(space.largest)[None])[0]
    kernels = [gene for gene in space.genes if gene.role == "kernel"]
    assert largest + len(kernels) * (25**2 + 9**2) == OF_SUPERNETS[name]


@pytest.mark.parametrize("name", ["bignas", "attentivenas", "ofa_proxyless"])
@torch.no_grad()
def test_the_smallest_subnet_is_extracted_bit_for_bit(name):
    """These are too large for the tests that every other preset goes through."""
    space = SearchSpace.preset(name)
    net = scramble(Supernet(space, num_classes=3))
    x = images(space)[..., :64, :64]
    assert torch.equal(net.activate(space.smallest)(x), net.extract(space.smallest)(x))
