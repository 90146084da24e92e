"""What holds for the supernet of every timm model."""

import numpy as np
import timm
import torch
from shared_networks import scramble

from ofa.supernet.saving import load_subnet, save_subnet


def plain_model(name, **arguments):
    """A model of timm with random weights that matter."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=10, drop_rate=0.0, **arguments)
    return scramble(model).to(memory_format=torch.channels_last)


def noise(resolution):
    """Images."""
    generator = torch.Generator().manual_seed(resolution)
    images = torch.randn(2, 3, resolution, resolution, generator=generator)
    return images.contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def assert_equals_its_model(net, model, resolution):
    """``net``, whose weights are those of ``model``, computes what that computes, bit for bit."""
    images = noise(resolution)
    assert torch.equal(net(images), model(images))


@torch.no_grad()
def assert_extracts_are_subnets(net, folder, *, n=2):
    """Activated and extracted subnets agree bit for bit, saved ones, too; returns the extracted ones."""
    for name, transform in net.named_parameters():
        if ".transforms." in name:
            transform.add_(0.1 * torch.randn_like(transform))
    extracted = []
    drawn = map(net.space.decode, net.space.sample(n, np.random.default_rng(1)))
    for number, subnet in enumerate([net.space.smallest, *drawn]):
        plain, images = net.extract(subnet), noise(subnet.resolution)
        logits = net.activate(subnet)(images)
        assert torch.isfinite(logits).all()
        assert torch.equal(plain(images), logits)
        if not number:
            save_subnet(plain, subnet, folder)
            assert torch.equal(load_subnet(folder)(images), logits)
        extracted.append((subnet, plain))
    return extracted


@torch.no_grad()
def assert_is_a_timm_model(subnet, plain):
    """What users of timm do with a model works on the extracted ``plain``, too."""
    images = noise(subnet.resolution)
    features = plain.forward_features(images)
    assert torch.equal(plain.forward_head(features), plain(images))
    last, maps = plain.forward_intermediates(images)
    assert torch.equal(last, features)
    assert [one.shape[1] for one in maps] == [info["num_chs"] for info in plain.feature_info]
    assert {info["module"] for info in plain.feature_info} <= set(dict(plain.named_modules()))
    assert plain.num_features == maps[-1].shape[1]
    plain.reset_classifier(3)
    assert plain(images).shape == (2, 3)
    plain.reset_classifier(0)
    assert plain(images).shape == (2, plain.head_hidden_size)


@torch.no_grad()
def assert_sorting_keeps_the_largest(net):
    """Channels are in another order, and what the largest subnet computes is the same."""
    net = net.double()
    images = noise(net.space.resolutions[-1]).double()
    expected, before = net(images), {key: tensor.clone() for key, tensor in net.state_dict().items()}
    net.sort_channels()
    torch.testing.assert_close(net(images), expected, rtol=1e-6, atol=1e-7 * float(expected.abs().max()))
    assert any(not torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items())
