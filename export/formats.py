"""The choices of file formats that recipes and export functions share. Imports nothing."""

MIN_OPSET = 11  # of 2019: ONNX Runtime 1.0, TensorRT 7; in older opsets Clip's limits are attributes, not inputs
MAX_OPSET = 21  # the newest that the oldest supported onnxruntime knows
INT8_OPSET = 13  # the first whose quantized weights may have a scale per channel

ONNX_INT8_WEIGHTS = ("signed", "reduced", "unsigned")
TFLITE_INPUTS = ("float32", "int8", "uint8")
