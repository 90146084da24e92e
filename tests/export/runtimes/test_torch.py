"""The runtime torch: the same calls as ONNX Runtime's, the same numbers."""

import inspect
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from ofa.export.graph import onnx_graph
from ofa.export.runtimes import onnxruntime
from ofa.export.runtimes import torch as runtime
from ofa.export.runtimes.timing import interleaved, lower_quartile
from ofa.supernet.saving import save_subnet
from ofa.supernet.space import SearchSpace
from ofa.supernet.supernet import Supernet

SPACE = SearchSpace.preset("tiny_mbv3")
SHAPE = (2, 3, 16, 16)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Supernet(SPACE, num_classes=5).extract(SPACE.smallest).eval()


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).standard_normal(SHAPE, dtype=np.float32)


@pytest.mark.parametrize("call", ["load", "run", "bind", "environment"])
def test_same_calls_as_onnxruntime(call):
    ours, others = (inspect.signature(getattr(module, call)).parameters for module in (runtime, onnxruntime))
    for one, other in ((ours, others), (others, ours)):
        own = [name for name in one if name not in other]
        assert [name for name in one if name not in own] == [name for name in other if name in one]
        for name in own:
            assert one[name].default is not inspect.Parameter.empty, "whoever calls one can call the other"


@pytest.mark.parametrize("threads", [1, 2])
def test_runs_as_the_module_and_as_onnxruntime(model, images, threads):
    before = torch.get_num_threads()
    logits = runtime.run(runtime.load(model, threads=threads), images)
    assert torch.get_num_threads() == before
    with torch.no_grad():
        np.testing.assert_allclose(logits, model(torch.from_numpy(images)).numpy(), atol=1e-5)
    session = onnxruntime.load(onnx_graph(model, SHAPE[1:]).SerializeToString())
    np.testing.assert_allclose(logits, onnxruntime.run(session, images), atol=1e-4)
    assert logits.dtype == np.float32


def test_threads_are_set_while_it_runs():
    class Threads(nn.Module):
        def forward(self, x):
            return x + torch.get_num_threads()

    before = torch.get_num_threads()
    session = runtime.load(Threads(), threads=3)
    zeros = np.zeros((1, 1), np.float32)
    assert runtime.run(session, zeros) == [[3]] and runtime.bind(session, (1, 1))().shape == (1, 1)

    class Failing(nn.Module):
        def forward(self, x):
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        runtime.run(runtime.load(Failing(), threads=3), zeros)
    assert torch.get_num_threads() == before


def test_a_session_is_a_copy_in_eval_mode(model, images):
    changing = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)).train()
    session = runtime.load(changing)
    first = runtime.run(session, images)
    with torch.no_grad():
        changing[0].weight.zero_()
    assert np.array_equal(runtime.run(session, images), first)
    assert changing.training and changing[1].training
    assert not torch.from_numpy(first).isnan().any()


@pytest.mark.parametrize("change", [lambda x: x.astype(np.float64), np.asfortranarray, lambda x: x[:, ::-1][:, ::-1]])
def test_any_array_is_taken_and_left_alone(model, images, change):
    session, given = runtime.load(model), change(images)
    given.flags.writeable = False
    assert np.array_equal(runtime.run(session, given), runtime.run(session, images))


def test_a_saved_subnet_is_loaded(model, images, tmp_path):
    save_subnet(model, SPACE.smallest, tmp_path)
    np.testing.assert_allclose(
        runtime.run(runtime.load(tmp_path), images), runtime.run(runtime.load(model), images), atol=1e-5
    )
    (tmp_path / "weights.safetensors").write_bytes(b"garbage")
    with pytest.raises(ValueError, match=r"weights\.safetensors is damaged"):
        runtime.load(tmp_path)
    with pytest.raises(FileNotFoundError):
        runtime.load(tmp_path / "none")


def test_prepared_calls_rank_by_their_work():
    small, large = (nn.Sequential(nn.Conv2d(8, *sizes)) for sizes in ((8, 3), (256, 7)))
    calls = [runtime.bind(runtime.load(module), (1, 8, 48, 48)) for module in (small, large)]
    fast, slow = lower_quartile(interleaved(calls, rounds=5, progress=False))
    assert 5 * fast < slow
    with pytest.raises(RuntimeError, match="channels"):  # it does run: data of another shape fails
        runtime.bind(runtime.load(small), (1, 5, 8, 8))()


def test_compiled_is_as_eager(images):
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.ReLU())
    eager, compiled = (runtime.load(module, compiled=flag) for flag in (False, True))
    runtime.bind(compiled, SHAPE)()
    np.testing.assert_allclose(runtime.run(compiled, images), runtime.run(eager, images), atol=1e-5)


def test_more_networks_are_compiled_than_torch_compiles_of_one_source(monkeypatch):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))  # without the wait for g++
    with torch._dynamo.config.patch(recompile_limit=1):  # monkeypatch would take it away at its end
        for width in (2, 3, 4):
            session = runtime.load(nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU()), compiled=True)
            assert runtime.bind(session, SHAPE)().shape[1] == width


def test_a_whole_subnet_can_be_traced(model, images):
    """Compiling one takes long; what could fail in it is the tracing."""
    traced = runtime.load(model, compiled=True).module._orig_mod
    np.testing.assert_array_equal(traced(torch.from_numpy(images)).detach(), model(torch.from_numpy(images)).detach())


def test_what_cannot_be_compiled_is_said(monkeypatch):
    class Branching(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(ValueError, match=r"torch cannot compile Branching: .*; use compiled=False"):
        runtime.load(Branching(), compiled=True)

    def broken(_module, **_options):
        def call(_x):
            raise RuntimeError("No working C++ compiler found\nmore")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    session = runtime.load(nn.ReLU(), compiled=True)
    with pytest.raises(ValueError, match=r"No working C\+\+ compiler found; .*apt-get install g\+\+"):
        runtime.bind(session, (1, 1))


def test_a_device_that_is_not_there(model):
    with pytest.raises(ValueError, match=r"cuda:99 is not there: torch sees .* use cpu"):
        runtime.load(model, device="cuda:99")
    for name in ("abacus", "meta"):
        with pytest.raises(ValueError, match=name):
            runtime.environment(threads=1, device=name)


def test_environment_says_what_times_hold_for():
    values = runtime.environment(threads=3, compiled=True)
    assert (values["runtime"], values["version"], values["threads"]) == ("torch", torch.__version__, 3)
    assert (values["device"], values["compiled"]) == ("cpu", True)
    assert values["cpu"] == onnxruntime.environment(threads=3)["cpu"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda(model, images):
    session = runtime.load(model, device="cuda")
    np.testing.assert_allclose(runtime.run(session, images), runtime.run(runtime.load(model), images), atol=1e-2)
    runtime.bind(session, SHAPE)()
    assert runtime.environment(threads=1, device="cuda")["gpu"] == torch.cuda.get_device_name()
