"""One small run for a phone and two microcontrollers: every model in the runtime that its target names."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image
from quick_models import quick_onnx
from timm.data import resolve_model_data_config

from ofa.cli import main
from ofa.config.recipe_file import load_recipe
from ofa.export.microcontroller import build
from ofa.export.onnx import read_metadata
from ofa.export.onnx_opset import opset_of
from ofa.export.runtimes import litert
from ofa.supernet.saving import load_subnet
from ofa.targets import model_files

pytest.importorskip("ai_edge_litert", reason="needs pip install 'once-for-all[tflite]'")
pytest.importorskip("bakenn", reason="needs pip install 'once-for-all[mcu]'")
if not all(map(shutil.which, ("arm-none-eabi-gcc", "qemu-system-arm"))):
    pytest.skip(
        "needs apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm", allow_module_level=True
    )

RECIPE = """
space:
  family: mobilenetv3
  resolutions: [12, 16]
  act: relu6
  stem: {width: 8, first_width: 8, first_act: relu6}
  stages:
    - {width: 8, stride: 2, act: relu6, depths: [1, 2], kernels: [3, 5], expands: [2, 3]}
    - {width: 16, stride: 2, act: relu6, depths: [1], kernels: [3], expands: [2, 4]}
  head: {width: 24, features: 24}
train: {epochs: 2, lr: 0.1}
collect: {subnets: 10, calibration_images: 128, images: 200}
measure: {rounds: 2, fit_subnets: 4, test_subnets: 2}
search: {population: 20, generations: 3, candidates: 1}
targets:
  phone: {runtime: litert, precision: int8, limits: {macs: 0.9x}, tflite: {input: uint8}}
  server: {precision: int8, limits: {macs: 0.9x}, onnx: {batch: 1, opset: 15}}
  micro: {runtime: tflm, limits: {sram_kb: 0.7x}}
  m4: {runtime: cortex_m4, limits: {sram_kb: 0.8x, flash_kb: 0.99x, instructions: 0.7x}}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    recipe = tmp_path_factory.mktemp("devices") / "devices.yaml"
    recipe.write_text(RECIPE)
    folder = recipe.parent / "run"
    # Torch's exporter traces for seconds: here it writes the file of the one target that runs what it wrote.
    traced = model_files.export_onnx

    def export(model, path, **options):
        return (traced if path.parent.name == "server" else quick_onnx)(model, path, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_files, "export_onnx", export)
        patch.setattr(litert, "memory", lambda *_, **__: 10**6)  # it imports torch; the server's is measured
        main(["run", str(recipe), "--out", str(folder)])
    return folder


def read(path):
    return json.loads(path.read_text())


@pytest.mark.parametrize(
    ("target", "file", "runtime"),
    [
        ("phone", "model.int8.tflite", "litert"),
        ("server", "model.int8.onnx", "onnxruntime"),
        ("micro", "model.int8.tflite", "tflm"),
        ("m4", "model.int8.tflite", "cortex_m4"),
    ],
)
def test_int8_is_scored_where_it_runs_beside_float32(run, target, file, runtime):
    verified = read(run / "models" / target / "verify.json")
    assert (verified["file"], verified["runtime"]) == (file, runtime)
    assert (run / "models" / target / file).stat().st_size == verified["bytes"]
    tried = verified["int8"]["tried"]
    assert verified["validation_accuracy"] == max(tried.values()) == tried[verified["int8"]["used"]]
    kept = verified["validation_accuracy_float32"] - verified["validation_accuracy"] <= 0.01
    assert verified["int8"]["within"] == kept
    assert kept or len(tried) > 1
    measured = read(run / "report.json")["targets"][target]["measured"]
    assert 0 <= measured["test_accuracy"] <= 1 and ("latency" in measured) == (runtime in ("litert", "onnxruntime"))


