"""Which choices a vision transformer has, and which sizes of images it takes."""

import pytest

from ofa.supernet.derived.fixed import fixed_choices
from ofa.supernet.families.operators import parts_of_subnet
from ofa.supernet.space import SearchSpace


@pytest.mark.parametrize(
    "name, resolutions",
    [
        ("vit_tiny_patch16_224", (128, 160, 192, 224)),
        ("vit_small_patch32_224", (128, 160, 192, 224)),
        ("vit_small_patch14_dinov2", (308, 378, 448, 518)),
        ("test_vit", (112, 128, 144, 160)),
    ],
)
def test_sizes_are_whole_numbers_of_patches(name, resolutions):
    space = SearchSpace.from_timm(name)
    assert space.resolutions == resolutions
    assert space.arguments == {"dynamic_img_size": True}


def test_a_model_of_one_size_is_as_timm_builds_it():
    assert SearchSpace.from_timm("test_vit", resolutions=[160]).arguments == {}
    odd = SearchSpace.from_timm("vit_so400m_patch14_siglip_384")  # 27 patches of 14 px, and 6 px more
    assert (odd.resolutions, odd.arguments) == ((384,), {})


def test_a_size_with_a_part_of_a_patch_is_refused():
    with pytest.raises(
        ValueError, match=r"resolutions \[100\]: this model's patches have 16 px, so give multiples of 16"
    ):
        SearchSpace.from_timm("test_vit", resolutions=[100, 160])


def test_heads_are_kept_or_left_out_whole_and_widths_are_everywhere():
    space = SearchSpace.from_timm("deit_tiny_distilled_patch16_224", heads=[0.3, 1.0], widths=[0.5, 1.0])
    assert [gene.options for gene in space.genes if gene.role == "heads"] == [(1, 3)] * 12
    (width,) = (gene for gene in space.genes if gene.role == "width")
    assert width.options == (96, 192)
    stem, *blocks, head = parts_of_subnet(space, space.smallest, num_classes=10, in_chans=3)
    assert {part.in_channels for part, _ in (*blocks, head)} == {96}
    assert {part.in_tokens for part, _ in (*blocks, head)} == {2}
    for part, _ in blocks:
        assert [operator.channels for operator in part if operator.kind == "matmul"] == [64, 64]
        assert {operator.groups for operator in part if operator.kind == "matmul"} == {1}
    extra = [operator.extra_params for operator in stem[0] if operator.extra_params]
    assert extra == [2 * 96, (2 + 14 * 14) * 96]


@pytest.mark.parametrize(
    "name, words",
    [
        ("test_vit3", "attn_pool: AttentionPoolLatent is not known"),
        ("vit_tiny_r_s16_p8_224", "patch_embed.backbone: a network before the transformer is not cut"),
        ("vit_pwee_patch16_reg1_gap_256", "blocks: all blocks are kept"),
    ],
)
def test_what_is_kept_whole_is_said(name, words):
    assert any(sentence.startswith(words) for sentence in fixed_choices(SearchSpace.from_timm(name)))
