"""Settings of a block that are chosen together, and other blocks that stand in its place."""

import numpy as np
import pytest
import torch
from counted_costs import counted_costs
from shared_networks import images, scramble, subnets_of
from shared_spaces import MIXED, SETTINGS

from ofa.predictors.accuracy.features import feature_groups, features
from ofa.predictors.costs.cost_table import CostTable
from ofa.predictors.costs.latency.parts import Models, add_parts
from ofa.supernet.extract import build_empty
from ofa.supernet.saving import load_subnet, save_subnet
from ofa.supernet.space import SearchSpace
from ofa.supernet.supernet import Supernet

HEAD = {"num_classes": 5, "in_chans": 3}
SPACE = SearchSpace.from_dict(MIXED)


def with_kinds(**kinds):
    """The same with other kinds of the first block."""
    first, *others = MIXED["stages"][0]["blocks"]
    stage = {**MIXED["stages"][0], "blocks": [{**first, "kinds": kinds}, *others]}
    return SearchSpace.from_dict({**MIXED, "stages": [stage, MIXED["stages"][1]]})


def each_kind():
    """Networks of full depth in which each kind of each block runs once."""
    for column in SPACE.genes_of("kind"):
        for number in range(SPACE.num_options[column]):
            code = SPACE.encode(SPACE.largest)
            code[column] = number
            yield SPACE.decode(code)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return scramble(Supernet(SPACE, num_classes=5))


def test_one_gene_chooses_what_goes_together():
    genes = [(gene.stage, gene.block, gene.options, gene.ordered) for gene in SPACE.genes if gene.role == "kind"]
    assert genes == [
        (0, 0, ("conv", "k3e1", "k5e1", "k3e3", "k5e3"), False),
        (0, 1, ("k3e1", "k5e1", "squeezed", "separable", "k5e3"), False),
        (1, 1, ("small", "large"), True),
    ]
    assert SPACE.size == 2 * 2**3 * (5 + 5 * 5) * (2 * 2 + 2 * 2 * 2)


@torch.no_grad()
def test_activated_extracted_and_loaded_are_equal(net, tmp_path):
    for subnet in (*subnets_of(SPACE, 4), *each_kind()):
        assert SPACE.decode(SPACE.encode(subnet)) == subnet
        x = images(SPACE).contiguous(memory_format=torch.channels_last)
        logits, plain = net.activate(subnet)(x), net.extract(subnet)
        assert torch.equal(plain(x), logits), subnet
        assert all(type(module).__module__.partition(".")[0] in ("timm", "torch") for module in plain.modules())
        save_subnet(plain, subnet, tmp_path)
        assert torch.equal(load_subnet(tmp_path)(x), logits)


def test_costs_are_those_of_the_built_networks(net):
    codes = np.stack([*SPACE.sample(4, np.random.default_rng(1)), *map(SPACE.encode, each_kind())])
    tables = [getattr(CostTable, name)(SPACE, **HEAD).predict(codes) for name in ("macs", "params")]
    for code, *costs in zip(codes, *tables, strict=True):
        subnet = SPACE.decode(code)
        assert tuple(costs) == counted_costs(build_empty(net.describe(subnet)).eval(), subnet.resolution)


@torch.no_grad()
def test_sorting_keeps_the_largest_and_what_stands_in_places(net):
    """Of the narrowest kinds nothing is kept; of other blocks, whose channels are no prefix of any, all is."""
    space = net.space
    whole = space.largest
    others = [
        space.decode(np.where([gene.block == 0 and gene.stage == 0 for gene in space.genes], 0, space.encode(whole)))
    ]
    x = images(space)
    before = [net.activate(subnet)(x) for subnet in (whole, *others)]
    net.sort_channels()
    for subnet, expected in zip((whole, *others), before, strict=True):
        torch.testing.assert_close(
            net.activate(subnet)(x), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max())
        )


def test_shapes_are_those_of_what_runs():
    smallest, largest = SPACE.shapes(SPACE.smallest), SPACE.shapes(SPACE.largest)
    assert [shape.mid_channels for shape in smallest] == [8, 16]  # of the 1x1 convolution: what it gives
    assert [shape.mid_channels for shape in largest] == [48, 48, 64, 96]


def test_predictors_count_a_kind_in_all_blocks_that_have_it():
    codes = SPACE.sample(400, np.random.default_rng(2))
    columns, groups = features(SPACE, codes), feature_groups(SPACE)
    assert sum(group.stop - group.start for group in groups) == columns.shape[1]
    chosen = [SPACE.decode(code) for code in codes]
    unordered = [
        [kind for kind, depth in zip(subnet.kinds, (1, 2), strict=False) if subnet.depths[0] >= depth]
        for subnet in chosen
    ]
    shares = columns[:, groups[-1]]
    names = ["conv", "k3e1", "k5e1", "k3e3", "k5e3", "squeezed", "separable"]
    expected = np.array([[kinds.count(name) for name in names] for kinds in unordered])
    assert np.array_equal(shares, expected.astype(np.float32))


