"""LiteRT: loading, running and timing."""

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("ai_edge_litert", reason="pip install 'once-for-all[tflite]'")

from ofa.export.graph import onnx_graph
from ofa.export.runtimes import litert
from ofa.export.runtimes.timing import interleaved
from ofa.export.tflite.export import tflite_bytes
from ofa.export.tflite.flatbuffer import pack, schema, unpack


@pytest.fixture(scope="module")
def conv():
    """A convolution, and its file's bytes."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 8), nn.Flatten()).eval()
    return module, tflite_bytes(onnx_graph(module, (3, 8, 8)))


@pytest.mark.parametrize("threads", [1, 2])
@torch.no_grad()
def test_bytes_and_files_run_alike(conv, tmp_path, threads):
    module, content = conv
    path = tmp_path / "conv.tflite"
    path.write_bytes(content)
    x = torch.randn(3, 3, 8, 8)
    for model in (content, path, str(path)):
        got = litert.run(litert.load(model, threads=threads), x.numpy())
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, module(x).numpy(), atol=1e-5)
    np.testing.assert_allclose(litert.run(litert.load_reference(content), x.numpy()), module(x).numpy(), atol=1e-5)


@pytest.mark.parametrize("change", [lambda x: x.astype(np.float64), np.asfortranarray, lambda x: x[:, ::-1][:, ::-1]])
def test_any_array_is_taken(conv, change):
    session = litert.load(conv[1])
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 8), dtype=np.float32)
    assert np.array_equal(litert.run(session, change(x)), litert.run(session, x))
    assert litert.run(session, x[:0]).shape == (0, 4)


def test_images_of_another_size_are_refused(conv):
    with pytest.raises(ValueError, match=r"takes images of shape \(3, 8, 8\), not \(3, 9, 8\)"):
        litert.run(litert.load(conv[1]), np.zeros((1, 3, 9, 8), np.float32))


@pytest.mark.parametrize("load", [litert.load, litert.load_reference])
@pytest.mark.parametrize("content", [b"", b"garbage", b"\0\0\0\0TFL3" + b"\xff" * 99, None, 0.5])
def test_what_is_no_model_is_named(conv, tmp_path, content, load):
    path = tmp_path / "broken.tflite"
    if content is not None:
        path.write_bytes(conv[1][: len(conv[1]) // 2] if content == 0.5 else content)
    with pytest.raises(ValueError) as caught:
        load(path)
    assert str(caught.value).startswith(f"litert cannot load {path}: ")


def test_bytes_that_are_no_model():
    with pytest.raises(ValueError, match=r"^litert cannot load the TFLite model: "):
        litert.load(b"garbage")


def test_models_with_two_outputs_are_refused(conv):
    model = unpack(conv[1])
    graph = model.subgraphs[0]
    graph.outputs = [*graph.outputs, graph.operators[0].outputs[0]]
    model.signatureDefs = []
    with pytest.raises(ValueError, match="1 inputs and 2 outputs, not one each"):
        litert.load(pack(model))


def int8_identity(scale, zero_point):
    """A file that hands its int8 input on, ``(1, 2, 2, 1)`` as ``(1, 4)``."""
    model = unpack(tflite_bytes(onnx_graph(nn.Identity().eval(), (1, 2, 2))))
    graph = model.subgraphs[0]
    for tensor in (graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]):
        tensor.type = schema.TensorType.INT8
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [zero_point]
    return pack(model)


def test_int8_is_encoded_and_decoded():
    session = litert.load(int8_identity(0.5, -10))
    assert session.input.dtype == session.output.dtype == np.int8
    x = np.array([[[[0.0, 0.6], [-3.3, 1000.0]]], [[[-1000.0, 0.25], [0.9, 5.0]]]], np.float32)
    # Nearest step, halves to even, kept within -128..127: (127 + 10) / 2 and (-128 + 10) / 2 are the ends.
    expected = np.array([[[0.0, 0.5], [-3.5, 68.5]], [[-59.0, 0.0], [1.0, 5.0]]], np.float32)
    got = litert.run(session, x)
    assert got.dtype == np.float32 and np.array_equal(got.reshape(2, 2, 2), expected)


@pytest.mark.parametrize("threads", [1, 4])
def test_environment(threads):
    values = litert.environment(threads=threads)
    assert values["runtime"] == litert.NAME == "litert" and values["threads"] == threads
    assert values["version"][0].isdigit() and values["cpu"]


def test_prepared_calls_leave_the_data_in_place(conv):
    session = litert.load(conv[1])
    call = litert.bind(session, (1, 3, 8, 8))
    outputs = []
    for _ in range(3):
        call()
        outputs.append(session.interpreter.get_tensor(session.output.index))
    assert np.ptp(outputs[0]) > 0 and np.array_equal(outputs[0], outputs[1]) and np.array_equal(outputs[0], outputs[2])
    data = np.random.default_rng(0).standard_normal((1, 3, 8, 8), dtype=np.float32)
    assert np.array_equal(outputs[0], litert.run(session, data))


def test_longer_models_take_longer():
    shape = (16, 32, 32)
    small = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1)).eval()
    large = nn.Sequential(*(nn.Conv2d(16, 16, 3, padding=1) for _ in range(20))).eval()
    calls = [litert.bind(litert.load(litert.convert(module, shape)), (1, *shape)) for module in (small, large)]
    fast, slow = np.median(interleaved(calls, rounds=5, progress=False), axis=0)
    assert 5 * fast < slow
