"""Published cell spaces, as data."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from ofa.supernet.cells.edges import Edges
from ofa.supernet.cells.outputs import Output
from ofa.supernet.cells.pairs import Pairs
from ofa.supernet.cells.skeleton import REDUCTION, Skeleton, chain_of_cells, stages_of_cells
from ofa.supernet.cells.subnet import NONE
from ofa.supernet.cells.wiring import Wiring


class Layout(NamedTuple):
    """What the networks of a published cell space have in common.

    Attributes:
        about: a sentence, with the paper.
        kinds: of cells, of which each has genes of its own.
        inputs: states that a cell reads.
        operations: of a connection, in the order of a code's options.
        wiring: makes the ``Wiring`` of a cell, ``wiring(inputs=, nodes=, operations=)``.
        output: which nodes' maps are a cell's output.
        skeleton: ``skeleton(nodes=, channels=, cells=, resolution=)`` gives the network around the cells.
        norm_pools: whether a batch norm without scale and shift follows each pool.
        sizes: ``nodes``, ``channels``, ``cells`` and ``resolution`` as published.
    """

    about: str
    kinds: tuple[str, ...]
    inputs: int
    operations: tuple[str, ...]
    wiring: Callable[..., Wiring]
    output: Output
    skeleton: Callable[..., Skeleton]
    norm_pools: bool
    sizes: dict[str, int]


LAYOUTS: dict[str, Layout] = {
    "nasbench201": Layout(
        about="NAS-Bench-201: an operation on each of six edges (https://arxiv.org/abs/2001.00326).",
        kinds=("cell",),
        inputs=1,
        operations=(NONE, "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"),
        wiring=Edges,
        output="last",
        skeleton=stages_of_cells,
        norm_pools=False,
        sizes={"nodes": 3, "channels": 16, "cells": 5, "resolution": 32},
    ),
    "darts": Layout(
        about="DARTS: an operation on two edges of each of four nodes (https://arxiv.org/abs/1806.09055).",
        kinds=("normal", REDUCTION),
        inputs=2,
        operations=(
            NONE,
            "max_pool_3x3",
            "avg_pool_3x3",
            "skip_connect",
            "sep_conv_3x3",
            "sep_conv_5x5",
            "dil_conv_3x3",
            "dil_conv_5x5",
        ),
        wiring=partial(Edges, most=2),
        output="all",
        skeleton=chain_of_cells,
        norm_pools=True,
        sizes={"nodes": 4, "channels": 16, "cells": 8, "resolution": 32},
    ),
    "nasnet": Layout(
        about="NASNet: two states and two operations for each of five nodes (https://arxiv.org/abs/1707.07012).",
        kinds=("normal", REDUCTION),
        inputs=2,
        operations=(
            "skip_connect",
            "conv_1x3_3x1",
            "conv_1x7_7x1",
            "dilated_conv_3x3",
            "avg_pool_3x3",
            "max_pool_3x3",
            "max_pool_5x5",
            "max_pool_7x7",
            "nor_conv_1x1",
            "nor_conv_3x3",
            "sep_conv_3x3",
            "sep_conv_5x5",
            "sep_conv_7x7",
        ),
        wiring=Pairs,
        output="loose",
        skeleton=chain_of_cells,
        norm_pools=True,
        sizes={"nodes": 5, "channels": 16, "cells": 8, "resolution": 32},
    ),
}
