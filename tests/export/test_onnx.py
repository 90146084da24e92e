"""ONNX files by torch's exporter: names, shapes, metadata, any batch size, verification."""

import copy
import json
import os
import platform
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import timm
import torch

from ofa.export.graph import onnx_graph
from ofa.export.onnx import export_onnx, read_metadata
from ofa.export.runtimes import onnxruntime
from ofa.export.verify import check_tolerance, compare
from ofa.predictors.metrics import top1
from ofa.supernet.calibration import calibrate
from ofa.supernet.space import SearchSpace
from ofa.supernet.supernet import Supernet

torch.set_num_threads(1)  # tests run beside each other

SPACE = SearchSpace.preset("tiny_mbv3")
SUBNET = SPACE.decode(SPACE.sample(1, np.random.default_rng(3))[0])
METADATA = {
    "classes": ["Käse", "0", 'a "quoted" one'],
    "mean": [0.1, 0.2, 0.30000000000000004],
    "std": [1, 1, 1],
    "subnet": SUBNET.to_dict(),
}


def new_model():
    torch.manual_seed(0)
    model = Supernet(SPACE, num_classes=3).extract(SUBNET)
    return calibrate(model, [torch.randn(16, 3, 20, 20)])


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The model, its file, and whether exporting changed the model or warned."""
    model = new_model()
    path = tmp_path_factory.mktemp("model") / "new" / "model.onnx"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert export_onnx(model, path, resolution=20, metadata=METADATA) == path
    assert not caught, "users cannot act on the exporter's warnings"
    return model, path


def test_the_model_is_left_as_it_was(exported):
    model, _ = exported
    fresh = new_model()
    assert type(model) is timm.models.MobileNetV3
    for name, tensor in fresh.state_dict().items():
        mine = model.state_dict()[name]
        assert torch.equal(mine, tensor) and mine.stride() == tensor.stride(), name


@pytest.mark.parametrize("batch", [1, 2, 7])
@torch.no_grad()
def test_any_batch_size_gives_torchs_logits(exported, batch):
    model, path = exported
    x = torch.randn(batch, 3, 20, 20)
    expected = model(x).numpy()
    got = onnxruntime.run(onnxruntime.load(path), x.numpy())
    assert got.shape == (batch, 3) and np.abs(got - expected).max() < 1e-5 * np.ptp(expected)


def test_names_and_shapes(exported):
    graph = onnx.load(exported[1]).graph
    (given,), (wanted,) = graph.input, graph.output
    assert (given.name, wanted.name) == ("input", "logits")
    shapes = [[dim.dim_param or dim.dim_value for dim in one.type.tensor_type.shape.dim] for one in (given, wanted)]
    assert shapes == [["batch", 3, 20, 20], ["batch", 3]]


def test_metadata_comes_back(exported):
    assert read_metadata(exported[1]) == {"resolution": 20, **METADATA}
    props = onnxruntime.load(exported[1]).get_modelmeta().custom_metadata_map
    assert {key: json.loads(value) for key, value in props.items()} == {"resolution": 20, **METADATA}


def test_the_file_is_self_contained_and_names_nothing_of_this_machine(exported):
    _, path = exported
    assert [file.name for file in path.parent.iterdir()] == ["model.onnx"]
    content = path.read_bytes()
    packages = Path(timm.__file__).parents[1]
    secrets = [str(Path(__file__).parents[2]), str(packages), str(Path.home()), str(Path.cwd()), str(path.parent)]
    for secret in [*secrets, "site-packages", "mobilenetv3.py", "stack_trace", platform.node()]:
        assert len(secret) < 3 or secret.encode() not in content, secret
    assert f"/{os.environ.get('USER') or 'root'}/".encode() not in content
    assert len(content) < 1.2 * sum(4 * tensor.numel() for tensor in exported[0].state_dict().values()) + 30_000


def test_written_graph_has_the_exporters_operators(exported):
    model, path = exported
    ignored = {"Flatten", "Reshape", "Identity"}
    exporters, ours = (
        Counter(node.op_type for node in graph.node if node.op_type not in ignored)
        for graph in (onnx.load(path).graph, onnx_graph(model, (3, 20, 20)).graph)
    )
    assert ours == exporters and ours["Conv"] > 10


@torch.no_grad()
def test_file_is_accepted_and_a_tampered_one_rejected(exported, tmp_path):
    model, path = exported
    batches = [torch.randn(8, 3, 20, 20) for _ in range(3)]
    session = onnxruntime.load(path)
    result = compare(model, lambda x: onnxruntime.run(session, x), batches)
    assert result["images"] == 24 and result["equal_predictions"] == 1
    check_tolerance(path, result)
    assert path.exists()

    proto = onnx.load(path)
    tampered = max(proto.graph.initializer, key=lambda one: len(one.raw_data))
    weights = onnx.numpy_helper.to_array(tampered) * 1.01
    tampered.CopyFrom(onnx.numpy_helper.from_array(weights.astype(np.float32), tampered.name))
    bad = tmp_path / "model.onnx"
    onnx.save(proto, bad)
    session = onnxruntime.load(bad)
    result = compare(model, lambda x: onnxruntime.run(session, x), batches)
    with pytest.raises(ValueError, match=r"model\.onnx\.rejected: the exported model disagrees"):
        check_tolerance(bad, result)
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx.rejected"]


def test_accuracy_in_the_runtime_is_torchs(exported):
    model, path = exported
    generator = torch.Generator().manual_seed(0)
    batches = [(torch.randn(n, 3, 20, 20, generator=generator), torch.arange(n) % 3) for n in (8, 3)]
    session = onnxruntime.load(path)
    with torch.no_grad():
        right = sum(int((model(x).argmax(1) == y).sum()) for x, y in batches)
    assert 0 < right < 11
    assert top1(lambda x: onnxruntime.run(session, x.numpy()), batches) == right / 11


def test_training_mode_is_refused(exported, tmp_path):
    model = copy.deepcopy(exported[0]).train()
    with pytest.raises(ValueError, match=r"training mode; call model\.eval\(\)"):
        export_onnx(model, tmp_path / "model.onnx", resolution=20)
    assert not list(tmp_path.iterdir())
