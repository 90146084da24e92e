"""TFLite files compute what ONNX Runtime computes, for everything that a space can hold."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from shared_spaces import BUILT
from timm.layers import LayerNorm2d, SelectAdaptivePool2d
from torch import nn

pytest.importorskip("ai_edge_litert", reason="pip install 'once-for-all[tflite]'")

from shared_networks import scramble

from ofa.export.graph import onnx_graph
from ofa.export.onnx import export_onnx
from ofa.export.runtimes import litert, onnxruntime
from ofa.export.tflite.export import tflite_bytes
from ofa.export.tflite.flatbuffer import schema, unpack
from ofa.supernet import families
from ofa.supernet.space import SearchSpace
from ofa.supernet.supernet import Supernet

torch.set_num_threads(1)  # tests run beside each other


def space(act, *, kernel=3, stride=2, se=True):
    stages = [
        {"width": 8, "stride": stride, "depths": [2], "kernels": [kernel], "expands": [3], "act": act},
        {"width": 16, "stride": stride, "depths": [2], "kernels": [kernel], "expands": [2], "act": act, "se": se},
    ]
    stem = {"width": 8, "first_width": 8, "first_act": act}
    head = {"width": 24, "features": 32}
    return SearchSpace.from_dict({"resolutions": [17], "stem": stem, "stages": stages, "head": head, "act": act})


def images(shape, *, n=4):
    """Noise, and what noise never holds: one colour, ramps, a single bright pixel."""
    noise = np.random.default_rng(0).standard_normal((n, *shape), dtype=np.float32)
    ramp = np.broadcast_to(np.linspace(-2, 2, shape[2], dtype=np.float32), shape)
    pixel = np.zeros(shape, np.float32)
    pixel[:, -1, -1] = 8
    return np.stack([*noise, np.ones(shape, np.float32), ramp, ramp.transpose(0, 2, 1), pixel])


def assert_same(graph, shape):
    """Returns the file's bytes."""
    x = images(shape)
    expected = onnxruntime.run(onnxruntime.load(graph.SerializeToString()), x)
    content = tflite_bytes(graph)
    got = litert.run(litert.load(content), x)
    if got.ndim == 4:
        got = got.transpose(0, 3, 1, 2)
    assert got.shape == expected.shape and np.ptp(expected) > 0
    assert np.abs(got - expected).max() < 1e-5 * np.ptp(expected)
    return content


def codes(content):
    """(operator, version) of each operator in order."""
    names = {value: name for name, value in vars(schema.BuiltinOperator).items()}
    model = unpack(content)
    kinds = [(names[code.builtinCode], code.version) for code in model.operatorCodes]
    return [kinds[operator.opcodeIndex] for operator in model.subgraphs[0].operators]


def operators(content):
    return [name for name, _ in codes(content)]


@pytest.mark.parametrize("chans, size", [(3, 17), (1, 20)])
@pytest.mark.parametrize("kernel, stride", [(3, 2), (5, 2), (7, 2), (5, 1)])
@pytest.mark.parametrize("act", ["relu", "relu6", "hard_swish", "swish"])
def test_every_activation_kernel_and_stride(act, kernel, stride, chans, size):
    given = space(act, kernel=kernel, stride=stride)
    model = scramble(Supernet(given, num_classes=5, in_chans=chans).extract(given.largest))
    assert_same(onnx_graph(model, (chans, size, size)), (chans, size, size))


ANY_SIZE = [name for name in BUILT if families.presets()[name]["family"] != "vit"]


@pytest.mark.parametrize("name", ANY_SIZE)
def test_random_subnets_of_every_preset(name):
    given = SearchSpace.preset(name)
    net = Supernet(given, num_classes=5)
    for code, size in zip(given.sample(2, np.random.default_rng(0)), (32, 49), strict=True):
        model = scramble(net.extract(given.decode(code)))
        assert_same(onnx_graph(model, (3, size, size)), (3, size, size))


def test_microcontroller_spaces_need_few_operators():
    given = space("relu6", se=False)
    model = scramble(Supernet(given, num_classes=5).extract(given.largest))
    written = codes(assert_same(onnx_graph(model, (3, 32, 32)), (3, 32, 32)))
    # What bakenn compiles, at the versions of float32; and no activation stands alone.
    known = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "AVERAGE_POOL_2D", "RESHAPE", "PAD"}
    assert {name for name, _ in written} == known and {version for _, version in written} == {1}


@pytest.mark.parametrize("size, pads", [(16, 1), (17, 0)])
def test_even_sizes_with_stride_are_padded_as_torch_pads(size, pads):
    module = nn.Sequential(nn.Conv2d(2, 4, 3, stride=2, padding=1)).eval()
    content = assert_same(onnx_graph(module, (2, size, size)), (2, size, size))
    assert operators(content) == ["PAD"] * pads + ["CONV_2D"]
    if pads:  # the last row and column of torch's padding meet no window
        graph = unpack(content).subgraphs[0]
        assert list(graph.tensors[graph.operators[0].outputs[0]].shape) == [1, 17, 17, 2]


