"""ONNX Runtime: loading, running and timing."""

import numpy as np
import pytest
import torch
from onnxruntime import InferenceSession
from torch import nn

from ofa.export.graph import onnx_graph
from ofa.export.runtimes import onnxruntime
from ofa.export.runtimes.timing import interleaved, lower_quartile


@pytest.fixture(scope="module")
def conv():
    """A convolution, and its graph's bytes."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3)).eval()
    return module, onnx_graph(module, (3, 8, 8)).SerializeToString()


@pytest.mark.parametrize("threads", [1, 2])
@torch.no_grad()
def test_bytes_and_files_run_alike(conv, tmp_path, threads):
    module, content = conv
    path = tmp_path / "conv.onnx"
    path.write_bytes(content)
    x = torch.randn(2, 3, 8, 8)
    for model in (content, path):
        session = onnxruntime.load(model, threads=threads)
        assert session.get_session_options().intra_op_num_threads == threads
        np.testing.assert_allclose(onnxruntime.run(session, x.numpy()), module(x).numpy(), atol=1e-5)


@pytest.mark.parametrize("change", [lambda x: x.astype(np.float64), np.asfortranarray, lambda x: x[:, ::-1][:, ::-1]])
def test_any_array_is_taken(conv, change):
    session = onnxruntime.load(conv[1])
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 8), dtype=np.float32)
    assert np.array_equal(onnxruntime.run(session, change(x)), onnxruntime.run(session, x))


@pytest.mark.parametrize("content", [b"", b"garbage", None, 0.5])
def test_what_is_no_model_is_named(conv, tmp_path, content):
    path = tmp_path / "broken.onnx"
    if content is not None:
        path.write_bytes(conv[1][: len(conv[1]) // 2] if content == 0.5 else content)
    with pytest.raises(ValueError) as caught:
        onnxruntime.load(path)
    assert str(caught.value).startswith(f"onnxruntime cannot load {path}: ")


def test_bytes_that_are_no_model():
    with pytest.raises(ValueError, match=r"^onnxruntime cannot load the ONNX model: "):
        onnxruntime.load(b"garbage")


def test_prepared_call_runs_the_session(conv):
    session = onnxruntime.load(conv[1])
    call = onnxruntime.bind(session, (1, 3, 8, 8))
    for _ in range(3):
        call()
    with pytest.raises(Exception, match=r"(?i)dimension|shape"):  # it does run: data of another shape fails
        onnxruntime.bind(session, (1, 5, 8, 8))()


def test_environment_says_what_times_hold_for():
    values = onnxruntime.environment(threads=3)
    assert (values["runtime"], values["threads"]) == ("onnxruntime", 3)
    assert values["version"][0].isdigit() and values["cpu"]


def test_real_graphs_rank_by_their_work():
    small, large = (nn.Sequential(nn.Conv2d(8, *sizes)).eval() for sizes in ((8, 3), (256, 7)))
    shape = (8, 48, 48)
    calls = [
        onnxruntime.bind(onnxruntime.load(onnx_graph(module, shape).SerializeToString()), (1, *shape))
        for module in (small, large)
    ]
    fast, slow = lower_quartile(interleaved(calls, rounds=5, progress=False))
    assert 5 * fast < slow


POOLS = ("intra", "inter")


def test_no_session_of_ours_has_threads_that_spin(monkeypatch):
    """Neither those that run models nor the one that finds ranges for int8."""
    seen = []

    def session(source, sess_options, **others):
        try:
            seen.append([sess_options.get_session_config_entry(f"session.{pool}_op.allow_spinning") for pool in POOLS])
        except RuntimeError:  # not set
            seen.append(None)
        return InferenceSession(source, sess_options, **others)

    monkeypatch.setattr("onnxruntime.InferenceSession", session)
    module = nn.Sequential(nn.Conv2d(3, 8, 3)).eval()
    onnxruntime.load(onnxruntime.convert(module, (3, 8, 8)), threads=2)
    assert onnxruntime.convert_int8(module, (3, 8, 8))
    # onnxruntime's quantizer makes one more, of its own options.
    assert seen[0] == ["0", "0"] and seen.count(["0", "0"]) == 2
