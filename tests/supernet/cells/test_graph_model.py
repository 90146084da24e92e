"""Networks of NAS-Bench-101: parameters as published, widths, and loose vertices."""

import pytest
import torch

from ofa.predictors.benchmarks import nas_bench_101
from ofa.supernet.cells.graph_model import OPERATIONS, GraphCell, GraphModel, vertex_channels

CONV1, CONV3, POOL = "conv1x1-bn-relu", "conv3x3-bn-relu", "maxpool3x3"
# The Inception-like cell of the benchmark's own README.
INCEPTION = [
    [0, 1, 1, 1, 0, 1, 0],
    [0, 0, 0, 0, 0, 0, 1],
    [0, 0, 0, 0, 0, 0, 1],
    [0, 0, 0, 0, 1, 0, 0],
    [0, 0, 0, 0, 0, 0, 1],
    [0, 0, 0, 0, 0, 0, 1],
    [0] * 7,
]


def test_the_file_names_the_same_operations():
    assert tuple(OPERATIONS) == nas_bench_101.OPERATIONS


def test_as_many_parameters_as_published():
    with torch.device("meta"):
        model = GraphModel(INCEPTION, [CONV1, CONV3, CONV3, CONV3, POOL])
    assert sum(parameter.numel() for parameter in model.parameters()) == 2_694_282


def test_widths_share_the_output_and_only_shrink_along_edges():
    assert vertex_channels(INCEPTION, 130) == [0, 33, 33, 32, 32, 32, 130]
    chain = [[0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 1], [0] * 4]
    assert vertex_channels(chain, 16) == [0, 16, 16, 16]


@pytest.mark.parametrize(
    ("edges", "operations"),
    [
        ([[0, 1], [0, 0]], []),  # a convolution alone
        ([[0, 1, 1], [0, 0, 1], [0] * 3], [POOL]),  # with a way past it
        ([[0, 1, 1, 0], [0, 0, 1, 1], [0, 0, 0, 1], [0] * 4], [CONV3, CONV1]),  # a vertex cut to half its width
    ],
)
def test_cells_keep_the_map_and_have_their_channels(edges, operations):
    assert GraphCell(edges, operations, 5, 8)(torch.zeros(2, 5, 6, 6)).shape == (2, 8, 6, 6)


def test_loose_vertices_are_left_out():
    loose = [[0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1], [0] * 4]
    with torch.device("meta"):
        model, plain = GraphModel(loose, [CONV3, CONV3]), GraphModel([[0, 1, 0], [0, 0, 1], [0] * 3], [CONV3])
    assert model.state_dict().keys() == plain.state_dict().keys()
    with pytest.raises(ValueError, match="no path joins"):
        GraphModel([[0, 1, 0], [0, 0, 0], [0] * 3], [CONV3])
