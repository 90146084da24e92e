"""Peak memory of a fresh process, for models whose weights are known."""

import sys

import pytest
from torch import nn

from ofa.export.runtimes import onnxruntime
from ofa.export.runtimes.process_memory import resident

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc of Linux")


@pytest.mark.parametrize("megabytes", [2, 64])
def test_the_weights_are_counted(tmp_path, megabytes):
    model = nn.Sequential(nn.Conv2d(megabytes * 2**18 // 2**8, 2**8, 1, bias=False)).eval()
    path = tmp_path / "model.onnx"
    shape = (model[0].in_channels, 1, 1)
    path.write_bytes(onnxruntime.convert(model, shape))
    grown = onnxruntime.memory(path, (1, *shape))
    # Loading holds several copies of the weights for a moment.
    assert megabytes * 2**20 < grown < megabytes * 2**20 * 6 + 50 * 2**20


def test_what_cannot_be_run_is_said(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"garbage")
    with pytest.raises(ValueError, match=r"onnxruntime could not run .*model.onnx: "):
        resident("onnxruntime", path, (1, 3, 8, 8))
