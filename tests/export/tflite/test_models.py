"""TFLite files of plain timm models of five classes, float32 and int8, in LiteRT and on microcontrollers."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("ai_edge_litert", reason="pip install 'once-for-all[tflite]'")
pytest.importorskip("ai_edge_quantizer", reason="pip install 'once-for-all[tflite]'")

from shared_timm import ALL, calibrated, gratings, network

from ofa.export.graph import onnx_graph
from ofa.export.quantization.equalize import equalize_channels
from ofa.export.quantization.tflite import quantize_tflite
from ofa.export.runtimes import litert
from ofa.export.tflite.export import export_tflite, tflite_bytes
from ofa.export.tflite.flatbuffer import schema, unpack
from ofa.export.tflite.xnnpack import for_xnnpack

torch.set_num_threads(1)  # tests run beside each other
KINDS = {value: name for name, value in vars(schema.BuiltinOperator).items()}


def operators(content):
    model = unpack(content)
    codes = [KINDS[code.builtinCode] for code in model.operatorCodes]
    return Counter(codes[operator.opcodeIndex] for operator in model.subgraphs[0].operators)


def logits(model, images):
    with torch.no_grad():
        return model(torch.from_numpy(images)).numpy()


def correlation(expected, got):
    """Of what tells the images apart."""
    expected, got = expected - expected.mean(0), got - expected.mean(0)
    return (expected * got).sum() / np.sqrt((expected**2).sum() * (got**2).sum())


@pytest.mark.parametrize("name", ALL)
def test_the_file_is_the_model(name):
    size = 61 if name.startswith(("resnet", "tf_")) else 64
    model = network(name, size=size)
    content = tflite_bytes(for_xnnpack(onnx_graph(model, (3, size, size)), int8=False), resizable=True)
    images = np.random.default_rng(0).standard_normal((2, 3, size, size), np.float32)
    expected, session = logits(model, images), litert.load(content)
    assert np.abs(litert.run(session, images) - expected).max() < 1e-3 * np.abs(expected).max()

    # Maps keep their layout; attention alone moves heads.
    found, attentions = operators(content), sum(type(module).__name__ == "Attention" for module in model.modules())
    assert found["TRANSPOSE"] <= 4 * attentions + (2 if name == "test_vit3" else 0)
    # One delegate runs everything before the slice that selects a token, but for blurs.
    steps = session.interpreter._get_ops_details()
    delegates = sum(step["op_name"] == "DELEGATE" for step in steps)
    assert delegates <= 1 + found["SLICE"] + found["MIRROR_PAD"]


def test_a_resized_batch_is_the_same():
    model = network("test_vit")
    content = tflite_bytes(onnx_graph(model, (3, 64, 64)), resizable=True)
    images = gratings(3, 64)
    session = litert.load(content)
    session.interpreter.resize_tensor_input(session.input.index, (3, 64, 64, 3))
    session.interpreter.allocate_tensors()
    session.interpreter.set_tensor(session.input.index, images.transpose(0, 2, 3, 1).copy())
    session.interpreter.invoke()
    expected = logits(model, images)
    got = session.interpreter.get_tensor(session.output.index)
    assert np.abs(got - expected).max() < 1e-3 * np.abs(expected).max()


# The least correlation with the float32 model's logits, of networks with random weights: noise adds up with depth.
INT8 = {
    "resnet18": 0.9,
    "mobilenetv4_conv_small": 0.8,
    "test_efficientnet": 0.9,
    "convnext_atto": 0.98,
    "convnextv2_atto": 0.95,
    "convnext_zepto_rms": 0.95,
    "test_vit": 0.95,
}


@pytest.mark.parametrize("name", INT8)
def test_int8_files_answer_as_the_model(name):
    model = calibrated(name)
    graph = for_xnnpack(onnx_graph(model, (3, 64, 64)), int8=True)
    content = quantize_tflite(tflite_bytes(graph, resizable=True), [gratings(16, 64, seed=2)])
    images = gratings(16, 64, seed=3)
    expected, got = logits(model, images), litert.run(litert.load(content), images)
    assert correlation(expected, got) > INT8[name]
    # Only norms over channels are float32, with one conversion on each side.
    found = operators(content)
    assert found["DEQUANTIZE"] == found["QUANTIZE"] <= found["RSQRT"] + found["DIV"]
    assert (found["DEQUANTIZE"] > 0) == ("convnext" in name or "vit" in name)


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "efficientnet_b0"])
def test_int8_blocks_are_close(name):
    """Whole networks with random weights amplify noise; their parts show that each operator is right."""
    model = calibrated(name)
    parts = nn.Sequential(model.conv_stem, model.bn1, model.blocks[0], model.blocks[1][0]).eval()
    content = quantize_tflite(tflite_bytes(onnx_graph(parts, (3, 64, 64))), [gratings(16, 64, seed=2)])
    images = gratings(8, 64, seed=3)
    expected, got = logits(parts, images), litert.run(litert.load(content), images).transpose(0, 3, 1, 2)
    assert np.corrcoef(expected.ravel(), got.ravel())[0, 1] > 0.98


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_convnext2", "test_vit", "mixnet_s"])
def test_equalized_files_are_equal_bit_for_bit(name):
    """A sum with a constant passes no scale on: the biases of norms would have stayed as they were."""
    content = tflite_bytes(onnx_graph(network(name), (3, 64, 64)))
    images = gratings(2, 64)
    run = [litert.run(litert.load_reference(file), images) for file in (content, equalize_channels(content, images))]
    assert np.array_equal(*run)


@pytest.mark.parametrize("options", [{"percentile": 99.9}, {"equalize": True}, {"correct_bias": True}])
@pytest.mark.parametrize("name", ["convnext_atto", "resnet18"])
def test_options_for_accuracy_work(name, options):
    model = calibrated(name)
    content = tflite_bytes(for_xnnpack(onnx_graph(model, (3, 64, 64)), int8=True))
    int8 = quantize_tflite(content, [gratings(12, 64, seed=2)], **options)
    images = gratings(16, 64, seed=3)
    assert correlation(logits(model, images), litert.run(litert.load(int8), images)) > 0.8


def test_a_branch_that_does_nothing_is_loaded():
    """Its int8 scale was so far from the sum's that XNNPACK refused the file."""
    model = calibrated("convnext_atto")
    for block in (module for module in model.modules() if hasattr(module, "gamma")):
        nn.init.constant_(block.gamma, 1e-6)
    content = tflite_bytes(for_xnnpack(onnx_graph(model, (3, 64, 64)), int8=True))
    images = gratings(12, 64, seed=2)
    int8 = litert.load(quantize_tflite(content, [images]))
    assert correlation(logits(model, images), litert.run(int8, images)) > 0.95


