"""What is extracted is one of timm's models: what timm does with its own models works, with the subnet's sizes."""

import copy

import onnxruntime
import pytest
import timm
import torch
from shared_networks import scramble
from timm.models._features import FeatureGetterNet, FeatureHookNet, FeatureListNet

from ofa.export.onnx import export_onnx
from ofa.supernet.supernet import Supernet

# ResNets name modules for their feature maps; the others are asked by hooks, or for their blocks.
NAMES = ["resnet18d", "mobilenetv4_conv_small_050", "tf_efficientnet_lite0", "ecaresnet26t"]


@pytest.fixture(scope="module", params=NAMES)
def made(request):
    whole = scramble(timm.create_model(request.param, num_classes=10))
    net = Supernet.from_timm(whole, elastic={"resolutions": [64]})
    return net.extract(net.space.smallest), whole


@pytest.fixture
def pair(made):
    """A subnet of fewer blocks and channels, as a plain model; and timm's model of that name. For one test alone."""
    return copy.deepcopy(made)


@pytest.fixture
def x():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_its_class_and_its_layers_are_timms(pair):
    plain, whole = pair
    assert type(plain) is type(whole)
    assert {type(module) for module in plain.modules()} <= {type(module) for module in whole.modules()}
    assert not any("ofa" in type(module).__module__ for module in plain.modules())
    assert sum(p.numel() for p in plain.parameters()) < sum(p.numel() for p in whole.parameters())


@torch.no_grad()
def test_features_then_head_are_the_logits(pair, x):
    plain, _ = pair
    features = plain.forward_features(x)
    assert torch.equal(plain.forward_head(features), plain(x))
    pooled = plain.forward_head(features, pre_logits=True)
    assert pooled.shape == (2, plain.head_hidden_size if hasattr(plain, "head_hidden_size") else plain.num_features)


@torch.no_grad()
def test_feature_maps_have_the_channels_that_it_tells(pair, x):
    plain, _ = pair
    told = [entry["num_chs"] for entry in plain.feature_info]
    last, maps = plain.forward_intermediates(x)
    assert torch.equal(last, plain.forward_features(x))
    assert [one.shape[1] for one in maps] == told
    assert [64 // one.shape[2] for one in maps] == [entry["reduction"] for entry in plain.feature_info]


@pytest.mark.parametrize("wrapper", [FeatureListNet, FeatureHookNet, FeatureGetterNet])
@torch.no_grad()
def test_as_a_backbone(pair, x, wrapper):
    plain, whole = pair
    if wrapper is FeatureListNet and type(plain) is not timm.models.ResNet:
        return  # timm makes these by hooks: their blocks lie in one sequence
    backbone = wrapper(plain, out_indices=(1, 2, 3))
    maps = backbone(x)
    assert [one.shape[1] for one in maps] == backbone.feature_info.channels()
    assert backbone.feature_info.reduction() == [64 // one.shape[2] for one in maps]
    assert backbone.feature_info.channels() != wrapper(whole, out_indices=(1, 2, 3)).feature_info.channels()


@torch.no_grad()
def test_another_classifier(pair, x):
    plain, _ = pair
    features = plain.forward_features(x)
    plain.reset_classifier(7)
    assert plain(x).shape == (2, 7) and plain.num_classes == 7
    plain.reset_classifier(0)
    assert plain(x).ndim == 2
    plain.reset_classifier(10)
    assert torch.equal(plain.forward_features(x), features)


def test_it_trains(pair, x):
    plain, _ = pair
    plain.reset_classifier(3)
    plain.train()(x).sum().backward()
    assert all(parameter.grad is not None for parameter in plain.parameters())
    plain.eval()


def test_onnx(x, tmp_path):
    net = Supernet.from_timm("resnet10t", num_classes=10, elastic={"resolutions": [64]})
    plain = net.extract(net.space.smallest)
    export_onnx(plain, tmp_path / "model.onnx", resolution=64)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (logits,) = session.run(None, {session.get_inputs()[0].name: x[:1].numpy()})
    with torch.no_grad():
        expected = plain(x[:1])
    torch.testing.assert_close(torch.from_numpy(logits), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
