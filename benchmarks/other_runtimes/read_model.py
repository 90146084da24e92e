"""Runs one model file with one runtime, in that runtime's own Python: 3.7 or later, numpy, and nothing of ofa.

``python read_model.py RUNTIME MODEL INPUTS.npz OUTPUTS.npy`` reads ``images`` (n, channels, height, width; normalised
float32), ``pixels`` (n, height, width, channels; uint8), and the scale and zero point of input and output as ``given``
and ``wanted``; writes logits (n, classes) and prints the version.
"""

import sys
from importlib import import_module
from pathlib import Path

import numpy as np


def onnxruntime(model, data, optimise=True):
    """ONNX Runtime, of any version."""
    ort = import_module("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    step = given.shape[0] if isinstance(given.shape[0], int) else len(data["images"])
    images = data["images"]
    parts = [session.run(None, {given.name: images[i : i + step]})[0] for i in range(0, len(images), step)]
    return np.concatenate(parts), ort.__version__


def onnxruntime_plain(model, data):
    """Without graph optimisations."""
    return onnxruntime(model, data, optimise=False)


def openvino(model, data):
    """OpenVINO's CPU plug-in, which reads ONNX and TFLite."""
    ov = import_module("openvino")
    # Its default is bfloat16 where the processor has it.
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    kind = compiled.input(0).get_element_type().to_dtype().name
    inputs = data["images"] if model.endswith(".onnx") else encoded(data, kind, *data["given"])
    outputs = np.concatenate([compiled({0: inputs[i : i + 1]})[0].copy() for i in range(len(inputs))])
    return decoded(outputs, *data["wanted"]), ov.__version__.split("-")[0]


def tensorflow(model, data):
    """TensorFlow's own interpreter."""
    tf = import_module("tensorflow")
    return _interpreted(tf.lite.Interpreter(model_path=model, num_threads=1), data), tf.__version__


def tflite_runtime(model, data):
    """The interpreter's package of its own, of 2023 and before."""
    module = import_module("tflite_runtime.interpreter")
    version = import_module("tflite_runtime").__version__
    return _interpreted(module.Interpreter(model_path=model, num_threads=1), data), version


def litert(model, data):
    """LiteRT."""
    from importlib.metadata import version

    module = import_module("ai_edge_litert.interpreter")
    return _interpreted(module.Interpreter(model_path=model, num_threads=1), data), version("ai-edge-litert")


def mediapipe(model, data):
    """MediaPipe's ImageClassifier: pixels in, metadata and labels from the file."""
    mp = import_module("mediapipe")
    vision = import_module("mediapipe.tasks.python.vision")
    tasks = import_module("mediapipe.tasks.python")
    base = tasks.BaseOptions(model_asset_path=model)
    rows = []
    labels = Path(model).with_name("labels.txt").read_text(encoding="utf-8").splitlines()
    with vision.ImageClassifier.create_from_options(vision.ImageClassifierOptions(base, max_results=-1)) as classifier:
        for pixels in data["pixels"]:
            kind = mp.ImageFormat.SRGB if pixels.shape[-1] == 3 else mp.ImageFormat.GRAY8
            image = mp.Image(image_format=kind, data=np.ascontiguousarray(pixels))
            found = classifier.classify(image).classifications[0].categories
            scores = {category.category_name: category.score for category in found}
            rows.append([scores[label] for label in labels])
    return np.array(rows, np.float32), mp.__version__


def encoded(data, kind, scale, zero_point):
    """The inputs as the model's type wants them, NHWC."""
    if kind == "uint8":
        return data["pixels"]
    images = data["images"].transpose(0, 2, 3, 1)
    if kind == "float32":
        return np.ascontiguousarray(images)
    limits = np.iinfo(kind)
    return np.clip(np.rint(images / np.float32(scale)) + zero_point, limits.min, limits.max).astype(kind)


def decoded(logits, scale, zero_point):
    """What the model's output means."""
    return logits if logits.dtype == np.float32 else (logits.astype(np.float32) - zero_point) * np.float32(scale)


def _interpreted(interpreter, data):
    """All images as one batch, which the input is resized to."""
    given, wanted = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    inputs = encoded(data, np.dtype(given["dtype"]).name, *given["quantization"])
    interpreter.resize_tensor_input(given["index"], inputs.shape, strict=True)
    interpreter.allocate_tensors()
    interpreter.set_tensor(given["index"], inputs)
    interpreter.invoke()
    logits = interpreter.get_tensor(wanted["index"])
    return decoded(logits, *wanted["quantization"])


if __name__ == "__main__":
    runtime, model, inputs, outputs = sys.argv[1:]
    with np.load(inputs) as stored:
        logits, version = globals()[runtime](model, dict(stored))
    np.save(outputs, logits)
    print(f"version {version}")
