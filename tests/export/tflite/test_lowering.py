"""Lowered lists of operators are those of the files that are written: their kinds, their order, every shape."""

import numpy as np
import pytest
import torch
from shared_spaces import BY_HAND
from timm.layers import Conv2dSame

pytest.importorskip("flatbuffers", reason="pip install 'once-for-all[tflite]'")

from shared_timm import network
from traced_operators import operators_of

from ofa.export.graph import onnx_graph
from ofa.export.tflite.export import tflite_bytes
from ofa.export.tflite.flatbuffer import schema, unpack
from ofa.export.tflite.lowering import lowered
from ofa.supernet import families
from ofa.supernet.operators import Builder, Operator, Operators
from ofa.supernet.space import SearchSpace

KINDS = {
    "CONV_2D": "conv",
    "DEPTHWISE_CONV_2D": "depthwise",
    "PAD": "pad",
    "ADD": "add",
    "MEAN": "pool",
    "AVERAGE_POOL_2D": "pool",
    "RESHAPE": "reshape",
    "FULLY_CONNECTED": "linear",
    "MAX_POOL_2D": "max_pool",
}
NAMES = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}


def written(module, shape):
    """(kind, channels, positions) of the operators of a TFLite file."""
    model = unpack(tflite_bytes(onnx_graph(module, shape)))
    graph = model.subgraphs[0]
    for operator in graph.operators:
        _, *sides, channels = graph.tensors[operator.outputs[0]].shape
        yield KINDS[NAMES[model.operatorCodes[operator.opcodeIndex].builtinCode]], channels, int(np.prod(sides))


@pytest.mark.parametrize("name", [name for name in BY_HAND if name.startswith("mcu")])
def test_a_lowered_list_is_the_file(name):
    """Resolutions of every kind: those whose maps have odd sides, and down to a last map of one position."""
    space = SearchSpace.preset(name)
    family = families.model(space.family)
    for subnet in map(space.decode, space.sample(4, np.random.default_rng(0))):
        model = family.build(family.describe(space, subnet, num_classes=5, in_chans=3)).eval()
        for side in (subnet.resolution, subnet.resolution - 1, subnet.resolution // 2 + 2, 16):
            part = lowered(operators_of(model, 3), side)
            shapes = part.shapes(side)[1:]
            listed = [(op.kind, *(shape.channels, shape.positions)) for op, shape in zip(part, shapes, strict=True)]
            assert listed == list(written(model, (3, side, side)))


def test_padding_is_written_where_it_is_lacking_and_an_average_of_one_position_is_nothing():
    made = Builder(4)
    narrow = made.conv(made.conv(0, 4, kernel=3, stride=2), 6)
    made.conv(made.add(Operator("pool", (narrow,), 6)), 9)
    part = made.done()
    assert [operator.kind for operator in lowered(part, 8)] == ["pad", "conv", "conv", "pool", "conv"]
    assert lowered(part, 7) == part
    assert [operator.kind for operator in lowered(part, 2)] == ["pad", "conv", "conv", "conv"]
    assert lowered(part, 2).operators[-1].inputs == (3,)


def test_the_padding_of_tensorflow_needs_no_pad():
    """TFLite has it; its sides are those of timm's convolutions for weights of TensorFlow."""
    for kernel, stride in ((3, 2), (5, 2), (3, 1), (2, 2)):
        part = Operators(4, (Operator("conv", (0,), 6, kernel, stride, padding=kernel // 2, same=True),))
        for side in range(kernel, 10):
            assert [operator.kind for operator in lowered(part, side)] == ["conv"]
            layer = Conv2dSame(4, 6, kernel, stride)
            assert part.shapes(side)[-1].side == layer(torch.zeros(1, 4, side, side)).shape[-1]


@pytest.mark.parametrize("side", [32, 33, 36])
def test_a_residual_network_with_a_pool_is_the_file(side):
    """Its pool is padded by an operator of its own, too."""
    model = network("resnet18", size=side)
    part = lowered(operators_of(model, 3), side)
    shapes = part.shapes(side)[1:]
    listed = [(op.kind, *(shape.channels, shape.positions)) for op, shape in zip(part, shapes, strict=True)]
    assert listed == list(written(model, (3, side, side)))
