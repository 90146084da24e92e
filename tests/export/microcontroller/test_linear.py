"""The C of a classifier, whose weights have one scale: each variant has its constants and gives TFLM's bytes."""

import shutil
import subprocess

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("tflite_micro", reason="pip install 'once-for-all[mcu]'")
pytest.importorskip("bakenn", reason="pip install 'once-for-all[mcu]'")
pytest.importorskip("ai_edge_quantizer", reason="pip install 'once-for-all[tflite]'")

from ofa.export.microcontroller import build, export
from ofa.export.microcontroller.sources import _all_weights
from ofa.export.runtimes.cortex_m import convert_int8
from ofa.export.tflite.flatbuffer import pack, unpack

CLASSES = 16
SHAPE = (16, 1, 1)
emulator = pytest.mark.skipif(build.missing_tools() is not None, reason=str(build.missing_tools()))


def images():
    """The first is all zeros, so that the sums of its classes are their biases."""
    found = np.random.default_rng(1).standard_normal((4, *SHAPE), dtype=np.float32)
    found[0] = 0
    return found


def at_the_middle_of_two_bytes():
    """A classifier whose biases lie where the product of two scales in float32 and in double round to other bytes.

    TensorFlow Lite's own function for one scale multiplies in float32, TensorFlow Lite Micro and bakenn in double.
    """
    torch.manual_seed(0)
    model = unpack(convert_int8(nn.Sequential(nn.Flatten(), nn.Linear(16, CLASSES)).eval(), SHAPE))
    graph = model.subgraphs[0]
    (layer,) = [operator for operator in graph.operators if len(operator.inputs) == 3]
    given, weight, bias, output = (graph.tensors[number] for number in (*layer.inputs, *layer.outputs))
    first, last = np.float32(given.quantization.scale[0]), np.float32(output.quantization.scale[0])
    # Of small scales, so that a byte is many units of the sum, the one whose product float32 rounds most.
    scales = np.float32(last * 1e-6 / first) * np.linspace(1, 2, 500, dtype=np.float32)
    products = scales.astype(np.float64) * np.float64(first)
    chosen = np.argmax(np.abs((scales * first).astype(np.float64) / products - 1))
    multipliers = np.array([products[chosen], np.float64(scales[chosen] * first)]) / np.float64(last)
    bytes_ = np.arange(126 - CLASSES, 126) - output.quantization.zeroPoint[0] + 0.5
    bytes_ = np.where(bytes_ < 100, bytes_ - 150, bytes_)  # as far from the zero point as a byte can be
    biases = np.rint((bytes_[:, None] / multipliers).mean(1)).astype("<i4")
    weight.quantization.scale = np.array([scales[chosen]], np.float32)
    bias.quantization.scale = np.array([scales[chosen] * first], np.float32)
    model.buffers[bias.buffer].data = np.frombuffer(biases.tobytes(), np.uint8)
    return pack(model)


def plain():
    torch.manual_seed(0)
    return convert_int8(nn.Sequential(nn.Conv2d(16, 12, 1), nn.ReLU6(), nn.Flatten(), nn.Linear(12, 5)).eval(), SHAPE)


MODELS = {"plain": plain, "at the middle of two bytes": at_the_middle_of_two_bytes}


@pytest.fixture(scope="module", params=MODELS)
def folder(request, tmp_path_factory):
    place = tmp_path_factory.mktemp("linear") / "c"
    export.write_sources(MODELS[request.param](), place, images=images())
    return place


@pytest.mark.parametrize("cmsis_nn", [0, 1])
def test_the_host_gives_tflms_bytes(folder, cmsis_nn):
    if not shutil.which("gcc"):
        pytest.skip("gcc is not installed")
    called = {0: "model_linear_s8(", 1: "model_linear_cmsis_nn_s8("}[cmsis_nn]
    variant = {0: "portable", 1: "cmsis_nn"}[cmsis_nn]
    assert called in (folder / "src" / f"model_infer_{variant}.c").read_text()
    sources = ["main.c", "examples.c", "profile.c", "board_host.c"]
    sources += [str(path.relative_to(folder)) for path in (folder / "src").rglob("*.c")]
    command = ["gcc", "-O1", f"-DOFA_CMSIS_NN={cmsis_nn}", "-I.", *sources, "-o", f"{variant}.out"]
    made = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    done = subprocess.run([folder / f"{variant}.out"], capture_output=True, text=True, check=False)
    assert "images 4\ndifferent_bytes 0\n" in done.stdout


@emulator
@pytest.mark.parametrize("cpu", ["cortex_m4", "cortex_m55"])
def test_processors_give_tflms_bytes(folder, cpu):
    build.build(folder, cpu=cpu)
    found = build.run(folder, cpu=cpu)
    assert (found.one("images"), found.one("different_bytes")) == (4, 0)


def weights(**values):
    header = "".join(f"extern const int8_t {name}[1];\n" for name in values)
    source = "\n\n".join(f"const int8_t {name}[1] = {{\n    {value}\n}};" for name, value in values.items())
    return f"#ifndef A\n#define A\n\n#include <stdint.h>\n\n{header}\n\n#endif\n", f'#include "w.h"\n\n{source}\n'


def test_the_weights_are_those_of_all_variants():
    header, source = _all_weights([weights(a=1, b=2), weights(b=2, c=3), weights()])
    assert [header.count(f"int8_t {name}[1];") for name in "abc"] == [1, 1, 1]
    assert [source.count(f"int8_t {name}[1] = ") for name in "abc"] == [1, 1, 1]
    assert header.rstrip().endswith("#endif")
    header, source = weights(a=1)
    aligned = (header, source.replace("const", "_Alignas(4) const"))
    assert all(
        "_Alignas(4) const" in _all_weights(both)[1] for both in ([weights(a=1), aligned], [aligned, weights(a=1)])
    )
    with pytest.raises(RuntimeError, match="bakenn gave b two values"):
        _all_weights([weights(a=1, b=2), weights(b=3)])
    with pytest.raises(RuntimeError, match="install bakenn"):
        _all_weights([(weights(a=1)[0], weights(b=1)[1])])
