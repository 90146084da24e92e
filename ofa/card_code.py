"""The few lines that run a model file, for its card: Python, Android and C."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ofa.card_c import c_code

_PREPARE = """import numpy as np
from PIL import Image

image = Image.open("photo.jpg").convert("{mode}")
scale = int({resolution} / {crop_pct}) / min(image.size)
image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
left, top = (round((side - {resolution}) / 2) for side in image.size)
image = image.crop((left, top, left + {resolution}, top + {resolution}))
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

_TORCH = """import ofa, torch

model = ofa.load_subnet(".").eval()
with torch.inference_mode():
    logits = model(torch.from_numpy(data.transpose(2, 0, 1)[None].astype("float32")))
print(labels[int(logits.argmax())])
"""

_ANDROID_ONNX = """// implementation("com.microsoft.onnxruntime:onnxruntime-android:1.20.0"), {file} in assets
val environment = OrtEnvironment.getEnvironment()
val session = environment.createSession(context.assets.open("{file}").readBytes())
// pixels: FloatArray, channel after channel, (value / 255 - mean) / std
val shape = longArrayOf(1, {channels}, {resolution}, {resolution})
val input = OnnxTensor.createTensor(environment, FloatBuffer.wrap(pixels), shape)
val logits = (session.run(mapOf("input" to input))[0].value as Array<FloatArray>)[0]
val label = labels[logits.indices.maxBy {{ logits[it] }}]
"""

_ANDROID_TFLITE = """// implementation("com.google.ai.edge.litert:litert:1.0.1"), {file} in assets
val file = context.assets.openFd("{file}")
val bytes = FileInputStream(file.fileDescriptor).channel
    .map(FileChannel.MapMode.READ_ONLY, file.startOffset, file.declaredLength)
val interpreter = Interpreter(bytes)
// input: {kind} of (1, {resolution}, {resolution}, {channels}), (value / 255 - mean) / std{quantised}
val logits = Array(1) {{ {array}({classes}) }}
interpreter.run(input, logits)
val label = labels[logits[0].indices.maxBy {{ logits[0][it] }}]
"""


def snippets(
    file: str, given: dict[str, Any], *, runtime: str, classes: int, prefix: str = "model"
) -> dict[str, tuple[str, str]]:
    """For each heading the language and the lines that run ``models/TARGET/FILE``.

    ``given`` says what an image becomes: ``resolution``, ``channels``, ``mean``, ``std``, ``crop_pct``.
    ``prefix`` is that of the names in the C of a microcontroller's model.
    """
    values = {**given, "file": file, "classes": classes, "mode": "L" if given["channels"] == 1 else "RGB"}
    int8 = ".int8." in file
    prepare = _PREPARE.format(**values)
    if Path(file).suffix == ".onnx":
        return {
            "Python (`pip install onnxruntime pillow`)": ("python", prepare + _ONNX.format(**values)),
            "Android": ("kotlin", _ANDROID_ONNX.format(**values)),
        }
    if Path(file).suffix != ".tflite":
        return {"Python (`pip install once-for-all`)": ("python", prepare + _TORCH)}
    kinds = {"kind": "bytes", "array": "ByteArray", "quantised": ", / scale + zero point, rounded"}
    kinds = kinds if int8 else {"kind": "floats", "array": "FloatArray", "quantised": ""}
    found = {
        "Python (`pip install ai-edge-litert pillow`)": (
            "python",
            prepare + _TFLITE.format(**values, encode=_ENCODE if int8 else ""),
        ),
        "Android": ("kotlin", _ANDROID_TFLITE.format(**values, **kinds)),
    }
    if runtime.startswith("cortex_m"):
        found["C"] = ("c", c_code(prefix, given))
    return found
