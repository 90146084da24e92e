"""int8 files whose outputs do not follow those of their float32 network are refused; options of int8 ONNX files."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from torch import nn

pytest.importorskip("ai_edge_quantizer", reason="pip install 'once-for-all[tflite]'")

from ofa.export.graph import onnx_graph
from ofa.export.onnx import read_metadata
from ofa.export.quantization.calibration_data import Collapse, refuse_collapse
from ofa.export.quantization.onnx import quantize_onnx
from ofa.export.runtimes import litert, onnxruntime
from ofa.export.tflite.export import export_tflite
from ofa.supernet.images import tell_images

torch.set_num_threads(1)  # tests run beside each other

RNG = np.random.default_rng(0)
MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.2, 0.3)
PIXELS = RNG.integers(0, 256, (40, 3, 4, 4)).repeat(4, 2).repeat(4, 3)
IMAGES = ((PIXELS / 255 - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))).astype(np.float32)
METADATA = {"mean": np.array(MEAN), "std": np.array(STD)}


class Network(nn.Sequential):
    in_chans, num_classes = 3, 6


@pytest.fixture
def network():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU6(), nn.Conv2d(8, 12, 8), nn.ReLU(), nn.Flatten()]
    return Network(*layers, nn.Linear(12, 6)).eval()


@pytest.fixture
def source(network, tmp_path):
    graph = onnx_graph(network, (3, 16, 16))
    onnx.helper.set_model_props(graph, {"mean": str(list(MEAN)), "std": str(list(STD))})
    onnx.save(graph, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def write(kind, network, source, data, **options):
    """The int8 file of a format: both refuse alike."""
    path = source.with_name(f"int8.{kind}")
    if kind == "onnx":
        return quantize_onnx(source, path, data, **options)
    return export_tflite(network, path, resolution=16, metadata=METADATA, int8_data=data, int8_options=options)


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
@pytest.mark.parametrize(
    "data",
    [
        PIXELS.astype(np.uint8),
        PIXELS.astype(np.float32),
        (PIXELS / 255).astype(np.float32),
        [(PIXELS[:20] * 0.9).astype(np.float32), IMAGES],
        np.full_like(IMAGES, np.nan),
        IMAGES.transpose(0, 2, 3, 1),
        IMAGES[:0],
        [],
    ],
)
def test_raw_pixels_and_other_data_are_refused(kind, data, network, source):
    with pytest.raises(ValueError, match="calibration"):
        write(kind, network, source, data)
    assert not source.with_name(f"int8.{kind}").exists()


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_one_array_is_one_batch_and_pairs_give_their_images(kind, network, source):
    alone = write(kind, network, source, IMAGES).read_bytes()
    pairs = [(torch.from_numpy(IMAGES[start : start + 16]), torch.arange(16)) for start in (0, 16, 32)]
    assert write(kind, network, source, iter(pairs)).read_bytes() == alone
    assert write(kind, network, source, torch.from_numpy(IMAGES).double()).read_bytes() == alone


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_a_collapse_is_refused(kind, network, tmp_path):
    """One channel takes values so large that the others get two or three of the 256 steps."""
    network[1] = nn.ReLU()
    with torch.no_grad():
        network[0].weight[0] *= 1000
        network[2].weight[:, 0] /= 1e6
    path, source = tmp_path / f"int8.{kind}", tmp_path / "model.onnx"
    onnx.save(onnx_graph(network, (3, 16, 16)), source)
    with pytest.raises(Collapse, match=r"logits correlate .* \(at least 0.7 is needed\).*likely causes: .* normalised"):
        if kind == "onnx":
            quantize_onnx(source, path, IMAGES)
        else:
            export_tflite(network, path, resolution=16, int8_data=IMAGES)
    assert not path.exists()


def logits(count=32, classes=5):
    return np.random.default_rng(1).standard_normal((count, classes))


@pytest.mark.parametrize(
    "got",
    [
        np.zeros((32, 5)),
        np.full((32, 5), np.nan),
        np.broadcast_to(logits(1), (32, 5)),  # the same for all images
        np.broadcast_to(logits(32, 1), (32, 5)),  # the same for all classes
        logits()[::-1],
        -logits(),
    ],
)
def test_answers_that_have_little_to_do_with_the_image(got):
    shift = 100 * logits(1) + 50 * logits(32, 1)  # what all images, or all classes, share says nothing
    with pytest.raises(Collapse):
        refuse_collapse(lambda _: logits() + shift, lambda _: got + shift, np.zeros((32, 1)))


@pytest.mark.parametrize(
    "exact, got",
    [
        (logits(), logits() + 0.3 * logits()[::-1]),
        (np.ones((32, 5)), np.zeros((32, 5))),  # a network that ignores its input
        (logits(1), -logits(1)),  # one image
        (np.ones((32, 1)), np.zeros((32, 1))),  # one class
    ],
)
def test_small_and_undecidable_differences_are_no_collapse(exact, got):
    refuse_collapse(lambda _: exact, lambda _: got, np.zeros((32, 1)))


# -- what other runtimes and processors need ------------------------------------------------------------------------


def constants(path):
    """Of each DequantizeLinear and QuantizeLinear: its operator, the type and the values of its zero point."""
    graph = onnx.load(path).graph
    values = {tensor.name: tensor for tensor in graph.initializer}
    nodes = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    return [
        (node.op_type, values[node.input[2]].data_type, onnx.numpy_helper.to_array(values[node.input[2]]))
        for node in nodes
    ]


@pytest.mark.parametrize("options", [{}, {"weights": "reduced"}, {"weights": "unsigned"}, {"symmetric": True}])
def test_every_kind_of_int8_onnx_answers_as_float32(options, network, source):
    path = write("onnx", network, source, IMAGES, **options)
    with torch.no_grad():
        exact = network(torch.from_numpy(IMAGES)).numpy()
    for optimise in (True, False):
        got = onnxruntime.run(onnxruntime.load(path, optimise=optimise), IMAGES)
        assert np.sqrt(np.mean((got - exact) ** 2)) < 0.05 * np.ptp(exact)
    assert read_metadata(path)["mean"] == list(MEAN)


def test_weights_of_seven_bits_and_unsigned_ones(network, source):
    def weights(path, kind):
        graph = onnx.load(path).graph
        return [
            onnx.numpy_helper.to_array(tensor)
            for tensor in graph.initializer
            if tensor.data_type == kind and len(tensor.dims) > 1
        ]

    reduced = weights(write("onnx", network, source, IMAGES, weights="reduced"), TensorProto.INT8)
    assert len(reduced) == 3 and all(np.abs(values.astype(int)).max() <= 64 for values in reduced)
    unsigned = weights(write("onnx", network, source, IMAGES, weights="unsigned"), TensorProto.UINT8)
    assert len(unsigned) == 3


def test_symmetric_files_have_what_tensorrt_reads(network, source):
    """int8 with zero point 0 everywhere, and no bias of int32; ReLU6 stays a node, as the range no longer clamps."""
    path = write("onnx", network, source, IMAGES, symmetric=True)
    found = constants(path)
    assert found and all(kind == TensorProto.INT8 and not values.any() for _, kind, values in found)
    graph = onnx.load(path).graph
    assert {"Clip", "Relu"} <= {node.op_type for node in graph.node}
    assert not [tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.INT32]


@pytest.mark.parametrize(
    "options, words",
    [
        ({"weights": "int4"}, "weights is 'int4'; it must be one of signed, reduced, unsigned"),
        ({"weights": "unsigned", "symmetric": True}, "with symmetric=True weights are signed"),
    ],
)
def test_unknown_options(options, words, network, source):
    with pytest.raises(ValueError, match=words):
        write("onnx", network, source, IMAGES, **options)


def test_the_models_own_normalisation_is_known(network, tmp_path):
    """Where metadata tells nothing, ``pretrained_cfg`` does."""
    tell_images(network, 16, mean=MEAN, std=STD)
    with pytest.raises(ValueError, match=r"as pixels in 0..1 are before they are normalised"):
        export_tflite(network, tmp_path / "a.tflite", resolution=16, int8_data=(PIXELS / 255).astype(np.float32))
    path = export_tflite(network, tmp_path / "a.tflite", resolution=16, int8_data=IMAGES)
    assert litert.run(litert.load(path), IMAGES).shape == (40, 6)
