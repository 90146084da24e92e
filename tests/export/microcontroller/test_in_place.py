"""Depthwise convolutions over their own input: TensorFlow Lite Micro's bytes on every processor, in less memory."""

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
from ofa.export.microcontroller.memory import ring_bytes
from ofa.export.runtimes.cortex_m import convert_int8

emulator = pytest.mark.skipif(build.missing_tools() is not None, reason=str(build.missing_tools()))
SHAPE = (3, 19, 19)


class Depthwise(nn.Module):
    """Kernels of all sides and strides on maps of odd and even sides, one of them of a tensor that is read again."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 10, 1)
        layers = []
        for kernel, stride in ((1, 1), (3, 1), (5, 1), (7, 1), (3, 2), (5, 1), (7, 2), (7, 1), (5, 2), (3, 1), (1, 2)):
            layers += [nn.Conv2d(10, 10, kernel, stride, kernel // 2, groups=10), nn.ReLU6()]
        self.middle = nn.Sequential(*layers)
        self.again = nn.Conv2d(10, 10, 3, 1, 1, groups=10)
        self.last = nn.Linear(10, 4)
        self.flatten = nn.Flatten()

    def forward(self, x):
        x = self.middle(self.first(x))
        return self.last(self.flatten((x + self.again(x)).mean((2, 3), keepdim=True)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The C of a network whose layers have scales and biases of all sizes."""
    torch.manual_seed(0)
    model = Depthwise().eval()
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            layer.weight.data *= torch.logspace(-1, 0.6, layer.out_channels)[:, None, None, None]
            layer.bias.data.normal_(0, 0.3)
    images = np.random.default_rng(0).standard_normal((4, *SHAPE), dtype=np.float32)
    place = tmp_path_factory.mktemp("in_place") / "c"
    export.write_sources(convert_int8(model, SHAPE), place, images=images)
    return place


@pytest.mark.parametrize("cmsis_nn", [0, 1])
def test_the_host_gives_tflms_bytes(folder, cmsis_nn):
    if not shutil.which("gcc"):
        pytest.skip("gcc is not installed")
    sources = ["main.c", "examples.c", "profile.c", "board_host.c"]
    sources += [str(path.relative_to(folder)) for path in (folder / "src").glob("**/*.c" if cmsis_nn else "*.c")]
    checks = [] if cmsis_nn else ["-fsanitize=address,undefined", "-fno-sanitize-recover"]
    command = ["gcc", f"-DOFA_CMSIS_NN={cmsis_nn}", *checks, "-I.", *sources, "-o", f"host{cmsis_nn}"]
    made = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    done = subprocess.run([folder / f"host{cmsis_nn}"], capture_output=True, text=True, check=False)
    assert "images 4\ndifferent_bytes 0\n" in done.stdout, done.stderr


@emulator
@pytest.mark.parametrize("cpu", ["cortex_m4", "cortex_m55", "cortex_m0plus"])  # pairs, vectors, neither
def test_processors_give_tflms_bytes(folder, cpu):
    build.build(folder, cpu=cpu)
    found = build.run(folder, cpu=cpu)
    assert (found.one("images"), found.one("different_bytes")) == (4, 0)


def test_output_and_input_share_their_memory(folder):
    header = (folder / "src" / "model_infer.h").read_text()
    sizes = [int(line.split()[2].rstrip("u")) for line in header.splitlines() if "define MODEL_ARENA_SIZE" in line]
    map_bytes = 10 * 19 * 19
    assert len(sizes) == 3
    assert all(map_bytes < size < 1.2 * map_bytes for size in sizes)


def test_the_ring_by_hand():
    # Seven rows of 19 outputs, computed two or four at once, and three values on each side; two bytes or one.
    assert ring_bytes(7, 1, 19, vectors=False) == 7 * 2 * (20 + 6)
    assert ring_bytes(7, 1, 19, vectors=True) == 7 * (20 + 6)
    assert ring_bytes(3, 2, 10, vectors=False) == 3 * 2 * (19 + 2 + 1)
