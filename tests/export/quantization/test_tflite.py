"""int8 files: their content, their accuracy, and the options that raise it."""

import copy
import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch
from torch import nn

pytest.importorskip("ai_edge_quantizer", reason="pip install 'once-for-all[tflite]'")

from ofa.export import lifetimes
from ofa.export.graph import onnx_graph
from ofa.export.onnx import export_onnx, read_metadata
from ofa.export.quantization.activations import Activations
from ofa.export.quantization.equalize import equalize_channels
from ofa.export.quantization.onnx import quantize_onnx
from ofa.export.quantization.plan import live_tensors
from ofa.export.quantization.ranges import calibration_images, ranges
from ofa.export.quantization.tflite import quantize_tflite
from ofa.export.runtimes import litert, onnxruntime
from ofa.export.tflite.export import tflite_bytes
from ofa.export.tflite.flatbuffer import pack, schema, unpack
from ofa.supernet.space import SearchSpace
from ofa.supernet.supernet import Supernet

SHAPE = (3, 20, 20)
CODES = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}


def images(count, seed=0, shape=SHAPE):
    return np.random.default_rng(seed).standard_normal((count, *shape), dtype=np.float32)


def subnet(*, act="relu6", se=False, widths=(8, 16)):
    """The largest of a small space, its batch norms random."""
    stages = [
        {"width": width, "stride": stride, "act": act, "se": se, "depths": [3], "kernels": [5], "expands": [2]}
        for width, stride in zip(widths, (1, 2), strict=True)
    ]
    space = SearchSpace.from_dict(
        {
            "resolutions": [20],
            "act": act,
            "stem": {"width": 8, "first_width": 8, "first_act": act},
            "stages": stages,
            "head": {"width": 32, "features": 24},
        }
    )
    torch.manual_seed(0)
    model = Supernet(space, num_classes=10).extract(space.largest)
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, std=0.3)
    return model


def tflite(model, shape=SHAPE):
    return tflite_bytes(onnx_graph(model, shape))


@pytest.fixture(scope="module")
def network():
    model = subnet()
    return model, tflite(model)


@torch.no_grad()
def error(model, content, data):
    """Root mean square of the logits' differences, as a share of their range."""
    exact, got = model(torch.from_numpy(data)).numpy(), litert.run(litert.load(content), data)
    exact = exact.transpose(0, 2, 3, 1) if exact.ndim == 4 else exact
    return float(np.sqrt(np.mean((exact - got) ** 2)) / np.ptp(exact))


@pytest.mark.parametrize("act, se", [("relu6", False), ("relu", False), ("hard_swish", True), ("swish", True)])
def test_int8_stays_close_to_float(act, se):
    model = subnet(act=act, se=se)
    content = quantize_tflite(tflite(model), [images(10), images(6, seed=1)])
    assert error(model, content, images(50, seed=2)) < 0.03


def test_everything_is_int8(network):
    model = unpack(quantize_tflite(network[1], [images(4)]))
    graph, kinds = model.subgraphs[0], schema.TensorType
    assert [graph.tensors[index].type for index in (*graph.inputs, *graph.outputs)] == [kinds.INT8, kinds.INT8]
    assert {tensor.type for tensor in graph.tensors} == {kinds.INT8, kinds.INT32}
    for operator in graph.operators:
        name = CODES[model.operatorCodes[operator.opcodeIndex].builtinCode]
        if name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            channels = graph.tensors[operator.outputs[0]].shape[-1]
            # TFLite before 2.10 reads the first scale of a classifier's weights for all of them.
            scales = 1 if name == "FULLY_CONNECTED" else channels
            for weight in operator.inputs[1:3]:
                assert len(graph.tensors[weight].quantization.scale) == scales
    assert not any(code.version < 2 for code in model.operatorCodes if CODES[code.builtinCode] != "RESHAPE")
    # Same operators as before: nothing is converted back to float between them.
    assert len(graph.operators) == len(unpack(network[1]).subgraphs[0].operators)


def test_names_and_signature_stay(network):
    before, after = unpack(network[1]), unpack(quantize_tflite(network[1], [images(1)]))
    for model in (before, after):
        signature = model.signatureDefs[0]
        names = [
            model.subgraphs[0].tensors[entry[0].tensorIndex].name for entry in (signature.inputs, signature.outputs)
        ]
        assert (signature.signatureKey, names) == (b"serving_default", [b"input", b"logits"])


