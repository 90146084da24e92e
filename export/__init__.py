"""Floor 1: model files (ONNX) and the runtimes that run, time and measure them."""
