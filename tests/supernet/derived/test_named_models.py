"""Small models of timm's convolutional classes as supernets, with random weights: every claim that is about numbers."""

import numpy as np
import pytest
import timm
import torch
from shared_networks import scramble

from ofa.supernet.saving import load_subnet, save_subnet
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


def plain_model(name, **arguments):
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=10, drop_rate=0.0, **arguments)
    return scramble(model).to(memory_format=torch.channels_last)


def subnets_of(space, n):
    return [space.smallest, *map(space.decode, space.sample(n, np.random.default_rng(1)))]


def noise(resolution):
    generator = torch.Generator().manual_seed(resolution)
    images = torch.randn(2, 3, resolution, resolution, generator=generator)
    return images.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_a_supernet_is_its_model_and_each_of_its_subnets(name, tmp_path):
    model = plain_model(name)
    net = Supernet.from_timm(model, elastic=ELASTIC).eval()
    images = noise(40)
    expected = model(images)
    assert torch.equal(net(images), expected)

    for name, transform in net.named_parameters():
        if ".transforms." in name:
            transform.add_(0.1 * torch.randn_like(transform))
    for number, subnet in enumerate(subnets_of(net.space, 1)):
        plain, images = net.extract(subnet), noise(subnet.resolution)
        logits = net.activate(subnet)(images)
        assert torch.isfinite(logits).all()
        assert torch.equal(plain(images), logits)
        if not number:
            save_subnet(plain, subnet, tmp_path)
            assert torch.equal(load_subnet(tmp_path)(images), logits)


@pytest.mark.parametrize("name", sorted({*NAMES[::4], "ecaresnet26t"}))
@torch.no_grad()
def test_sorting_channels_keeps_what_the_largest_subnet_computes(name):
    net, images = Supernet.from_timm(plain_model(name), elastic=ELASTIC).eval().double(), noise(40).double()
    expected, before = net(images), {key: tensor.clone() for key, tensor in net.state_dict().items()}
    net.sort_channels()
    torch.testing.assert_close(net(images), expected, rtol=1e-6, atol=1e-7 * float(expected.abs().max()))
    assert any(not torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items())
