"""Small models of timm's ConvNeXt as supernets, with random weights."""

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
    "test_convnext",
    "test_convnext2",
    "test_convnext3",
    "convnext_zepto_rms",
    "convnext_zepto_rms_ols",
    "convnext_atto",
    "convnext_atto_ols",
    "convnext_atto_rms",
    "convnext_femto",
    "convnextv2_atto",
    "convnextv2_femto",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_supernet_is_its_model_and_each_of_its_subnets(name, tmp_path):
    model = plain_model(name)
    net = Supernet.from_timm(model, elastic={"resolutions": [32, 64]}).eval()
    assert {gene.role for gene in net.space.genes} == {"resolution", "depth", "kernel", "expand", "width"}
    assert_equals_its_model(net, model, 64)
    for subnet, plain in assert_extracts_are_subnets(net, tmp_path):
        assert_is_a_timm_model(subnet, plain)


@pytest.mark.parametrize("name", NAMES[::3])
def test_sorting_channels_keeps_what_the_largest_subnet_computes(name):
    assert_sorting_keeps_the_largest(Supernet.from_timm(plain_model(name)).eval())
