"""Small models of timm's convolutional classes as supernets, with random weights: every claim that is about numbers."""

import pytest
from timm_supernets import (
    assert_equals_its_model,
    assert_extracts_are_subnets,
    assert_sorting_keeps_the_largest,
    plain_model,
)

from ofa.supernet.supernet import Supernet

ELASTIC = {"resolutions": [32, 40]}
NAMES = [
    "semnasnet_050",
    "lcnet_050",
    "tf_mobilenetv3_small_100",
    "tf_mobilenetv3_small_075",
    "mobilenetv1_100h",
    "mobilenetv2_050",
    "mobilenetv3_small_075",
    "tinynet_d",
    "lcnet_035",
    "efficientnet_b0",
    "efficientnet_blur_b0",
    "efficientnet_cc_b0_4e",
    "efficientnet_el",
    "efficientnet_lite0",
    "efficientnet_es_pruned",
    "mobilenetv1_100",
    "mobilenet_edgetpu_v2_xs",
    "mobilenetv2_035",
    "mixnet_s",
    "mnasnet_050",
    "mnasnet_small",
    "fbnetc_100",
    "spnasnet_100",
    "tinynet_e",
    "tinynet_c",
    "tf_efficientnet_lite0",
    "mobilenetv3_small_050",
    "mobilenetv3_small_100",
    "tf_mobilenetv3_small_minimal_100",
    "mobilenetv3_rw",
    "lcnet_075",
    "mobilenetv4_conv_small",
    "mobilenetv4_conv_blur_medium",
    "mobilenetv4_hybrid_medium",
    "resnet10t",
    "resnet14t",
    "resnet18",
    "resnet18d",
    "seresnet18",
    "resnetblur18",
    "ecaresnet26t",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_supernet_is_its_model_and_each_of_its_subnets(name, tmp_path):
    model = plain_model(name)
    net = Supernet.from_timm(model, elastic=ELASTIC).eval()
    assert_equals_its_model(net, model, 40)
    assert_extracts_are_subnets(net, tmp_path, n=1)


@pytest.mark.parametrize("name", sorted({*NAMES[::4], "ecaresnet26t"}))
def test_sorting_channels_keeps_what_the_largest_subnet_computes(name):
    assert_sorting_keeps_the_largest(Supernet.from_timm(plain_model(name), elastic=ELASTIC).eval())
