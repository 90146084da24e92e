"""A fake-quantized network computes what its int8 file computes, and what it learns arrives in that file."""

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

STEPS = 2


def subnet(name):
    space = SearchSpace.preset(name)
    torch.manual_seed(0)
    return Supernet(space, num_classes=10).extract(space.smallest), space.smallest.resolution


def timm_model(name, side, **options):
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=10, **options), side


NETWORKS = {
    "ReLU6": lambda: subnet("mcu_32"),
    "hard-swish, squeeze-and-excite": lambda: subnet("tiny_mbv3"),
    "larger maps": lambda: subnet("mcu"),
    "EfficientNet-Lite": lambda: timm_model("efficientnet_lite0", 32),
    "swish": lambda: timm_model("tinynet_e", 32),
    "residual": lambda: timm_model("resnet10t", 32),
    "wide kernels, pools": lambda: timm_model("mobilenetv4_conv_small_050", 64),
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


@pytest.mark.parametrize("xnnpack", [False, True], ids=["reference", "xnnpack"])
@pytest.mark.parametrize("name", NETWORKS)
def test_logits_are_the_file_s_to_the_byte(name, xnnpack, tmp_path):
    model, side = NETWORKS[name]()
    network = fake_quantized(
        with_statistics(model), calibration(side), resolution=side, xnnpack=xnnpack, reference=not xnnpack
    )
    different = compared(network, tmp_path, side, xnnpack=xnnpack)
    print("EQ", name, xnnpack, (different == 0).mean(), abs(different).max())
    assert (different == 0).mean() > 0.95 and abs(different).max() <= 1
