"""Model files in milliseconds, for tests of what comes before and after them.

Torch's exporter traces for seconds, and memory is measured in a process of its own, which imports torch for seconds.
"""

from contextlib import contextmanager

import onnx
import pytest

from ofa.export.graph import onnx_graph
from ofa.export.metadata import as_json
from ofa.export.onnx_opset import set_batch, set_opset
from ofa.export.runtimes import onnxruntime
from ofa.targets import model_files


def quick_onnx(model, path, *, resolution, metadata=None, opset=None, batch=None):
    """As ``export_onnx``, by the writer of graphs that blocks are timed with."""
    proto = onnx_graph(model, (model.in_chans, resolution, resolution))
    set_opset(proto, opset)
    set_batch(proto, batch)
    onnx.helper.set_model_props(proto, as_json({"resolution": resolution, **(metadata or {})}))
    path.write_bytes(proto.SerializeToString(deterministic=True))
    return path


@contextmanager
def quick_models():
    """The stage ``export`` traces no model and starts no process to measure memory, until this is left."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_files, "export_onnx", quick_onnx)
        patch.setattr(onnxruntime, "memory", lambda *_, **__: 10**6)
        yield
