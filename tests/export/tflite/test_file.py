"""What a TFLite file holds beside the network, and what export says when it cannot write one."""

import sys

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("ai_edge_litert", reason="pip install 'once-for-all[tflite]'")

from ofa.export.graph import onnx_graph
from ofa.export.runtimes import litert
from ofa.export.tflite.export import export_tflite, read_tflite_metadata, tflite_bytes
from ofa.export.tflite.flatbuffer import pack, schema, unpack, with_metadata
from ofa.supernet.space import SearchSpace
from ofa.supernet.supernet import Supernet

torch.set_num_threads(1)  # tests run beside each other


@pytest.fixture(scope="module")
def model():
    given = SearchSpace.preset("tiny_mbv3")
    torch.manual_seed(0)
    return Supernet(given, num_classes=3).extract(given.smallest).eval()


def images(n):
    return np.random.default_rng(0).standard_normal((n, 3, 20, 20), dtype=np.float32)


def test_file_holds_signature_and_metadata(model, tmp_path):
    metadata = {"classes": ["Käse", "0", 'a "quoted" one'], "mean": [0.1, 0.30000000000000004], "std": None}
    path = tmp_path / "new" / "model.tflite"
    assert export_tflite(model, path, resolution=20, metadata=metadata) == path
    assert [file.name for file in path.parent.iterdir()] == ["model.tflite"]
    assert read_tflite_metadata(path) == {"resolution": 20, **metadata}
    content = path.read_bytes()
    assert content[4:8] == b"TFL3"
    assert read_tflite_metadata(export_tflite(model, path, resolution=20)) == {"resolution": 20}

    session = litert.load(content)
    x = images(8)
    expected = litert.run(session, x)
    runner = session.interpreter.get_signature_runner("serving_default")
    assert np.array_equal(runner(input=x[:1].transpose(0, 2, 3, 1))["logits"], expected[:1])
    assert (session.input.shape, session.output.shape) == ((1, 20, 20, 3), (1, 3))
    with torch.no_grad():
        logits = model(torch.from_numpy(x)).numpy()
    assert np.abs(expected - logits).max() < 1e-5 * np.ptp(logits)


def test_tensor_names_are_unique_when_layers_names_are_not(model):
    graph = onnx_graph(model, (3, 20, 20))
    for node in graph.graph.node:
        node.name = "blocks.0"
    names = [tensor.name.decode() for tensor in unpack(tflite_bytes(graph)).subgraphs[0].tensors]
    assert len(set(names)) == len(names)
    assert {"input", "blocks.0", "blocks.0:2", "blocks.0/weight:3", "logits"} <= set(names)


def test_metadata_of_others_stays_and_ours_is_replaced(model):
    content = tflite_bytes(onnx_graph(model, (3, 20, 20)), metadata={"a": 1, "b": 2})
    theirs = unpack(content)
    theirs.metadata[0].name = "theirs"
    again = with_metadata(pack(theirs), {"b": 3, "c": 4})
    assert {entry.name for entry in unpack(again).metadata} == {b"theirs", b"ofa.b", b"ofa.c"}


def test_weights_are_inside_and_aligned(model):
    content = tflite_bytes(onnx_graph(model, (3, 20, 20)), metadata={"odd": "x" * 33})
    parsed = schema.Model.GetRootAs(content, 0)
    buffers = [parsed.Buffers(index) for index in range(parsed.BuffersLength())]
    filled = [buffer for buffer in buffers if buffer.DataLength()]
    assert len(filled) > 20 and all(buffer.Offset() == 0 for buffer in buffers)
    for buffer in filled:
        assert buffer._tab.Vector(buffer._tab.Offset(4)) % 16 == 0
    weights = 4 * sum(parameter.numel() for parameter in model.parameters())
    assert len(content) < 1.05 * weights + 40_000


def test_weights_stored_behind_the_flatbuffer_come_inside(model):
    content = tflite_bytes(onnx_graph(model, (3, 20, 20)))
    outside = unpack(content)
    largest = max((buffer for buffer in outside.buffers if buffer.data is not None), key=lambda one: len(one.data))
    data, largest.data = bytes(largest.data), None
    largest.offset, largest.size = 1 << 20, len(data)
    stored = pack(outside).ljust(1 << 20, b"\0") + data
    assert pack(unpack(stored)) == pack(unpack(content))


def test_int8_files_hold_the_same_and_predict_alike(model, tmp_path):
    pytest.importorskip("ai_edge_quantizer", reason="pip install 'once-for-all[tflite]'")
    x = images(16)
    data = (torch.from_numpy(batch).requires_grad_() for batch in (x[:7], x[7:]))
    path = export_tflite(model, tmp_path / "int8.tflite", resolution=20, metadata={"mean": [0.5]}, int8_data=data)
    assert read_tflite_metadata(path) == {"resolution": 20, "mean": [0.5]}
    session = litert.load(path)
    assert session.input.dtype == session.output.dtype == np.int8
    with torch.no_grad():
        expected = model(torch.from_numpy(x)).numpy()
    got = litert.run(session, x)
    assert np.abs(got - expected).max() < 0.1 * np.ptp(expected)
    assert np.abs(got - expected).max() > 0


@pytest.mark.parametrize("xnnpack", [True, False])
def test_only_phones_get_rewritten_graphs(xnnpack, tmp_path):
    wide = nn.Sequential(nn.Conv2d(4, 4, 7, padding=3, groups=4)).eval()
    wide.in_chans = 4
    path = export_tflite(wide, tmp_path / "model.tflite", resolution=8, xnnpack=xnnpack)
    assert len(unpack(path.read_bytes()).subgraphs[0].operators) == (5 if xnnpack else 1)


@pytest.mark.parametrize("content", [b"", b"text", b"\0\0\0\0TFL3" + b"\xff" * 40])
def test_metadata_of_other_files(content, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.tflite is no TFLite model: "):
        read_tflite_metadata(path)


def test_bad_use_is_named(model, tmp_path, monkeypatch):
    path = tmp_path / "model.tflite"
    training = nn.Sequential(nn.Conv2d(3, 4, 1))
    training.in_chans = 3
    with pytest.raises(ValueError, match=r"training mode; call model\.eval\(\)"):
        export_tflite(training, path, resolution=20)
    softplus = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Softplus()).eval()
    softplus.in_chans = 3
    with pytest.raises(ValueError, match=r"^1: no ONNX operator is known for Softplus"):
        export_tflite(softplus, path, resolution=20)
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    monkeypatch.delitem(sys.modules, "ofa.export.tflite.flatbuffer")
    monkeypatch.delitem(sys.modules, "ofa.export.tflite.operators")
    with pytest.raises(ValueError, match=r"ai-edge-litert is not installed: pip install 'once-for-all\[tflite\]'"):
        export_tflite(model, path, resolution=20)
    assert not list(tmp_path.iterdir())
