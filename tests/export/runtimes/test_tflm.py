"""TensorFlow Lite Micro: what it computes, what it needs of memory, and what it refuses."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

pytest.importorskip("tflite_micro", reason="pip install 'once-for-all[mcu]'")
pytest.importorskip("ai_edge_quantizer", reason="pip install 'once-for-all[tflite]'")

from ofa.export.graph import onnx_graph
from ofa.export.quantization.tflite import quantize_tflite
from ofa.export.runtimes import litert, tflm
from ofa.export.tflite.export import tflite_bytes
from ofa.export.tflite.flatbuffer import pack, unpack
from ofa.supernet.space import SearchSpace
from ofa.supernet.supernet import Supernet

SHAPE = (3, 20, 20)
SPACE = SearchSpace.from_dict(
    {
        "resolutions": [8, 20],
        "act": "relu6",
        "stem": {"width": 8, "first_width": 8, "first_act": "relu6"},
        "stages": [
            {"width": width, "stride": stride, "act": "relu6", "depths": [1, 3], "kernels": [3, 5], "expands": [2]}
            for width, stride in ((8, 1), (16, 2))
        ],
        "head": {"width": 32, "features": 24},
    }
)


def images(count, seed=0, shape=SHAPE):
    return np.random.default_rng(seed).standard_normal((count, *shape), dtype=np.float32)


def open_files():
    return len(list(Path("/proc/self/fd").iterdir())) if sys.platform == "linux" else None


@pytest.fixture(scope="module")
def network():
    """A subnet with padding, residuals and every operator of the family ``mcu``: (torch, float32, int8)."""
    torch.manual_seed(2)
    model = Supernet(SPACE, num_classes=10).extract(SPACE.largest)
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, std=0.3)
    content = tflite_bytes(onnx_graph(model, SHAPE))
    return model, content, quantize_tflite(content, [images(16)])


@pytest.fixture(scope="module")
def digits():
    """A subnet trained for some seconds: (torch, int8, images that it has not seen, their labels)."""
    source = load_digits()
    order = np.random.default_rng(1).permutation(len(source.target))
    data, labels = (source.images[order, None] / 16 - 0.3).astype(np.float32), source.target[order]
    torch.manual_seed(0)
    model = Supernet(SPACE, num_classes=10, in_chans=1).extract(SPACE.smallest).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    rng = np.random.default_rng(0)
    inputs, targets = torch.from_numpy(data), torch.from_numpy(labels)
    for _ in range(150):
        chosen = torch.from_numpy(rng.integers(0, 1500, 64))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs[chosen]), targets[chosen]).backward()
        optimizer.step()
    model.eval()
    content = quantize_tflite(tflite_bytes(onnx_graph(model, (1, 8, 8))), [data[:200]])
    return model, content, data[1500:], labels[1500:]


@torch.no_grad()
def test_float_models_compute_what_torch_does(network, tmp_path):
    model, content, _ = network
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    data = images(3, seed=1)
    expected = model(torch.from_numpy(data)).numpy()
    for given in (content, path):
        got = tflm.run(tflm.load(given), data)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, expected, atol=1e-4 * np.ptp(expected))


def test_int8_is_what_the_reference_kernels_compute(network):
    """Up to how a tie is rounded. XNNPACK differs more; a microcontroller's accuracy is that of these kernels."""
    data = images(40, seed=2)
    session = tflm.load(network[2])
    ours, theirs = tflm.run(session, data), litert.run(litert.load_reference(network[2]), data)
    assert np.array_equal(ours.argmax(1), theirs.argmax(1))
    assert np.abs(ours - theirs).max() < 2.5 * session.output["quantization_parameters"]["scales"][0]
    assert len(np.unique(ours.argmax(1))) > 1  # it decides something


def test_a_trained_models_predictions(digits):
    """The accuracy of a microcontroller: TensorFlow Lite Micro and LiteRT's reference kernels predict alike."""
    model, content, data, labels = digits
    predicted = tflm.run(tflm.load(content), data).argmax(1)
    assert np.array_equal(predicted, litert.run(litert.load_reference(content), data).argmax(1))
    with torch.no_grad():
        exact = (model(torch.from_numpy(data)).argmax(1).numpy() == labels).mean()
    assert exact > 0.9
    assert abs((predicted == labels).mean() - exact) <= 0.01


def test_int8_logits_lie_on_the_outputs_grid(network):
    session = tflm.load(network[2])
    parameters = session.output["quantization_parameters"]
    steps = tflm.run(session, images(4)) / parameters["scales"][0] + parameters["zero_points"][0]
    assert np.abs(steps - np.rint(steps)).max() < 1e-3
    assert (np.rint(steps) >= -128).all() and (np.rint(steps) <= 127).all()