def test_files_are_what_the_recipe_asks_for(run):
    session = litert.load(run / "models" / "phone" / "model.int8.tflite")
    assert (session.input.dtype, session.output.dtype) == (np.uint8, np.float32)
    for file in ("model.onnx", "model.int8.onnx"):
        model = onnx.load(run / "models" / "server" / file)
        assert opset_of(model) == 15 and model.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1
    facts = read(run / "models" / "server" / "verify.json")["int8"]
    assert facts["tried"].keys() == facts["unoptimised"].keys() and facts["cpu_has_vnni"] in (True, False, None)
    card = (run / "models" / "server" / "card.md").read_text()
    assert ("depends on the processor" in card) == facts["depends_on_cpu"]


def test_loaded_networks_tell_timm_how_their_images_are_made(run):
    for target in ("phone", "server", "micro", "m4"):
        folder = run / "models" / target
        metadata, config = read_metadata(folder / "model.onnx"), resolve_model_data_config(load_subnet(folder))
        assert config["input_size"] == (1, metadata["resolution"], metadata["resolution"])
        for key in ("mean", "std"):
            assert list(config[key]) == metadata[key]
        assert all(config[key] == metadata[key] for key in ("interpolation", "crop_pct"))


@pytest.mark.parametrize("target", ["micro", "m4"])
def test_what_is_found_keeps_its_limits_when_measured(run, target):
    limits = read(run / "search" / f"{target}.json")["limits"]
    program = read(run / "models" / target / "verify.json")["program"]
    assert limits and all(program[cost] <= limit for cost, limit in limits.items())


def test_tables_have_their_error_on_unseen_networks(run):
    errors = {"m4": 0.05, "m4.sram": 0.05, "m4.flash": 0.1, "micro": 0.0, "micro.flash": 0.1}
    for name, most in errors.items():
        quality = read(run / "costs" / f"{name}.json")["info"]["quality"]
        assert quality["test_subnets"] == 2 and quality["mape"] <= most, name


def test_the_program_gives_the_interpreter_s_bytes(run):
    verified = read(run / "models" / "m4" / "verify.json")["program"]
    assert verified["verified"] and (verified["images"], verified["different_bytes"]) == (20, 0)
    headers = "".join(path.read_text() for path in (run / "models" / "m4" / "c").rglob("*.h"))
    arena = min(map(int, re.findall(r"define \w*_ARENA_SIZE (\d+)", headers)))
    assert arena < verified["sram"] < arena + 4096  # image, logits and stack
    assert (run / "models" / "m4" / "c" / "Makefile").exists()


def test_the_phone_s_card_runs(run, tmp_path):
    folder = run / "models" / "phone"
    for name in ("model.int8.tflite", "labels.txt"):
        shutil.copy(folder / name, tmp_path)
    Image.fromarray(np.full((30, 24, 3), 90, np.uint8)).save(tmp_path / "photo.jpg")
    code = (folder / "card.md").read_text().split("```python\n")[1].split("```")[0]
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] in (folder / "labels.txt").read_text().split()


@pytest.mark.usefixtures("quick_models")
def test_without_a_compiler_the_c_is_written_and_marked_unverified(run, call, tmp_path, monkeypatch):
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    monkeypatch.setattr(build.shutil, "which", lambda _: None)
    limits = "targets={m4: {runtime: cortex_m4, limits: {sram_kb: 0.8x}}}"
    code, _, err = call("run", folder, "--set", limits, "--update")
    assert code == 0, err
    program = read(folder / "models" / "m4" / "verify.json")["program"]
    assert not program["verified"] and "apt-get install" in program["reason"]
    assert (folder / "models" / "m4" / "c" / "Makefile").exists()
    card = (folder / "models" / "m4" / "card.md").read_text()
    assert "the C program was NOT verified: " in card and "apt-get install" in card


def test_the_report_knows_other_costs_than_time(run, call):
    code, out, err = call("show", run)
    assert code == 0, err
    row = next(line for line in out.splitlines() if line.startswith("m4 "))
    assert "instructions" in row and "KB" in row
    assert load_recipe(run / "recipe.yaml").targets["m4"].bits == 8