def test_large_weights_stay_inside_the_flatbuffer():
    """From 256 KB on the quantizer moves them out; TensorFlow Lite Micro then reads garbage."""
    model = nn.Sequential(nn.Conv2d(3, 300, 1), nn.ReLU6(), nn.Conv2d(300, 1000, 1)).eval()
    content = quantize_tflite(tflite(model, (3, 2, 2)), [images(2, shape=(3, 2, 2))])
    buffers = unpack(content).buffers
    assert max(len(buffer.data) for buffer in buffers if buffer.data is not None) == 300_000
    assert not any(buffer.offset > 1 or buffer.size for buffer in buffers)


@pytest.mark.parametrize("options", [{}, {"percentile": 99.0}, {"equalize": True}, {"correct_bias": True}])
def test_same_input_same_bytes(network, options):
    batches = [images(3), images(2, seed=1)]
    content = quantize_tflite(network[1], iter(batches), **options)
    assert content == quantize_tflite(network[1], [np.concatenate(batches)], **options)
    assert content != quantize_tflite(network[1], [images(5, seed=9)], **options)


def test_ranges_are_the_extremes_seen(network):
    """Not a moving average of them, which clips."""
    data = images(6)
    data[3, 1, 5, 5] = 40
    content = quantize_tflite(network[1], [data])
    given = litert.load(content).input
    assert given.scale * (127 - given.zero_point) == pytest.approx(40, rel=0.02)


def test_images_all_alike_and_dark(network):
    """Ranges of nothing at all must not divide by zero."""
    content = quantize_tflite(network[1], [np.zeros((2, *SHAPE), np.float32)])
    assert np.isfinite(litert.run(litert.load(content), images(2))).all()


@pytest.mark.parametrize(
    "batches, message",
    [
        ([], "there are no calibration images"),
        ([images(0)], "there are no calibration images"),
        ([images(1), images(1, shape=(3, 8, 8))], r"batch 1 has shape \(1, 3, 8, 8\); it must be .* \(3, 20, 20\)"),
        ([np.zeros((20, 20), np.float32)], r"batch 0 has shape \(20, 20\); it must be \(n, channels, height, width\)"),
        ([images(1, shape=(1, 20, 20))], r"has shape \(1, 1, 20, 20\); it must be .* \(3, 20, 20\)"),
        (np.zeros((2, *SHAPE), np.uint8), "holds uint8 values, as raw pixels are"),
        ((images(2) * 20 + 127).clip(0, 255), "as raw pixels are"),
        ([np.full((1, *SHAPE), np.nan)], "not finite"),
        ([np.full((1, *SHAPE), np.inf)], "not finite"),
    ],
)
def test_images_that_cannot_be_used(network, tmp_path, batches, message):
    with pytest.raises(ValueError, match=message):
        quantize_tflite(network[1], batches)
    source = tmp_path / "model.onnx"
    onnx.save(onnx_graph(network[0], SHAPE), source)
    with pytest.raises(ValueError, match=message):
        quantize_onnx(source, tmp_path / "int8.onnx", batches)
    assert not (tmp_path / "int8.onnx").exists()


