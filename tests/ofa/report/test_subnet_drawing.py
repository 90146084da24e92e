from xml.etree import ElementTree

import numpy as np
import pytest

from ofa.report.subnet_drawing import chosen_subnets, describe_subnet, draw_subnets, subnet_line
from ofa.supernet.families.mobilenetv3 import model as mobilenetv3
from ofa.supernet.space import SearchSpace, Subnet

SPACE = SearchSpace.preset("tiny_mbv3")


def shown(space, code, name="phone"):
    return describe_subnet(name, space, space.decode(code))


def test_one_line_tells_all_that_runs():
    smallest = SPACE.decode(np.zeros(SPACE.num_genes, np.int8))
    text = subnet_line(describe_subnet("phone", SPACE, smallest))
    stages = [
        f"{stage.width}: " + " ".join([f"k{stage.kernels[0]}e{stage.expands[0]}"] * stage.depths[0])
        for stage in SPACE.stages
    ]
    assert text == f"{SPACE.resolutions[0]} px  " + " | ".join(stages)


@pytest.mark.parametrize("name", ["tiny_mbv3", "ofa_mbv3"])
def test_blocks_are_those_of_the_built_network(name):
    space = SearchSpace.preset(name)
    code = space.sample(1, np.random.default_rng(3))[0]
    subnet = space.decode(code)
    model = mobilenetv3.build(mobilenetv3.describe(space, subnet, num_classes=10, in_chans=3))
    _, built, _ = mobilenetv3.parts(model)
    for stage, blocks in zip(shown(space, code).stages, built, strict=True):
        assert len(stage.blocks) == len(blocks)
        for block, real in zip(stage.blocks, blocks, strict=True):
            assert (block.middle, stage.width) == (real.conv_pw.out_channels, real.conv_pwl.out_channels)
            assert block.choices["kernel"] == real.conv_dw.kernel_size[0]


def test_pictures_have_one_scale():
    large = shown(SPACE, SPACE.encode(SPACE.largest), "<large>")
    small = shown(SPACE, np.zeros(SPACE.num_genes, np.int8), "small")
    root = ElementTree.fromstring(f"<div>{draw_subnets([large, small])}</div>")
    figures = root.findall(".//figure")
    assert [figure.find("figcaption").text for figure in figures] == ["<large>", "small"]
    seen = {}
    for figure, subnet in zip(figures, (large, small), strict=True):
        blocks = [block for stage in subnet.stages for block in stage.blocks]
        bars = [one for one in figure.findall(".//rect") if one.find("title") is not None]
        assert len(bars) == len(blocks)
        for bar, block in zip(bars, blocks, strict=True):
            # Equal channels and kernels look equal in every picture.
            look = bar.get("height"), bar.get("class")
            assert seen.setdefault((block.middle, block.choices["kernel"]), look) == look
        texts = [one.text for one in figure.findall(".//text")]
        assert texts[:2] == [str(subnet.resolution), "px"] and "k{kernel}".format(**blocks[0].choices) in texts
    heights = [float(seen[key][0]) for key in sorted(seen)]
    assert heights == sorted(heights) and heights[0] < heights[-1]
    classes = {kernel: look[1] for (_, kernel), look in seen.items()}
    assert len(set(classes.values())) == len(classes)


def test_without_a_space_there_is_nothing_to_draw(report_of):
    assert chosen_subnets(report_of({"targets": {"phone": {}}})) == [] and draw_subnets([]) == ""


def test_widths_of_stages_are_drawn_as_such(wide_family):
    """Blocks show what they alone choose; the width is their stage's, which differs from subnet to subnet."""
    space = SearchSpace.preset("wide_small")
    small, large = (describe_subnet("phone", space, subnet) for subnet in (space.smallest, space.largest))
    assert subnet_line(small) == "12 px  8: e0.5 | 16: e0.5" and subnet_line(large) == "24 px  16: e1 e1 | 32: e1 e1"
    assert [block.choices for block in small.stages[0].blocks] == [{"expand": 0.5}]
    page = draw_subnets([small, large])
    assert "32 ch</text>" in page and ">16 ch</text>" in page and "width 8" not in page


def test_a_block_shows_its_own_stride_alone():
    """The maps of later blocks depend on it, too."""
    space = SearchSpace.preset("mcu_32")
    subnet = Subnet(28, (1, 2, 1), (5, *[3] * 6), widths=(8, 12, 28, 40), strides=(2, 1, 2))
    shown = describe_subnet("board", space, subnet)
    assert subnet_line(shown) == "28 px  12: k3s2 | 28: k3s1 k3 | 40: k3s2"
    assert [block.size for stage in shown.stages for block in stage.blocks] == [14, 7, 7, 7]
    assert "s: stride" in draw_subnets([shown]) and "stride_" not in draw_subnets([shown])
