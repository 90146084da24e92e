"""The tables of functions of one int8 tensor are those of TFLite's kernels, for every input."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

pytest.importorskip("ai_edge_quantizer", reason="pip install 'once-for-all[tflite]'")

from ofa.export.quantization import affine
from ofa.export.quantization.fake import tables
from ofa.export.quantization.tflite import quantize_tflite
from ofa.export.runtimes import litert
from ofa.export.tflite.export import tflite_bytes

TABLES = {"HardSwish": tables.hard_swish, "Sigmoid": tables.logistic}


def one_operator(name) -> onnx.ModelProto:
    ends = [helper.make_tensor_value_info(end, TensorProto.FLOAT, ["batch", 1, 16, 16]) for end in ("input", "logits")]
    graph = helper.make_graph([helper.make_node(name, ["input"], ["logits"], name="f")], "g", ends[:1], ends[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


@pytest.mark.parametrize("low, high", [(-3, 3), (-1, 9), (-20, 30), (-0.1, 0.2), (0, 2), (-80, 100)])
@pytest.mark.parametrize("name", TABLES)
def test_every_input(name, low, high):
    values = np.linspace(low, high, 256, dtype=np.float32).reshape(1, 1, 16, 16)
    session = litert.load_reference(quantize_tflite(tflite_bytes(one_operator(name)), [values]))
    given, output = session.input, session.output
    inputs = affine.dequantize(tables.INPUTS, given.scale, given.zero_point).reshape(1, 1, 16, 16)
    found = affine.quantize(litert.run(session, inputs), output.scale, output.zero_point).ravel()
    expected = TABLES[name](given.scale, given.zero_point, output.scale, output.zero_point)
    assert (found == expected).all()
