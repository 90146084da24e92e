"""Channels without weights keep their biases in int8."""

import numpy as np
import pytest
import torch
from timm.layers import SelectAdaptivePool2d
from torch import nn

pytest.importorskip("ai_edge_quantizer", reason="pip install 'once-for-all[tflite]'")

from ofa.export.graph import onnx_graph
from ofa.export.quantization.small_weights import with_room_for_biases
from ofa.export.quantization.tflite import quantize_tflite
from ofa.export.runtimes import litert
from ofa.export.tflite.export import tflite_bytes
from ofa.export.tflite.flatbuffer import schema, unpack

SHAPE = (4, 6, 6)


def network(*, weight):
    """A depthwise convolution, one channel of which has weights of this size; and a 1x1 convolution after it."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.ReLU(), nn.Conv2d(4, 3, 1)).eval()
    with torch.no_grad():
        model[0].weight[2].fill_(weight)
        model[0].bias[2] = 0.7
    return model


@pytest.mark.parametrize("weight", [0.0, 1e-12, 1e-8])
def test_a_bias_without_weights_stays(weight):
    images = np.random.default_rng(0).standard_normal((8, *SHAPE), dtype=np.float32)
    model = network(weight=weight)
    with torch.no_grad():
        expected = model(torch.from_numpy(images)).numpy().transpose(0, 2, 3, 1)
    for options in ({}, {"correct_bias": True}):
        content = quantize_tflite(tflite_bytes(onnx_graph(model, SHAPE)), [images], **options)
        found = litert.run(litert.load_reference(content), images)
        assert np.abs(found - expected).max() < 0.03 * np.ptp(expected)


def test_other_networks_stay_as_they_are():
    content = tflite_bytes(onnx_graph(network(weight=0.1), SHAPE))
    bounds = dict.fromkeys(("input", "0", "1", "2", "logits"), (-3.0, 3.0))
    assert with_room_for_biases(content, bounds) == content


@pytest.mark.parametrize("features", [1e-3, 1e-9])
def test_a_classifier_of_features_that_are_nearly_0_keeps_its_biases(features):
    torch.manual_seed(0)
    layers = [nn.Conv2d(4, 4, 1), nn.ReLU(), SelectAdaptivePool2d(pool_type="avg", flatten=True), nn.Linear(4, 3)]
    model = nn.Sequential(*layers).eval()
    with torch.no_grad():
        model[0].weight.mul_(features)
        model[0].bias.mul_(features)
    images = np.random.default_rng(0).standard_normal((8, *SHAPE), dtype=np.float32)
    content = quantize_tflite(tflite_bytes(onnx_graph(model, SHAPE)), [images])
    found = litert.run(litert.load_reference(content), images)
    with torch.no_grad():
        assert np.abs(found - model(torch.from_numpy(images)).numpy()).max() < 0.02
    model = unpack(content)
    integers = [tensor for tensor in model.subgraphs[0].tensors if tensor.type == schema.TensorType.INT32]
    biases = [np.asarray(model.buffers[tensor.buffer].data, np.uint8).view("<i4") for tensor in integers]
    assert max(np.abs(values.astype(np.int64)).max() for values in biases if len(values)) < 2**30  # sums fit, too
