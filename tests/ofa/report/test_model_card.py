"""Model cards: what they say, and that the Python on them runs as printed."""

import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from ofa.config.recipe_file import load_recipe
from ofa.data.preprocess import METADATA
from ofa.export.onnx import read_metadata
from ofa.pipeline.artefacts.evaluation import Evaluation
from ofa.pipeline.artefacts.report import Report
from ofa.report.card_snippets import snippets
from ofa.report.model_card import render_card
from ofa.supernet.files import read_json

CODE = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


def code_of(text):
    return dict(CODE.findall(text))


def test_the_python_on_the_card_classifies_as_the_report_says(finished, tmp_path):
    folder = finished.folder / "models" / "phone"
    for name in ("model.onnx", "labels.txt"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    image = np.zeros((24, 30), np.uint8)
    image[4:20, 13:17] = 255  # a one
    Image.fromarray(image).save(tmp_path / "photo.jpg", quality=100)
    code = code_of((folder / "card.md").read_text())["python"]
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in (folder / "labels.txt").read_text().splitlines()


def test_a_card_has_the_report_s_numbers(finished):
    report = read_json(finished.folder / "report.json")
    text = (finished.folder / "models" / "phone" / "card.md").read_text()
    found = report["targets"]["phone"]
    for number in (found["measured"]["test_accuracy"], found["verified"]["validation_accuracy"]):
        assert f"| {100 * number:.2f} |" in text
    assert found["id"] in text and f"{found['subnet']['resolution']} pixels" in text
    assert "Licence: not stated in the recipe (`data.licence`)" in text


def test_model_files_say_what_the_card_s_code_does(finished):
    found = read_metadata(finished.folder / "models" / "phone" / "model.onnx")
    said = {key: found[key] for key in METADATA}
    assert said == METADATA and found["background"] == [255, 255, 255] and found["interpolation"] == "bilinear"
    assert {"resolution", "crop_pct", "mean", "std", "classes"} <= set(found)


def test_a_licence_makes_the_report_anew_and_nothing_else(call, copied, ran):
    code, out, err = call("run", copied, "--set", "data.licence=CC BY 4.0", "--update")
    assert (code, ran(out)) == (0, ["report"]), err
    assert "Licence: CC BY 4.0." in (copied / "models" / "phone" / "card.md").read_text()
    assert load_recipe(copied / "recipe.yaml").data.licence == "CC BY 4.0"


GIVEN = {"resolution": 8, "channels": 1, "mean": [0.3], "std": [0.4], "crop_pct": 1.0}


@pytest.mark.parametrize(
    ("file", "runtime", "languages"),
    [
        ("model.onnx", "onnxruntime", ["python", "kotlin"]),
        ("model.int8.onnx", "onnxruntime", ["python", "kotlin"]),
        ("model.tflite", "litert", ["python", "kotlin"]),
        ("model.int8.tflite", "litert", ["python", "kotlin"]),
        ("model.int8.tflite", "cortex_m4", ["python", "kotlin", "c"]),
        ("weights.safetensors", "torch", ["python"]),
    ],
)
def test_every_kind_of_file_says_how_it_runs(file, runtime, languages):
    found = snippets(file, GIVEN, runtime=runtime, classes=10)
    assert [language for language, _ in found.values()] == languages
    for language, code in found.values():
        if language == "python":
            compile(code, file, "exec")
            assert file in code or runtime == "torch"


def test_flags_are_in_capitals(finished):
    values = read_json(finished.folder / "report.json")
    verified = values["targets"]["phone"]["verified"]
    verified |= {
        "runtime": "cortex_m4",
        "validation_accuracy_float32": 0.9,
        "program": {"verified": False, "reason": "arm-none-eabi-gcc is not there"},
        "int8": {
            "calibration_images": 5,
            "calibration_images_asked": 64,
            "used": "bias correction",
            "within": False,
            "allowed_drop": 0.01,
        },
    }
    text = render_card(Report.model_validate(values), "phone", Evaluation.load(finished.folder), licence=None)
    assert "the C program was NOT verified: arm-none-eabi-gcc is not there." in text
    assert "the loss is MORE THAN the 1 points" in text
    assert "on 5 training images (there are no more; 64 were asked for)" in text
