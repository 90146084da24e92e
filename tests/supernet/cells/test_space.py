"""Cell spaces: codes, canonical form, exact sizes, networks as values and as text. No torch."""

import json
import subprocess
import sys
from itertools import product

import numpy as np
import pytest

from ofa.supernet.cells.space import CellSpace
from ofa.supernet.cells.subnet import CellSubnet

SPACES = [
    CellSpace.preset("nasbench201"),
    CellSpace.preset("darts"),
    CellSpace.preset("nasnet"),
    CellSpace.preset("darts", nodes=3, cells=2),
]
ARCH = "|avg_pool_3x3~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|none~1|nor_conv_3x3~2|"


def random_codes(space, n=300, seed=0):
    """Codes that are not canonical."""
    return np.random.default_rng(seed).integers(0, space.num_options, size=(n, space.num_genes)).astype(np.int8)


def every_code(space, columns):
    return np.array(list(product(*(range(count) for count in space.num_options[:columns]))), np.int8)


@pytest.mark.parametrize("space", SPACES, ids=lambda space: f"{space.layout}{space.nodes}")
def test_codes_and_networks_are_the_same_thing(space):
    samples, canonical = space.sample(100, np.random.default_rng(0)), space.canonical(random_codes(space))
    for codes in (samples, canonical):
        assert codes.dtype == np.int8 and np.array_equal(space.canonical(codes), codes)
    assert np.array_equal(samples, space.sample(100, np.random.default_rng(0)))
    for code in canonical[:60]:
        network = space.decode(code)
        again = CellSubnet.from_json(network.to_json())
        assert again == network and again.id == network.id and hash(again) == hash(network)
        assert np.array_equal(space.encode(again), code)
    names = [gene.key for gene in space.genes]
    assert len(set(names)) == len(names) and all(name.isidentifier() for name in names)
    assert CellSpace.from_dict(json.loads(json.dumps(space.to_dict()))) == space


@pytest.mark.parametrize("layout", ["nasbench201", "darts", "nasnet"])
def test_size_is_what_enumeration_finds(layout):
    space = CellSpace.preset(layout, nodes={"nasbench201": 3, "darts": 2, "nasnet": 1}[layout])
    kinds = len(space.facts.kinds)
    cell = space.num_genes // kinds
    codes = np.concatenate([every_code(space, cell)] * kinds, axis=1)
    assert len(np.unique(space.canonical(codes), axis=0)) ** kinds == space.size
    assert CellSpace.preset("nasbench201").size == 15_625


def test_a_code_with_too_many_edges_stands_for_one_of_two_at_each_node():
    space = CellSpace.preset("darts")
    codes = random_codes(space, 2000)
    canonical = space.canonical(codes)
    changed = canonical != codes
    assert (canonical[changed] == 0).all()  # edges are left out, never changed
    node = slice(9, 14)  # the last node of the normal cell, of which five edges may be
    kept = (canonical[:, node] != 0).sum(axis=1)
    assert np.array_equal(kept, np.minimum((codes[:, node] != 0).sum(axis=1), 2))
    shares = (canonical[:, node] != 0).mean(axis=0)
    assert shares.max() < 1.25 * shares.min()  # no edge is favoured
    drawn = space.sample(2000, np.random.default_rng(0))
    assert ((drawn[:, node] != 0).sum(axis=1) == 2).all()
    assert len(np.unique(drawn[:, node] != 0, axis=0)) == 10  # all pairs of edges


def test_the_order_of_two_connections_does_not_matter():
    space = CellSpace.preset("nasnet", nodes=2)
    network = space.decode(space.sample(1, np.random.default_rng(3))[0])
    swapped = CellSubnet(tuple((kind, tuple(node[::-1] for node in cell)) for kind, cell in network.cells))
    assert swapped != network and np.array_equal(space.encode(swapped), space.encode(network))


def test_published_strings():
    space = CellSpace.preset("nasbench201")
    network = CellSubnet.from_arch(ARCH)
    assert network.arch == ARCH and space.decode(space.encode(network)).arch == ARCH
    assert space.encode(network).tolist() == [4, 0, 1, 2, 0, 3]
    assert network.cell("cell")[1] == (("skip_connect", 1),)  # a connection that is none is no connection


def test_networks_of_another_size_have_the_same_codes():
    space = CellSpace.preset("darts", cells=5)
    larger = space.resized(cells=11, channels=36, resolution=64)
    assert larger.genes == space.genes and larger != space and (larger.cells, space.cells) == (11, 5)


def test_a_space_needs_no_torch():
    text = "import sys, ofa; ofa.CellSpace.preset('darts').size; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", text], check=True)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: CellSpace.preset("enas"), "nasbench201, darts, nasnet"),
        (lambda: CellSpace.preset("darts", channels=0), "channels is 0"),
        (lambda: CellSpace.preset("darts", nodes=9), "from 1 to 5"),
        (lambda: CellSpace.preset("darts").resized(nodes=3), "another space"),
        (lambda: CellSpace.from_dict({"family": "cells"}), "missing or unknown.*channels"),
        (lambda: CellSpace.from_dict({**SPACES[0].to_dict(), "family": "darts"}), "family is 'darts'"),
        (lambda: CellSubnet.from_arch("nor_conv_3x3"), "no architecture"),
        (lambda: CellSubnet.from_arch("|none~0|+|none~0|none~2|"), "states 0 to 1"),
        (lambda: CellSubnet.from_dict({"cell": [["skip_connect"]]}), "list of nodes"),
        (lambda: CellSubnet.from_dict([1]), "list of nodes"),
        (lambda: SPACES[0].encode(CellSubnet.from_arch("|none~0|")), "cell cell has 1 nodes; this space has 3"),
        (lambda: SPACES[0].encode(CellSubnet.from_arch(ARCH.replace("avg_pool_3x3", "conv"))), "conv in node 0"),
        (lambda: SPACES[1].encode(CellSubnet.from_arch(ARCH)), r"the cells \['cell'\]"),
        (lambda: SPACES[1].decode(np.zeros(28)).arch, "one kind of cell"),
    ],
)
def test_bad_input_is_named(wrong, message):
    with pytest.raises((ValueError, KeyError), match=message):
        wrong()


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ([["skip_connect", 0], ["skip_connect", 1], ["skip_connect", 2]], "up to 2"),
        ([["skip_connect", 3]], "0 to 2"),
        ([["skip_connect", 1], ["sep_conv_3x3", 1]], "the node 1"),
    ],
)
def test_nodes_that_darts_does_not_have(node, message):
    space = CellSpace.preset("darts", nodes=2)
    cell = [[["skip_connect", 0]], node]
    with pytest.raises(ValueError, match=f"normal cell has the node 1.*{message}|{message}"):
        space.encode(CellSubnet.from_dict({"normal": cell, "reduction": cell}))