@pytest.mark.parametrize("change", [lambda x: x.astype(np.float64), np.asfortranarray])
def test_any_array_is_taken(network, change):
    session = tflm.load(network[2])
    assert np.array_equal(tflm.run(session, change(images(2))), tflm.run(session, images(2)))


def test_images_of_another_size_are_refused(network):
    with pytest.raises(ValueError, match=r"the images are \(16, 20, 3\).*the model takes \(20, 20, 3\)"):
        tflm.run(tflm.load(network[2]), images(1, shape=(3, 16, 20)))


def test_the_smallest_arena_allocates_and_one_byte_less_does_not(network):
    content = network[2]
    memory = tflm.memory(content)
    assert (memory.head, memory.tail) == tflm.allocations(content)
    assert 0 <= memory.arena - memory.head < memory.tail + 64
    data = images(2)
    small = tflm.load(content, arena=memory.arena)
    assert np.array_equal(tflm.run(small, data), tflm.run(tflm.load(content), data))
    for arena in (memory.arena - 1, 100):  # in some arenas the interpreter itself crashes
        with pytest.raises(ValueError, match=f"arena of {arena} bytes is too small .* it needs {memory.arena}$"):
            tflm.load(content, arena=arena)


def test_head_is_the_activations_by_hand():
    """A convolution that doubles the channels: input and output live together, each rounded up to 16 bytes."""
    conv = nn.Sequential(nn.Conv2d(3, 6, 1)).eval()
    content = quantize_tflite(tflite_bytes(onnx_graph(conv, (3, 9, 9))), [images(2, shape=(3, 9, 9))])
    assert tflm.memory(content).head == 256 + 496  # 243 and 486


@pytest.mark.parametrize("content", [b"", b"garbage!garbage", None, 0.5, 0.99])
def test_what_is_no_model_is_named(network, tmp_path, content):
    path = tmp_path / "broken.tflite"
    if content is not None:
        whole = network[2]
        path.write_bytes(whole[: int(len(whole) * content)] if isinstance(content, float) else content)
    for call in (tflm.load, tflm.memory):
        with pytest.raises(ValueError) as caught:
            call(path)
        assert str(caught.value).startswith(f"tflm cannot load {path}: ")


def test_weights_outside_the_flatbuffer_are_refused(network):
    model = unpack(network[2])
    buffer = max(model.buffers, key=lambda buffer: 0 if buffer.data is None else len(buffer.data))
    buffer.data, buffer.offset, buffer.size = None, 1000, 100
    with pytest.raises(ValueError, match=r"weights lie outside the flatbuffer; use quantize_tflite"):
        tflm.load(pack(model))


def test_an_operator_that_it_lacks_is_named(network):
    from ofa.export.tflite.flatbuffer import schema

    model = unpack(network[1])
    for code in model.operatorCodes:
        if code.builtinCode == schema.BuiltinOperator.ADD:
            code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.LSH_PROJECTION
    with pytest.raises(ValueError, match=r"tflm cannot load the TFLite model: .*(?i:op|registration)"):
        tflm.load(pack(model))


@pytest.mark.parametrize("threads", [0, 2])
def test_it_has_one_thread(network, threads):
    for call in (lambda: tflm.load(network[2], threads=threads), lambda: tflm.environment(threads=threads)):
        with pytest.raises(ValueError, match=f"threads is {threads}; .* set threads to 1"):
            call()


def test_environment_says_what_results_hold_for():
    values = tflm.environment(threads=1)
    assert (values["runtime"], values["threads"]) == ("tflm", 1)
    assert values["version"][0].isdigit() and values["cpu"]


def test_stderr_is_left_as_it_was(network, capfd):
    """Figures and errors come over C's stderr; what others write there must come out again, and no file stay open."""
    before, files = os.fstat(2), open_files()
    tflm.allocations(network[2])
    with pytest.raises(ValueError):
        tflm.load(b"garbage")
    os.write(2, b"still here")
    assert (os.fstat(2).st_ino, os.fstat(2).st_dev) == (before.st_ino, before.st_dev)
    assert capfd.readouterr().err == "still here"
    assert open_files() == files


@pytest.mark.parametrize("stderr", ["pipe", "closed"])
def test_outside_of_pytest(network, tmp_path, stderr):
    path = tmp_path / "model.tflite"
    path.write_bytes(network[2])
    close = "os.close(2)" if stderr == "closed" else "pass"
    code = f"import os; {close}\nfrom ofa.export.runtimes import tflm\nprint(tflm.memory({str(path)!r}).head)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(result.stdout) == tflm.allocations(network[2])[0]
    assert "Arena" not in result.stderr


def test_a_python_stderr_without_a_file(network, monkeypatch):
    for stream in (io.StringIO(), None):
        monkeypatch.setattr(sys, "stderr", stream)
        assert tflm.allocations(network[2])[0] > 0