def test_export_takes_a_vit(tmp_path):
    model = network("test_vit", classes=3)
    path = export_tflite(model, tmp_path / "model.tflite", resolution=64, int8_data=gratings(8, 64))
    images = gratings(8, 64, seed=4)
    assert correlation(logits(model, images), litert.run(litert.load(path), images)) > 0.9


@pytest.mark.parametrize("name, same", [("mobilenetv2_035", 0), ("test_resnet", 0), ("resnet10t", 0.02)])
def test_tensorflow_lite_micro_runs_them(name, same):
    tflm = pytest.importorskip("ofa.export.runtimes.tflm", exc_type=ValueError)
    from ofa.export.microcontroller.bakenn_graph import import_graph

    content = tflite_bytes(onnx_graph(calibrated(name, size=32), (3, 32, 32)))
    content = quantize_tflite(content, [gratings(8, 32, seed=2)])
    images = gratings(4, 32)
    expected = litert.run(litert.load_reference(content), images)
    assert np.abs(tflm.run(tflm.load(content), images) - expected).max() <= same * np.ptp(expected)
    import_graph(content, name="model.tflite")


@pytest.mark.parametrize(
    "name, operator", [("test_convnext", "MEAN"), ("test_efficientnet", "LOGISTIC"), ("ecaresnet26t", "LOGISTIC")]
)
def test_microcontrollers_refuse_the_others_by_layer(name, operator):
    pytest.importorskip("bakenn", reason="pip install 'once-for-all[mcu]'")
    from ofa.export.microcontroller.bakenn_graph import import_graph

    content = quantize_tflite(tflite_bytes(onnx_graph(calibrated(name, size=32), (3, 32, 32))), [gratings(4, 32)])
    with pytest.raises(ValueError, match=rf"no C is known for {operator} \(layer [\w./]+\)"):
        import_graph(content, name="model.tflite")