@pytest.mark.parametrize(
    "kinds, problem",
    [
        ({"one": SETTINGS["k5e3"]}, "at least two"),
        ({"one": SETTINGS["k3e1"], "two": {"block": "cn_r1_k1_s2_c16"}}, "must be the block of the largest network"),
        ({"one": {"block": "cn_r1_k1_s2_c16", "expand": 3}, "two": SETTINGS["k5e3"]}, "it cannot have expand as well"),
        ({"one": {"expand": 1}, "two": SETTINGS["k5e3"]}, "name the same things in each"),
        ({"one": SETTINGS["k5e3"], "two": SETTINGS["k3e3"]}, "one has a larger kernels.conv_dw than the last"),
        ({"one": SETTINGS["k5e3"], "two": SETTINGS["k5e3"]}, "two and one are one kind"),
        ({"a-b": SETTINGS["k3e3"], "two": SETTINGS["k5e3"]}, "pattern"),
    ],
)
def test_kinds_that_are_refused(kinds, problem):
    with pytest.raises(ValueError, match=problem):
        with_kinds(**kinds)


@pytest.mark.parametrize(
    "block, problem",
    [
        ("cn_r1_k1_s1_c16", r"gives maps of the shape \[16, 12, 12\]"),
        ("cn_r1_k1_s2_c8", r"gives maps of the shape \[8, 6, 6\]"),
        ("nonsense", "timm does not know the block 'nonsense'"),
    ],
)
def test_blocks_that_do_not_fit(block, problem):
    with pytest.raises(ValueError, match=problem):
        _ = with_kinds(other={"block": block}, own=SETTINGS["k5e3"]).layout


def test_a_block_is_not_in_two_ways_elastic():
    block = {"in_channels": 16, "kinds": {"k3e1": SETTINGS["k3e1"], "k5e3": SETTINGS["k5e3"]}, "expands": [1, 3]}
    stage = {"depths": [2], "blocks": [block, block]}
    with pytest.raises(ValueError, match="instead of kernels, expands and heads"):
        SearchSpace.from_dict({**MIXED, "stages": [stage, MIXED["stages"][1]]})


# -- of a model's name ------------------------------------------------------------------------------------------------

PAIRS = [[3, 0.5], [5, 0.5], [3, 1], [5, 1]]
NAME = "mobilenetv3_small_050"


@torch.no_grad()
def test_pairs_of_a_named_model():
    torch.manual_seed(0)
    net = scramble(Supernet.from_timm(NAME, num_classes=10, elastic={"resolutions": [32], "kinds": PAIRS}))
    kinds = {gene.options for gene in net.space.genes if gene.role == "kind"}
    assert kinds == {("k3e0.5", "k3e1"), ("k3e0.5", "k5e0.5", "k3e1", "k5e1")}
    assert not {"kernel", "expand"} & {gene.role for gene in net.space.genes}
    x = images(net.space).contiguous(memory_format=torch.channels_last)
    for subnet in subnets_of(net.space, 2):
        assert torch.equal(net.activate(subnet)(x), net.extract(subnet)(x))


@pytest.mark.parametrize(
    "options, problem",
    [
        ({"kinds": [[3, 0.5], [4, 1]]}, "only odd kernels"),
        ({"kinds": [[3, 0.5], [3, 1]]}, r"the last must be the model itself, \[5, 1\]"),
        ({"kinds": [[5, 1], [5, 0.5]]}, "the last must be the model itself"),
        ({"kinds": PAIRS, "kernels": [3, 5]}, "they are chosen instead of kernels"),
    ],
)
def test_pairs_that_are_refused(options, problem):
    with pytest.raises(ValueError, match=problem):
        SearchSpace.from_timm(NAME, **options)


def test_families_without_other_blocks_say_so():
    space = SearchSpace.from_timm("resnet18", resolutions=[32], expands=[0.5, 1])
    values = space.to_dict()
    block = values["stages"][0]["blocks"][0]
    block["kinds"] = {"other": {"block": "anything"}, "own": {"expand": 1}}
    del block["expands"]
    with pytest.raises(ValueError, match="the family resnet has no other blocks"):
        _ = SearchSpace.from_dict(values).layout


@torch.no_grad()
def test_every_kind_of_block_is_timed():
    models = Models(lambda module, shape: module)
    layout = add_parts(models, SPACE, HEAD, progress=False)
    for module, shape in models.timed:
        assert torch.isfinite(module.eval()(torch.randn(1, *shape))).all()
    widths = 2 * 2  # read and given; of two each
    assert [len(of_block) for of_block in layout.of_part[2:]] == [5 * widths, 5 * 2, 4 * widths, 2 * 2]
    assert {type(module).__name__ for module, _ in models.timed} >= {"ConvBnAct", "DepthwiseSeparableConv"}
