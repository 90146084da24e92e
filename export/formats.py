"""What the model files can be made as: the choices that recipes and export functions share. Imports nothing."""

MIN_OPSET = 11  # of 2019: ONNX Runtime 1.0, TensorRT 7; older ones pass Clip's limits another way
MAX_OPSET = 21  # what the oldest onnxruntime that once-for-all runs on knows
INT8_OPSET = 13  # the first whose quantized weights may have a scale per channel

ONNX_INT8_WEIGHTS = ("signed", "reduced", "unsigned")
TFLITE_INPUTS = ("float32", "int8", "uint8")