def test_models_that_cannot_be_quantized(network):
    for content in (b"", b"garbage", network[1][: len(network[1]) // 2]):
        with pytest.raises(ValueError, match="the TFLite model is damaged or none"):
            quantize_tflite(content, [images(1)])
    with pytest.raises(ValueError, match="is int8 already"):
        quantize_tflite(quantize_tflite(network[1], [images(1)]), [images(1)])


@pytest.mark.parametrize(
    "package, module, message",
    [
        (
            "ai_edge_quantizer",
            "quantization.tflite",
            "ai-edge-quantizer is not installed: pip install 'once-for-all[tflite]'",
        ),
        (
            "ai_edge_litert",
            "quantization.tflite",
            "ai-edge-litert is not installed: pip install 'once-for-all[tflite]'",
        ),
        ("tflite_micro", "runtimes.tflm", "tflite-micro is not installed: pip install 'once-for-all[mcu]'"),
    ],
)
def test_an_extra_that_is_not_installed(package, module, message):
    code = (
        f"import sys; sys.modules[{package!r}] = None\ntry:\n    import ofa.export.{module}\n"
        "except ValueError as error:\n    print(error)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == message


@pytest.mark.parametrize("percentile", [50, 0, -1, 100.1, float("nan")])
def test_invalid_percentiles(network, percentile):
    with pytest.raises(ValueError, match=r"percentile is .*; it must be above 50 and at most 100"):
        quantize_tflite(network[1], [images(1)], percentile=percentile)


@pytest.mark.parametrize("percentile", [75.0, 99.0, 99.9])
def test_percentiles_are_those_of_all_values(percentile):
    rng = np.random.default_rng(0)
    tensors = {"both": rng.standard_normal((40, 500)), "positive": rng.exponential(size=(40, 500))}
    indices = np.arange(40, dtype=np.float32).reshape(-1, 1, 1, 1)

    def run(index):
        return [(name, values[int(index.item())]) for name, values in tensors.items()]

    found = ranges(indices, run, percentile=percentile, whole=["kept"])
    for name, values in tensors.items():
        step = np.ptp(values) / 8000
        high, low = (sign * np.percentile(sign * values, percentile, method="inverted_cdf") for sign in (1, -1))
        assert found[name] == pytest.approx((min(low, 0), high), abs=step)
    assert ranges(indices, run, percentile=percentile, whole=tensors) == ranges(indices, run)


def test_calibration_images_are_joined():
    assert np.array_equal(
        calibration_images(iter([images(2), images(0), images(1, seed=1)])),
        np.concatenate([images(2), images(1, seed=1)]),
    )


# -- remedies ---------------------------------------------------------------------------------------------------------


def test_percentile_helps_against_few_large_values():
    """A channel that is hardly ever on, and hardly read then, makes the others' steps coarse."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 4, 1)).eval()
    with torch.no_grad():
        model[0].weight[0], model[0].bias[0] = torch.tensor([100.0, 0, 0]).reshape(3, 1, 1), -350
        model[2].weight[:, 0] = 1e-3
    source, data = tflite(model), images(20)
    errors = [
        error(model, quantize_tflite(source, [data], percentile=percentile), data) for percentile in (100.0, 99.9)
    ]
    assert errors[1] < 0.6 * errors[0]


def uneven(model, factor):
    """The same function, the residual streams' first channel ``factor`` times as large."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        blocks = [block for stage in model.blocks[1:-1] for block in stage]
        for block, reader in zip(
            blocks, [*(block.conv_pw for block in blocks[1:]), model.blocks[-1][0].conv], strict=True
        ):
            block.bn3.weight[0] *= factor
            block.bn3.bias[0] *= factor
            reader.weight[:, 0] /= factor
    return model


def test_equalization_helps_against_one_large_channel(network):
    model = uneven(subnet(widths=(16, 24)), 64.0)
    source, data = tflite(model), images(32)
    errors = [error(model, quantize_tflite(source, [data], equalize=equalize), data) for equalize in (False, True)]
    assert errors[1] < 0.4 * errors[0]


@pytest.mark.parametrize("act, se", [("relu6", False), ("relu", False), ("hard_swish", True), ("swish", True)])
def test_equalization_keeps_the_function_bit_for_bit(act, se):
    source, data = tflite(uneven(subnet(act=act, se=se), 50.0)), images(8)
    changed = equalize_channels(source, data)
    assert changed != source
    sessions = [litert.load_reference(content) for content in (source, changed)]
    assert np.array_equal(*(litert.run(session, images(4, seed=1)) for session in sessions))


def test_equalization_leaves_alone_what_cannot_be_scaled():
    """Between two convolutions stands a ReLU6, or one of them makes the output."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU6(), nn.Conv2d(8, 4, 1)).eval()
    assert equalize_channels(tflite(model), images(4)) == tflite(model)
    model[1] = nn.ReLU()  # is homogeneous
    assert equalize_channels(tflite(model), images(4)) != tflite(model)


def test_bias_correction_removes_the_mean_error(network):
    _, source = network
    data = images(64)
    exact = Activations(source)
    spread = {}
    for correct_bias in (False, True):
        got = Activations(quantize_tflite(source, [data], percentile=97.0, correct_bias=correct_bias))
        name = exact.ends[1]
        difference = np.mean([got(data[i : i + 1])[name] - exact(data[i : i + 1])[name] for i in range(64)], axis=0)
        spread[correct_bias] = np.abs(difference).max()
    assert spread[True] < 0.35 * spread[False]


def test_bias_correction_knows_every_kind_of_layer():
    """Weights far from their grid, one kind of layer each: the mean error that remains is that of rounding the bias."""
    torch.manual_seed(0)
    layers = {
        "conv": nn.Conv2d(4, 6, 3, padding=1, stride=2),
        "depthwise": nn.Conv2d(4, 4, 5, padding=2, groups=4),
        "padded": nn.Conv2d(4, 4, 3, padding=0),
    }
    data = images(8, shape=(4, 9, 11)) + 1
    for name, layer in layers.items():
        source = tflite(nn.Sequential(layer).eval(), (4, 9, 11))
        exact = Activations(source)
        means = []
        for correct_bias in (False, True):
            got = Activations(quantize_tflite(source, [data], correct_bias=correct_bias))
            differences = [
                got(data[i : i + 1])[exact.ends[1]] - exact(data[i : i + 1])[exact.ends[1]] for i in range(8)
            ]
            means.append(np.abs(np.mean(differences, axis=(0, 1, 2, 3))).max())
        assert means[1] < 0.7 * means[0], name


# -- memory plan ------------------------------------------------------------------------------------------------------


def test_without_a_plan_the_file_has_none(network, monkeypatch):
    monkeypatch.setattr(lifetimes, "MAX_PLACEMENTS", 3)
    assert not unpack(quantize_tflite(network[1], [images(1)])).metadata


def test_tflm_follows_the_plan():
    """Three blocks of one width: its own planner would lay their waiting inputs on top of each other."""
    pytest.importorskip("tflite_micro", reason="pip install 'once-for-all[mcu]'")
    from ofa.export.runtimes import tflm

    content = quantize_tflite(tflite(subnet(widths=(8, 8))), [images(2)])
    model = unpack(content)
    planned = lifetimes.peak(list(live_tensors(model.subgraphs[0]).values()))
    assert tflm.allocations(content)[0] == planned
    entries = [entry.name for entry in model.metadata]
    assert entries == [b"OfflineMemoryAllocation"]
    model.metadata = None
    without = pack(model)
    assert tflm.allocations(without)[0] > planned
    data = images(5)
    assert np.array_equal(tflm.run(tflm.load(without), data), tflm.run(tflm.load(content), data))


# -- ONNX -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def int8_onnx(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    source = export_onnx(
        network[0], folder / "model.onnx", resolution=20, metadata={"classes": ["a", "ü"], "mean": [0.5]}
    )
    return source, quantize_onnx(source, folder / "int8.onnx", [images(10), images(6, seed=1)])


@torch.no_grad()
def test_onnx_stays_close_to_float(network, int8_onnx):
    data = images(50, seed=2)
    for batch in (data, data[:1]):  # any batch size
        exact, got = network[0](torch.from_numpy(batch)).numpy(), onnxruntime.run(onnxruntime.load(int8_onnx[1]), batch)
        assert got.shape == exact.shape and got.dtype == np.float32
        assert np.sqrt(np.mean((exact - got) ** 2)) < 0.05 * np.ptp(exact)


def test_onnx_is_qdq_with_unsigned_activations_and_weights_per_channel(int8_onnx):
    source, path = int8_onnx
    assert read_metadata(path) == read_metadata(source)
    graph = onnx.load(path).graph
    values = {tensor.name: tensor for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    zeros = [values[node.input[2]] for node in graph.node if node.op_type == "QuantizeLinear"]
    assert zeros and {tensor.data_type for tensor in zeros} == {onnx.TensorProto.UINT8}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convolutions) > 10
    for node in convolutions:
        weight = makers[node.input[1]]
        assert values[weight.input[0]].data_type == onnx.TensorProto.INT8
        assert values[weight.input[1]].dims[0] == values[weight.input[0]].dims[0] > 1
    assert [item.name for item in path.parent.iterdir() if item not in int8_onnx] == []


def test_onnx_is_the_same_each_time_and_percentiles_change_it(int8_onnx, tmp_path):
    source, path = int8_onnx
    batches = [images(10), images(6, seed=1)]
    assert quantize_onnx(source, tmp_path / "a.onnx", batches).read_bytes() == path.read_bytes()
    assert quantize_onnx(source, tmp_path / "b.onnx", batches, percentile=99.0).read_bytes() != path.read_bytes()


def test_onnx_clamps_at_six(network, int8_onnx, tmp_path):
    """The quantizer drops ReLU6 and lets the range clamp: that must be the range after it."""
    wild = copy.deepcopy(network[0])
    with torch.no_grad():
        wild.bn1.weight.mul_(20)
    source = tmp_path / "model.onnx"
    onnx.save(onnx_graph(wild, SHAPE), source)
    path = quantize_onnx(source, tmp_path / "int8.onnx", [images(16)])
    data = images(20, seed=3)
    with torch.no_grad():
        exact = wild(torch.from_numpy(data)).numpy()
    got = onnxruntime.run(onnxruntime.load(path), data)
    assert np.sqrt(np.mean((exact - got) ** 2)) < 0.08 * np.ptp(exact)


def test_what_is_no_onnx_file(tmp_path):
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"garbage")
    with pytest.raises(ValueError, match=rf"^{path} is no ONNX model"):
        quantize_onnx(path, tmp_path / "int8.onnx", [images(1)])
