"""Feature maps of elastic and of extracted networks, and what timm does with an extracted model besides."""

import copy

import pytest
import timm
import torch
from shared_networks import images, scramble, subnets_of

import ofa
from ofa.supernet.space import SearchSpace

SPACES = {
    "tiny_mbv3": lambda: SearchSpace.preset("tiny_mbv3"),
    **{
        name: lambda name=name: SearchSpace.from_timm(name, resolutions=[64])
        for name in (
            "mobilenetv4_conv_small_035",
            "mnasnet_small",
            "resnet10t",
            "convnext_atto",
            "vit_tiny_patch16_224",
        )
    },
}


@pytest.fixture(scope="module", params=SPACES)
def net(request):
    try:
        space = SPACES[request.param]()
    except ValueError as error:
        pytest.skip(str(error))
    return scramble(ofa.Supernet(space, num_classes=7)).eval()


@pytest.fixture(scope="module")
def subnets(net):
    return [net.space.smallest, *subnets_of(net.space, 2)]


@torch.no_grad()
def test_the_active_subnet_has_the_maps_of_the_extracted_one(net, subnets):
    for subnet in subnets:
        x = images(net.space, 1)
        active = net.activate(subnet).forward_intermediates(x, intermediates_only=True)
        cut = net.extract(subnet).forward_intermediates(x, intermediates_only=True)
        assert len(active) == len(cut) > 1
        assert all(map(torch.equal, active, cut))


@torch.no_grad()
def test_timms_feature_info_is_that_of_the_subnet(net, subnets):
    for subnet in subnets:
        model = net.extract(subnet)
        if hasattr(model, "pos_embed"):
            pytest.skip("timm reads the tokens of its blocks as maps by forward_intermediates alone")
        x = images(net.space, 1)
        nested = "." in model.feature_info[-1]["module"]
        listed = timm.models.FeatureListNet(model, range(len(model.feature_info)), flatten_sequential=nested).eval()
        maps = listed(x)
        assert [one.shape[1] for one in maps] == [entry["num_chs"] for entry in model.feature_info]


@torch.no_grad()
def test_the_classifier_can_be_another_one_or_none(net, subnets):
    for subnet in subnets:
        model, x = net.extract(subnet), images(net.space, 2)
        features = model.forward_features(x)
        assert model.forward_head(features).shape == (2, 7)
        model.reset_classifier(3)
        assert model(x).shape == (2, 3)
        model.reset_classifier(0)
        assert model(x).shape == (2, model.head_hidden_size)
        before = model.forward_head(features, pre_logits=True)
        assert torch.equal(model(x), before)


def test_gradients_of_maps_reach_what_is_active_alone(net):
    net = copy.deepcopy(net).train()
    net.activate(net.space.smallest)
    sum(
        one.square().sum() for one in net.forward_intermediates(images(net.space, 2), intermediates_only=True)
    ).backward()
    own = net.extract(net.space.smallest).state_dict()
    reached = 0
    for name, parameter in net.model.named_parameters():
        if parameter.grad is None or ".transforms." in name:
            continue
        outside = parameter.grad.clone()
        # Kernels and heads are no prefix of their axes.
        if name in own and own[name].shape[2:] == outside.shape[2:] and "qkv" not in name:
            outside[tuple(slice(size) for size in own[name].shape)] = 0
            assert not outside.any(), name
            reached += 1
    assert reached > 5
