"""Small models of timm's VisionTransformer as supernets, with random weights."""

import pytest
from timm_supernets import (
    assert_equals_its_model,
    assert_extracts_are_subnets,
    assert_is_a_timm_model,
    assert_sorting_keeps_the_largest,
    plain_model,
)

from ofa.supernet.supernet import Supernet

NAMES = [
    "test_vit",
    "test_vit2",
    "test_vit3",  # pools by attention
    "test_vit4",
    "deit_tiny_patch16_224",
    "deit_tiny_distilled_patch16_224",
    "vit_tiny_patch16_224",
    "vit_wee_patch16_reg1_gap_256",
    "vit_pwee_patch16_reg1_gap_256",  # blocks that are kept whole
    "vit_tiny_r_s16_p8_224",  # a convolutional stem that is kept whole
    "vit_xsmall_patch16_clip_224",  # a norm before the blocks
    "deit3_small_patch16_224",  # tokens without positions, layer scales
]


def sized_model(name, resolution):
    model = plain_model(name, img_size=resolution)
    return model, {"img_size": resolution}


@pytest.mark.parametrize("name", NAMES)
def test_a_supernet_is_its_model_and_each_of_its_subnets(name, tmp_path):
    model, arguments = sized_model(name, 64)
    net = Supernet.from_timm(model, elastic={"resolutions": [32, 64]}, arguments=arguments).eval()
    assert_equals_its_model(net, model, 64)
    for subnet, plain in assert_extracts_are_subnets(net, tmp_path):
        assert_is_a_timm_model(subnet, plain)


@pytest.mark.parametrize("name", NAMES[::3])
def test_sorting_channels_keeps_what_the_largest_subnet_computes(name):
    model, arguments = sized_model(name, 64)
    assert_sorting_keeps_the_largest(Supernet.from_timm(model, arguments=arguments).eval())
