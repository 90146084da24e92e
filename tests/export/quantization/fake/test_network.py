"""A fake-quantized network computes what its int8 file computes, and what it learns arrives in that file."""

import copy

import numpy as np
import pytest
import timm
import torch
from torch import nn

pytest.importorskip("ai_edge_quantizer", reason="pip install 'once-for-all[tflite]'")

from ofa.export.quantization.fake.build import fake_quantized
from ofa.export.runtimes import litert
from ofa.export.tflite.export import export_tflite
from ofa.supernet.space import SearchSpace
from ofa.supernet.supernet import Supernet
from ofa.supernet.training.settings import Settings
from ofa.supernet.training.student import train_student


def subnet(name):
    space = SearchSpace.preset(name)
    torch.manual_seed(0)
    return Supernet(space, num_classes=10).extract(space.smallest), space.smallest.resolution


def timm_model(name):
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=10), 32


NETWORKS = {
    "ReLU6": lambda: subnet("mcu_32"),
    "hard-swish, squeeze-and-excite": lambda: subnet("tiny_mbv3"),
    "EfficientNet-Lite": lambda: timm_model("efficientnet_lite0"),
    "swish": lambda: timm_model("tinynet_e"),
    "residual, max pool": lambda: timm_model("resnet10t"),
}


def with_statistics(model):
    """Batch norms as of a trained network."""
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, std=0.3)
        nn.init.normal_(norm.running_mean, std=0.3)
        nn.init.uniform_(norm.running_var, 0.5, 2)
    return model.eval()


def pixels(count, side, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 3, side, side), np.uint8)


def normalized(images):
    return (torch.as_tensor(images).float() - 128) / 64


def calibration(side):
    return [normalized(pixels(8, side)).numpy()]


def compared(network, folder, side, *, xnnpack, count=16):
    """Differences of the logits to those of the file, in units of its int8 output, for each byte."""
    path = export_tflite(
        network.model,
        folder / "model.tflite",
        resolution=side,
        int8_data=calibration(side),
        int8_options={"bounds": network.bounds()},
        int8_check=False,
        xnnpack=xnnpack,
    )
    images = normalized(pixels(count, side, seed=1))
    session = litert.load(path) if xnnpack else litert.load_reference(path)
    with torch.no_grad():
        ours = network(images).numpy()
    return np.rint((ours - litert.run(session, images.numpy())) / session.output.scale).astype(int)


REFERENCE = [(name, False) for name in NETWORKS]
XNNPACK = [("ReLU6", True), ("hard-swish, squeeze-and-excite", True)]  # whose other operators round otherwise


@pytest.mark.parametrize("name, xnnpack", REFERENCE + XNNPACK)
def test_logits_are_the_file_s_to_the_byte(name, xnnpack, tmp_path):
    model, side = NETWORKS[name]()
    network = fake_quantized(
        with_statistics(model), calibration(side), resolution=side, xnnpack=xnnpack, reference=not xnnpack
    )
    different = compared(network, tmp_path, side, xnnpack=xnnpack)
    assert (different == 0).mean() > 0.98 and abs(different).max() <= 1


@pytest.fixture
def network():
    model, side = subnet("tiny_mbv3")
    model = with_statistics(model)
    return fake_quantized(model, calibration(side), resolution=side, xnnpack=False, reference=True), side


def test_all_that_the_file_holds_is_trained(network):
    net, side = network
    net(normalized(pixels(8, side))).square().mean().backward()
    assert not [name for name, parameter in net.named_parameters() if parameter.grad is None]
    assert not [name for name, parameter in net.model.named_parameters() if not parameter.grad.abs().any()]
    inside = net.high.grad != 0
    assert inside.float().mean() > 0.9 and net.high.grad[0] == 0  # the input's range is that of the images


def test_what_is_learnt_arrives_in_the_file(network, tmp_path):
    """The weights stay those of a plain model, and with the ranges they make the file that was trained."""
    net, side = network
    teacher, before, bounds = copy.deepcopy(net.model), copy.deepcopy(net.model.state_dict()), net.bounds()
    labels = torch.arange(16) % 10
    train_student(
        net,
        teacher,
        lambda epoch, start: [(torch.from_numpy(pixels(16, side, seed=epoch)), labels)] * 3,
        epochs=1,
        steps_per_epoch=3,
        lr=1e-3,
        resolution=side,
        normalize=normalized,
        settings=Settings(optimizer="adamw"),
        progress=False,
    )
    assert (compared(net, tmp_path, side, xnnpack=False) == 0).mean() > 0.95
    state = net.model.state_dict()
    assert state.keys() == before.keys() and net.bounds() != bounds
    moved = [name for name in state if not torch.equal(state[name], before[name])]
    assert {name for name, _ in net.model.named_parameters()} == set(moved)  # statistics stay


def test_a_copy_trains_itself(network):
    net, side = network
    images = normalized(pixels(2, side))
    with torch.no_grad():
        expected = net(images)
        other = copy.deepcopy(net)
        for parameter in other.model.parameters():
            parameter.zero_()
        assert torch.equal(net(images), expected) and not torch.equal(other(images), expected)


def test_what_has_no_fake_quantization_is_named():
    model = timm.create_model("convnext_atto", num_classes=4, depths=(1, 1, 1, 1)).eval()
    with pytest.raises(NotImplementedError, match="a norm over channels"):
        fake_quantized(model, calibration(32), resolution=32)
