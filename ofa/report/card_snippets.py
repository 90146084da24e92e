"""The few lines that run a model file, for its card: Python, Android and C."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from ofa.data.preprocess import IMPORTS, as_seen, middle
from ofa.export.runtimes import RUNTIMES
from ofa.report.card_c import c_code
from ofa.report.card_kotlin import kotlin

_PREPARE = """with Image.open("photo.jpg") as photo:
    image = middle(as_seen(photo).convert("{mode}"), {resolution}, {crop_pct})
data = np.asarray(image, np.float32).reshape({resolution}, {resolution}, {channels}) / 255
data = (data - np.array({mean}, np.float32)) / np.array({std}, np.float32)
labels = open("labels.txt", encoding="utf-8").read().splitlines()

"""

_ONNX = """import onnxruntime

session = onnxruntime.InferenceSession("{file}")
logits = session.run(None, {{"input": data.transpose(2, 0, 1)[None]}})[0][0]
print(labels[logits.argmax()])
"""

_TFLITE = """from ai_edge_litert.interpreter import Interpreter

model = Interpreter("{file}")
model.allocate_tensors()
given, wanted = model.get_input_details()[0], model.get_output_details()[0]
{encode}model.set_tensor(given["index"], data[None].astype(given["dtype"]))
model.invoke()
print(labels[model.get_tensor(wanted["index"])[0].argmax()])
"""
_ENCODE = """scale, zero = given["quantization"]
data = np.clip(np.rint(data / scale) + zero, -128, 127)
"""
_PIXELS = """data = np.rint(255 * (data * np.array({std}) + np.array({mean})))  # pixels: it normalises them itself
"""
_ENCODES = {"float32": "", "int8": _ENCODE, "uint8": _PIXELS}

_TORCH = """import ofa, torch

model = ofa.load_subnet(".").eval()
with torch.inference_mode():
    logits = model(torch.from_numpy(data.transpose(2, 0, 1)[None].astype("float32")))
print(labels[int(logits.argmax())])
"""


def snippets(
    file: str, preprocessing: dict[str, Any], *, runtime: str, classes: int, prefix: str = "model"
) -> dict[str, tuple[str, str]]:
    """For each heading the language and the lines that run ``models/TARGET/FILE``.

    ``preprocessing`` says what an image becomes: ``resolution``, ``channels``, ``mean``, ``std``, ``crop_pct``, and
    perhaps ``input_type``, of a TFLite file whose recipe says it. ``prefix`` is that of the names in the C of a
    microcontroller's model.
    """
    values = {
        **preprocessing,
        "file": file,
        "classes": classes,
        "mode": "L" if preprocessing["channels"] == 1 else "RGB",
    }
    # The functions that the product itself prepares images with, as they stand in its source.
    functions = (inspect.getsource(function).strip() for function in (as_seen, middle))
    prepare = "\n\n\n".join([IMPORTS.strip(), *functions, _PREPARE.format(**values)])

    # What the TFLite file takes: the recipe's tflite.input, else what its numbers are.
    kind = preprocessing.get("input_type") or ("int8" if ".int8." in file else "float32")

    if Path(file).suffix == ".onnx":
        return {
            "Python (`pip install onnxruntime pillow`)": ("python", prepare + _ONNX.format(**values)),
            "Android": ("kotlin", kotlin(file, preprocessing)),
        }
    if Path(file).suffix != ".tflite":
        return {"Python (`pip install once-for-all`)": ("python", prepare + _TORCH)}
    snippets = {
        "Python (`pip install ai-edge-litert pillow`)": (
            "python",
            prepare + _TFLITE.format(**values, encode=_ENCODES[kind].format(**values)),
        ),
        "Android": ("kotlin", kotlin(file, preprocessing)),
    }
    if runtime in RUNTIMES and RUNTIMES[runtime].format == "c":
        snippets["C"] = ("c", c_code(prefix, preprocessing))
    return snippets
