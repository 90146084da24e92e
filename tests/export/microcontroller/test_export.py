"""C folders: what is written, that it builds anywhere, and how its memory is laid out."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from torch import nn

pytest.importorskip("tflite_micro", reason="pip install 'once-for-all[mcu]'")
pytest.importorskip("bakenn", reason="pip install 'once-for-all[mcu]'")
pytest.importorskip("ai_edge_quantizer", reason="pip install 'once-for-all[tflite]'")

from ofa.export.graph import onnx_graph
from ofa.export.microcontroller import build, export
from ofa.export.microcontroller.bakenn_graph import import_graph
from ofa.export.runtimes import tflm
from ofa.export.runtimes.cortex_m import convert_int8
from ofa.export.tflite.export import tflite_bytes
from ofa.supernet.integers import round_up

SHAPE = (2, 10, 10)
compiler = pytest.mark.skipif(not shutil.which("make") or not shutil.which("cc"), reason="apt-get install make gcc")


class Tiny(nn.Module):
    """Every operator that C is known for; the second convolution has stride 2 on an even map."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 8, 3, padding=1)
        self.narrow = nn.Conv2d(8, 8, 5, stride=2, padding=2, groups=8)
        self.wide = nn.Conv2d(8, 8, 1)
        self.act = nn.ReLU6()
        self.flatten = nn.Flatten()
        self.last = nn.Linear(8, 3)

    def forward(self, x):
        x = self.act(self.narrow(self.act(self.first(x))))
        x = (x + self.wide(x)).mean((2, 3), keepdim=True)
        return self.last(self.flatten(x))


@pytest.fixture(scope="module")
def model():
    return convert_int8(Tiny().eval(), SHAPE)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(3).standard_normal((25, *SHAPE), dtype=np.float32)


@pytest.fixture
def folder(model, images, tmp_path):
    export.export_c(model, tmp_path / "c", images=images, measure=False, metadata={"classes": ["a", "b"]})
    return tmp_path / "c"