class Gate(nn.Module):
    """A hard sigmoid that no convolution precedes, and one whose input is read twice."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)
        self.gate = nn.Hardsigmoid()

    def forward(self, x):
        y = self.conv(x)
        return self.gate(y * self.gate(x)) + y


class Shared(nn.Module):
    """An activation that must not be fused: its input is read twice."""

    def __init__(self):
        super().__init__()
        self.conv, self.relu = nn.Conv2d(4, 4, 3, padding=1), nn.ReLU6()

    def forward(self, x):
        y = self.conv(x)
        return self.relu(y) + y


class Residual(nn.Module):
    """Activations right behind a sum and a product."""

    def __init__(self):
        super().__init__()
        self.relu, self.relu6, self.pool = nn.ReLU(), nn.ReLU6(), SelectAdaptivePool2d(pool_type="avg", flatten=False)

    def forward(self, x):
        y = self.relu(x + self.relu6(x))
        return self.relu6(self.pool(x) * y)


SEVERAL = {
    "full": nn.Sequential(nn.Conv2d(4, 6, (3, 5), stride=(2, 1), padding=(0, 2))),
    "valid": nn.Sequential(nn.Conv2d(4, 6, 3, stride=2)),
    "wide padding": nn.Sequential(nn.Conv2d(4, 6, 3, padding=2)),
    "1x1 stride": nn.Sequential(nn.Conv2d(4, 6, 1, stride=2)),
    "dilated": nn.Sequential(nn.Conv2d(4, 6, 3, padding=2, dilation=2)),
    "grouped": nn.Sequential(nn.Conv2d(4, 6, 3, padding=1, groups=2)),
    "max pool": nn.Sequential(nn.MaxPool2d(3, 2, 1)),
    "max pool of even maps": nn.Sequential(nn.Conv2d(4, 4, 2), nn.MaxPool2d(3, 2, 1)),
    "max pool of what is not negative": nn.Sequential(nn.Conv2d(4, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)),
    "average that rounds up": nn.Sequential(nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False)),
    "average of zeros, too": nn.Sequential(nn.AvgPool2d(3, 2, 1)),
    "flattened map": nn.Sequential(nn.Flatten(), nn.Linear(324, 3)),
    "norm": nn.Sequential(LayerNorm2d(4), nn.GELU(), nn.GELU(approximate="tanh")),
    "dilated depthwise": nn.Sequential(nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=4, bias=False)),
    "multiplier": nn.Sequential(nn.Conv2d(4, 8, 3, padding=1, groups=4)),
    "one pixel": nn.Sequential(
        nn.Conv2d(4, 6, 9), SelectAdaptivePool2d(pool_type="avg", flatten=False), nn.Flatten(), nn.Linear(6, 3, False)
    ),
    "classifier": nn.Sequential(
        SelectAdaptivePool2d(pool_type="avg", flatten=False), nn.Flatten(), nn.Linear(4, 3), nn.ReLU()
    ),
    "alone": nn.Sequential(nn.ReLU6()),
    "nothing": nn.Identity(),
    "gate": Gate(),
    "shared": Shared(),
    "residual": Residual(),
}


@pytest.mark.parametrize("name", SEVERAL)
def test_parts(name):
    torch.manual_seed(0)
    assert_same(onnx_graph(SEVERAL[name].eval(), (4, 9, 9)), (4, 9, 9))


def test_activations_are_fused_where_only_they_read():
    known = {name: operators(tflite_bytes(onnx_graph(SEVERAL[name].eval(), (4, 9, 9)))) for name in SEVERAL}
    assert known["shared"] == ["CONV_2D", "RELU6", "ADD"]
    assert known["residual"] == ["RELU6", "ADD", "AVERAGE_POOL_2D", "MUL"]
    assert known["classifier"] == ["AVERAGE_POOL_2D", "RESHAPE", "FULLY_CONNECTED"]
    assert known["one pixel"] == ["CONV_2D", "RESHAPE", "FULLY_CONNECTED"]  # the mean of one pixel is itself
    assert known["gate"] == ["CONV_2D", "ADD", "MUL", "MUL", "ADD", "MUL", "ADD"]


def test_dilated_depthwise_convolutions_have_the_version_that_knows_them():
    assert codes(tflite_bytes(onnx_graph(SEVERAL["dilated depthwise"].eval(), (4, 9, 9)))) == [("DEPTHWISE_CONV_2D", 2)]


def graph_of(op, *, shape=(2, 8, 8), constants=(), name="layer7", **attributes):
    weights = [onnx.numpy_helper.from_array(np.asarray(value), f"c{index}") for index, value in enumerate(constants)]
    node = helper.make_node(op, ["input", *(weight.name for weight in weights)], ["logits"], name=name, **attributes)
    given = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", *shape])
    graph = helper.make_graph([node], "g", [given], [helper.make_empty_tensor_value_info("logits")], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])


F = np.float32


@pytest.mark.parametrize(
    "graph, words",
    [
        (graph_of("Softplus"), "layer7: TFLite export does not know this Softplus: known are Add, AveragePool, Clip"),
        (graph_of("Softplus", name=""), "Softplus_logits: TFLite export does not know this Softplus"),
        (graph_of("Clip", constants=(F(0), F(1))), r"this Clip: it clips to \[0.0, 1.0\]; only 0 to 6"),
        (graph_of("Clip", constants=(F(0),)), r"this Clip: it clips to \[0.0, None\]; only 0 to 6"),
        (
            graph_of("Add", constants=(np.ones((2, 8, 8, 8), F),)),
            r"this Add: its constant has the shape \(2, 8, 8, 8\)",
        ),
        (graph_of("ReduceMean", constants=([0, 1],)), r"this ReduceMean: it reduces axes \[0, 1\], the batch among"),
        (graph_of("Flatten", axis=2), "this Flatten: axis 2; only 1 is known"),
        (graph_of("Reshape", constants=([2, 64],), shape=(128, 1, 1)), r"this Reshape: it reshapes to \[2, 64\]"),
        (graph_of("Transpose", perm=[1, 0, 2, 3]), r"this Transpose: it moves the batch: \[1, 0, 2, 3\]"),
        (graph_of("Gather", constants=([0, 1],), axis=1), "this Gather: it takes several positions"),
        (graph_of("Slice", constants=([0], [4], [2], [2])), r"this Slice: it takes steps of \[2\]"),
        (graph_of("Pad", constants=([0, 0, 1, 1] * 2,), mode="edge"), "this Pad: only zeros and mirrored borders"),
        (
            graph_of("MaxPool", kernel_shape=[2, 2], pads=[1] * 4),
            "this MaxPool: it is dilated, rounds up, or is padded",
        ),
        (graph_of("AveragePool", kernel_shape=[3, 3], pads=[1] * 4), "this AveragePool: it is padded, and the padding"),
        (graph_of("Gemm", constants=(np.ones((8, 8), F),)), "this Gemm: only input @ weight"),
        (graph_of("Conv", constants=(np.ones((4, 1, 1, 1), F),), group=2, shape=(2, 8, 8)), None),
        (graph_of("Conv", constants=(np.ones((4, 2, 1, 1), F),), group=2, shape=(4, 8, 8)), None),
        (graph_of("Conv", constants=(np.ones((4, 3, 1, 1), F),), group=2, shape=(4, 8, 8)), "of 4 channels is not 2-d"),
        (graph_of("Conv", constants=(np.ones((4, 2, 3, 3), F),), auto_pad="SAME_UPPER"), "auto_pad SAME_UPPER"),
        (graph_of("Relu", shape=(8,)), r"must be \(batch, channels, height, width\)"),
        (graph_of("Relu", shape=(3, "height", 8)), r"must be \(batch, channels, height, width\)"),
    ],
)
def test_unknown_operators_name_operator_and_layer(graph, words):
    if words is None:
        tflite_bytes(graph)
        return
    with pytest.raises(ValueError, match=words):
        tflite_bytes(graph)


def test_the_file_of_torchs_exporter_is_taken(tmp_path):
    given = SearchSpace.preset("tiny_mbv3")
    model = scramble(Supernet(given, num_classes=3).extract(given.smallest))
    graph = onnx.load(export_onnx(model, tmp_path / "model.onnx", resolution=20))
    content = assert_same(graph, (3, 20, 20))
    assert codes(content) == codes(tflite_bytes(onnx_graph(model, (3, 20, 20))))
    names = [tensor.name.decode() for tensor in unpack(content).subgraphs[0].tensors]
    assert {"input", "logits", "conv_stem", "conv_stem/weight", "blocks.2.0.conv_dw/padded"} <= set(names)


@pytest.mark.parametrize("act", ["relu6", "hard_swish"])
def test_tensorflow_lite_micro_agrees(act):
    micro = pytest.importorskip("tflite_micro", reason="pip install 'once-for-all[mcu]'")
    given = space(act)
    content = tflite_bytes(onnx_graph(scramble(Supernet(given, num_classes=5).extract(given.largest)), (3, 32, 32)))
    interpreter = micro.runtime.Interpreter.from_bytes(content, arena_size=1 << 20)
    x = images((3, 32, 32))
    got = []
    for image in x:
        interpreter.set_input(np.ascontiguousarray(image.transpose(1, 2, 0)[None]), 0)
        interpreter.invoke()
        got.append(interpreter.get_output(0)[0].copy())
    expected = litert.run(litert.load(content), x)
    assert np.abs(np.stack(got) - expected).max() < 1e-5 * np.ptp(expected)
