"""Graphs rewritten for XNNPACK compute the same, faster."""

import numpy as np
import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from ofa.export.graph import onnx_graph
from ofa.export.runtimes import onnxruntime
from ofa.export.runtimes.timing import interleaved
from ofa.export.tflite.xnnpack import for_xnnpack

torch.set_num_threads(1)  # tests run beside each other


def depthwise(*, kernel=7, stride=1, groups=8, **options):
    torch.manual_seed(0)
    norm = BatchNormAct2d(8, act_layer=nn.Hardswish)
    conv = nn.Conv2d(8, 8, kernel, stride=stride, groups=groups, **{"padding": kernel // 2, **options})
    return nn.Sequential(conv, norm, nn.Conv2d(8, 4, 1)).eval()


def ops(graph):
    return [node.op_type for node in graph.graph.node if node.op_type != "Identity"]


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(1, 1), (4, 7), (16, 16), (17, 12)])
def test_same_numbers_from_smaller_kernels(size, stride, int8):
    graph = onnx_graph(depthwise(stride=stride), (8, *size))
    rewritten = for_xnnpack(graph, int8=int8)
    activation = ["HardSigmoid", "Mul"] if int8 else ["HardSwish"]
    assert ops(graph) == ["Conv", "HardSwish", "Conv"]
    assert ops(rewritten) == ["Conv"] * 3 + ["Add"] * 2 + activation + ["Conv"]
    x = np.random.default_rng(0).standard_normal((3, 8, *size), dtype=np.float32)
    expected, got = (onnxruntime.run(onnxruntime.load(one.SerializeToString()), x) for one in (graph, rewritten))
    assert got.shape == expected.shape and np.ptp(expected) > 0
    assert np.abs(got - expected).max() < 1e-5 * np.ptp(expected)


@pytest.mark.parametrize(
    "module",
    [
        depthwise(kernel=5),
        depthwise(groups=1),
        depthwise(groups=4),
        depthwise(padding=2),
        depthwise(padding=6, dilation=2),
    ],
)
def test_other_convolutions_stay(module):
    graph = onnx_graph(module, (8, 16, 16))
    assert for_xnnpack(graph, int8=False) == graph


@pytest.mark.parametrize("int8", [False, True])
def test_the_rewritten_block_is_faster(int8):
    litert = pytest.importorskip(
        "ofa.export.runtimes.litert", reason="pip install 'once-for-all[tflite]'", exc_type=ValueError
    )
    from ofa.export.tflite.export import tflite_bytes

    shape = (64, 14, 14)
    module = nn.Sequential(nn.Conv2d(64, 64, 7, padding=3, groups=64), nn.Hardswish()).eval()
    plain, fast = tflite_bytes(onnx_graph(module, shape)), litert.convert(module, shape)
    if int8:
        quantize = pytest.importorskip(
            "ofa.export.quantization.tflite", reason="pip install 'once-for-all[tflite]'", exc_type=ValueError
        )
        noise = np.random.default_rng(0).standard_normal((2, *shape), dtype=np.float32)
        plain, fast = quantize.quantize_tflite(plain, [noise]), litert.convert_int8(module, shape)
    calls = [litert.bind(litert.load(content), (1, *shape)) for content in (plain, fast)]
    slow, quick = np.median(interleaved(calls, rounds=9, progress=False), axis=0)
    assert 1.5 * quick < slow