def make(folder, *arguments):
    return subprocess.run(["make", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=120)


def test_the_folder_and_its_figures(folder, model, images):
    names = {path.name for path in folder.iterdir()}
    assert {"Makefile", "main.c", "src", "examples.c", "files.json", "figures.json"} <= names
    assert not [path for path in folder.parent.iterdir() if path != folder]
    figures = json.loads((folder / "figures.json").read_text())
    assert figures["metadata"] == {"classes": ["a", "b"]}
    weights = 2 * 8 * 9 + 8 * 25 + 8 * 8 + 8 * 3
    assert figures["weights_bytes"] == weights + 4 * (8 + 8 + 8 + 3)  # int32 biases
    # The depthwise convolution's output is in its input's memory, and another map of 5 x 5 beside it.
    arena = round_up(800 + 200, 16)
    assert [figures["cpus"][cpu]["arena_bytes"] for cpu in ("cortex_m4", "cortex_m55")] == [arena, arena]
    assert all(not entry["verified"] and entry["reason"] for entry in figures["cpus"].values())
    assert "[20][200]" in (folder / "examples.h").read_text()


@compiler
def test_the_host_program_gives_tflms_bytes_and_notices_a_wrong_one(folder):
    good = make(folder, "check")
    assert good.returncode == 0, good.stderr
    assert "images 20\ndifferent_bytes 0\n" in good.stdout
    assert "warning" not in good.stderr
    source = (folder / "examples.c").read_text()
    before, found, after = re.split(r"(?<=example_outputs\[20\]\[3\] = \{\n\{)(-?\d+)", source)
    (folder / "examples.c").write_text(f"{before}{int(found) ^ 1}{after}")
    bad = make(folder, "check")
    assert bad.returncode != 0
    assert "different_bytes 1\n" in bad.stdout


def test_an_export_leaves_the_files_of_others(folder, model, images):
    (folder / "board_stm32.c").write_text("mine")
    (folder.parent / "notes.md").write_text("mine")
    source = (folder / "main.c").read_text()
    (folder / "main.c").write_text(source + "/* mine */\n")
    (folder / "src" / "model_add.c").unlink()
    said = []
    paths = export.export_c(model, folder, images=images[:1], measure=False, notice=said.append)
    assert (folder / "board_stm32.c").read_text() == (folder.parent / "notes.md").read_text() == "mine"
    assert (folder / "main.c").read_text() == source
    assert (folder / "main.c.yours").read_text() == source + "/* mine */\n"
    assert len(said) == 1 and "main.c was edited: kept as main.c.yours" in said[0]
    assert all(path.is_file() for path in paths)
    assert folder / "src" / "model_add.c" in paths and folder / "board_stm32.c" not in paths


def test_a_file_in_the_way_is_refused(model, images, tmp_path):
    (tmp_path / "c").write_text("mine")
    with pytest.raises(ValueError, match=r"c is a file, and a folder is written there"):
        export.export_c(model, tmp_path / "c", images=images, measure=False)
    assert (tmp_path / "c").read_text() == "mine"


def test_the_same_model_gives_the_same_files(folder, model, images):
    before = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    metadata = {"classes": ["a", "b"]}
    export.export_c(model, folder, images=images, measure=False, metadata=metadata)
    assert before == {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_examples_are_the_interpreters_bytes(model, images):
    examples = export.examples_of(model, images)
    session = tflm.load(model)
    (scale,), (zero,) = (session.output["quantization_parameters"][key] for key in ("scales", "zero_points"))
    assert np.allclose((examples.outputs - np.float32(zero)) * scale, tflm.run(session, images), atol=1e-6)
    assert examples.inputs.shape == (25, 200)
    assert len(np.unique(examples.outputs)) > 3


def test_pads_are_folded_into_convolutions(model):
    graph = import_graph(model, name="tiny")
    kinds = [type(op).__name__ for op in graph.ops]
    assert "Pad2DOp" not in kinds
    assert [op.padding for op in graph.ops if "Conv2D" in type(op).__name__] == [(1,) * 4, (2,) * 4, (0,) * 4]


@pytest.mark.parametrize("act", [nn.Hardswish(), nn.SiLU()])
def test_an_unknown_operator_names_layer_and_space(act):
    module = nn.Sequential(nn.Conv2d(1, 8, 3), act, nn.Conv2d(8, 2, 1)).eval()
    with pytest.raises(ValueError, match=r"no C is known for \w+ \(layer .+\); .*'mcu'"):
        import_graph(convert_int8(module, (1, 6, 6)), name="m")


def test_what_is_no_int8_model_is_refused(tmp_path, model, images):
    with pytest.raises(ValueError, match=r"m\.tflite is no TFLite model"):
        import_graph(b"nonsense" * 10, name="m.tflite")
    with pytest.raises(ValueError, match=r"f\.tflite is not int8; .*int8_data"):
        import_graph(tflite_bytes(onnx_graph(Tiny().eval(), SHAPE)), name="f.tflite")
    with pytest.raises(ValueError, match=r"none\.tflite cannot be read: No such file"):
        export.export_c(tmp_path / "none.tflite", tmp_path / "c", images=images)
    with pytest.raises(ValueError, match="no images to store"):
        export.export_c(model, tmp_path / "c", images=images[:0])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("package", ["bakenn", "flatbuffers", "tflite"])
def test_a_missing_extra_names_the_pip_line(model, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=r"bakenn is not installed: pip install 'once-for-all\[mcu\]'"):
        import_graph(model, name="m")


def test_without_a_compiler_the_c_is_written_unverified(model, images, tmp_path, monkeypatch):
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    export.export_c(model, tmp_path / "c", images=images)
    entry = json.loads((tmp_path / "c" / "figures.json").read_text())["cpus"]["cortex_m4"]
    assert entry["verified"] is False
    assert "arm-none-eabi-gcc" in entry["reason"]
    assert "apt-get install" in entry["reason"]
    assert (tmp_path / "c" / "src" / "model_infer_cmsis_nn.c").exists()
