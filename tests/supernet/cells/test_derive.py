"""The most probable cells, with and without limits."""

import numpy as np
import pytest
import torch

import ofa
from ofa.supernet.relaxation.derive import most_probable

SIZES = {"channels": 4, "cells": 3, "resolution": 8}


def probabilities(space, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.dirichlet(np.ones(count)) for count in space.num_options.tolist()]


def test_two_edges_a_node_by_their_best_operation_but_none():
    space = ofa.CellSpace.preset("darts", **SIZES)
    given = probabilities(space)
    (code,) = most_probable(space, given)
    start = 0
    for node in [*range(4)] * 2:
        rows = np.stack(given[start : start + 2 + node])[:, 1:]  # none is no operation
        expected = np.zeros(len(rows), int)
        for edge in rows.max(axis=1).argsort()[-2:]:
            expected[edge] = 1 + rows[edge].argmax()
        assert code[start : start + 2 + node].tolist() == expected.tolist()
        start += 2 + node


def test_the_order_of_connections_does_not_matter():
    space = ofa.CellSpace.preset("nasnet", nodes=2, **SIZES)
    given = probabilities(space)
    network = space.decode(np.array([each.argmax() for each in given]))
    assert np.array_equal(most_probable(space, given)[0], space.encode(network))
    regrets = space.regrets(
        np.array([np.pad(np.log(each), (0, 13 - len(each)), constant_values=-np.inf) for each in given])
    )
    raw = np.array([each.argmax() for each in given])[None]
    assert np.allclose(space.regret(raw, regrets), 0)


@pytest.mark.parametrize("layout", ["nasbench201", "darts", "nasnet"])
def test_inside_limits(layout):
    space = ofa.CellSpace.preset(layout, **SIZES, **({} if layout == "nasbench201" else {"nodes": 2}))
    macs, given = ofa.CostTable.macs(space, num_classes=10), probabilities(space, 1)
    free = most_probable(space, given)
    limit = 0.5 * (macs.predict(free)[0] + macs.predict(space.sample(500, np.random.default_rng(0))).min())
    codes = most_probable(space, given, limits={macs: limit}, count=3)
    assert (macs.predict(codes) <= limit).all() and np.array_equal(space.canonical(codes), codes)

    # No network of many is better.
    padded = np.full((space.num_genes, space.num_options.max()), -np.inf)
    for row, values in zip(padded, given, strict=True):
        row[: len(values)] = np.log(values)
    regrets, others = space.regrets(padded), space.sample(4000, np.random.default_rng(2))
    inside = others[macs.predict(others) <= limit]
    assert len(inside) and space.regret(codes, regrets)[0] <= space.regret(inside, regrets).min()


def test_weights_of_edges_count():
    space = ofa.CellSpace.preset("darts", nodes=2, **SIZES)
    relaxed = ofa.Relaxed(ofa.CellNetwork(space, partial=2))
    with torch.no_grad():
        for alpha in relaxed.net.edge_alphas:
            alpha[:2] = 2.0  # the last edge of the second node is unlikely, whatever its operation
        for name, alpha in zip(relaxed.architecture.names, relaxed.alphas, strict=True):
            alpha[4] = 3.0 if name.endswith("_1_2") else 2.9
    cells = [cell for _, cell in relaxed.derive().cells]
    assert cells == [((("sep_conv_3x3", 0), ("sep_conv_3x3", 1)),) * 2] * 2
    assert relaxed.net.extract(relaxed.derive())(torch.zeros(2, 3, 8, 8)).shape == (2, 10)
