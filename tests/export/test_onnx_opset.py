"""ONNX files declare the lowest opset that their operators need, and can have a fixed batch size."""

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from ofa.export.formats import MAX_OPSET, MIN_OPSET
from ofa.export.graph import onnx_graph
from ofa.export.onnx import export_onnx, read_metadata
from ofa.export.onnx_opset import opset_of, set_batch, set_opset
from ofa.export.quantization.onnx import quantize_onnx
from ofa.export.runtimes import onnxruntime
from ofa.supernet.space import SearchSpace
from ofa.supernet.supernet import Supernet

torch.set_num_threads(1)  # tests run beside each other

# The IR versions of onnx's releases that brought the opsets.
IR = {11: 6, 12: 7, 13: 7, 14: 7, 15: 8, 21: 10}


def new_model(preset):
    space = SearchSpace.preset(preset)
    torch.manual_seed(0)
    return Supernet(space, num_classes=4).extract(space.smallest)


@pytest.fixture(scope="module")
def models():
    return {"tiny_mbv3": new_model("tiny_mbv3"), "mcu_32_ir": new_model("mcu_32_ir")}


@pytest.fixture(scope="module")
def exported(models, tmp_path_factory):
    """By preset, the file with nothing asked for."""
    folder = tmp_path_factory.mktemp("files")
    onnx.save(onnx_graph(models["mcu_32_ir"], (3, 32, 32)), folder / "mcu_32_ir.onnx")
    return {
        "tiny_mbv3": export_onnx(models["tiny_mbv3"], folder / "tiny_mbv3.onnx", resolution=32),
        "mcu_32_ir": folder / "mcu_32_ir.onnx",  # of ours, which takes no seconds
    }


@pytest.fixture
def quick():
    """A model that torch's exporter writes in no time."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    model = nn.Sequential(*layers).eval()
    model.in_chans = 3
    return model


def images(n=5):
    return np.random.default_rng(0).standard_normal((n, 3, 32, 32), dtype=np.float32)


@torch.no_grad()
def assert_same(path, model, data):
    expected = model(torch.from_numpy(data)).numpy()
    got = onnxruntime.run(onnxruntime.load(path), data)
    assert got.shape == expected.shape and np.abs(got - expected).max() < 1e-5 * np.ptp(expected)


@pytest.mark.parametrize("preset, lowest", [("tiny_mbv3", 14), ("mcu_32_ir", 11)])
def test_the_lowest_opset_and_its_ir_version(exported, preset, lowest):
    """torch's own are 20 and 10, which onnxruntime before 1.18 refuses."""
    proto = onnx.load(exported[preset])
    assert (opset_of(proto), proto.ir_version) == (lowest, IR[lowest])
    graph = onnx_graph(new_model(preset), (3, 32, 32))
    assert (opset_of(graph), graph.ir_version) == (lowest, IR[lowest])


def test_the_exporters_relu6_does_not_raise_the_opset(quick, tmp_path):
    proto = onnx.load(export_onnx(quick, tmp_path / "model.onnx", resolution=32))
    assert "Clip" in {node.op_type for node in proto.graph.node}
    assert (opset_of(proto), proto.ir_version) == (11, IR[11])


def test_every_node_is_known_to_its_opset(exported):
    """By onnx's own schemas: nothing is stamped older than it is."""
    for path in exported.values():
        proto = onnx.load(path)
        onnx.checker.check_model(proto, full_check=True)
        for node in proto.graph.node:
            schema = onnx.defs.get_schema(node.op_type, opset_of(proto))
            assert {attribute.name for attribute in node.attribute} <= set(schema.attributes), node.op_type
            assert schema.min_input <= len(node.input) <= schema.max_input


@pytest.mark.parametrize("opset", [MIN_OPSET, 13, MAX_OPSET])
def test_a_chosen_opset(models, exported, opset, tmp_path):
    proto = onnx.load(exported["tiny_mbv3"])
    set_opset(proto, opset)
    assert (opset_of(proto), proto.ir_version) == (opset, IR[opset])
    onnx.checker.check_model(proto, full_check=True)
    assert ("HardSwish" in {node.op_type for node in proto.graph.node}) == (opset >= 14)
    onnx.save(proto, tmp_path / "model.onnx")
    assert_same(tmp_path / "model.onnx", models["tiny_mbv3"], images())


@pytest.mark.parametrize("opset", [10, MAX_OPSET + 1, 0, -1, 13.0, True, "13"])
def test_invalid_opsets(models, opset, tmp_path):
    with pytest.raises(ValueError, match=rf"opset is .*; it must be a whole number from {MIN_OPSET} to {MAX_OPSET}"):
        export_onnx(models["mcu_32_ir"], tmp_path / "model.onnx", resolution=32, opset=opset)
    assert not list(tmp_path.iterdir())


def test_an_opset_below_what_an_unknown_operator_needs():
    node = onnx.helper.make_node("Mish", ["input"], ["logits"])
    given, wanted = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 4]) for name in ("input", "logits")
    )
    graph = onnx.helper.make_graph([node], "g", [given], [wanted])
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)])
    with pytest.raises(ValueError, match="opset is 14; the graph needs 18, for its operators Mish"):
        set_opset(proto, 14)
    set_opset(proto)
    assert opset_of(proto) == 18


def test_one_batch_size(models, exported, tmp_path):
    proto, path = onnx.load(exported["mcu_32_ir"]), tmp_path / "model.onnx"
    set_batch(proto, 1)
    onnx.save(proto, path)
    proto = onnx.load(path)
    values = [*proto.graph.input, *proto.graph.output, *proto.graph.value_info]
    shapes = [[size.dim_value for size in value.type.tensor_type.shape.dim] for value in values]
    assert len(shapes) > 20 and all(shape and all(shape) and shape[0] == 1 for shape in shapes)
    assert onnxruntime.load(path).get_inputs()[0].shape == [1, 3, 32, 32]
    assert_same(path, models["mcu_32_ir"], images())  # one by one

    int8 = quantize_onnx(path, tmp_path / "int8.onnx", images(20))
    session = onnxruntime.load(int8)
    assert session.get_inputs()[0].shape == [1, 3, 32, 32]
    assert onnxruntime.run(session, images()).shape == (5, 4)


@pytest.mark.parametrize("count", [0, 1, 3, 4, 9])
def test_files_of_a_fixed_batch_run_any_number_of_images(models, count, exported, tmp_path):
    proto = onnx.load(exported["mcu_32_ir"])
    set_batch(proto, 4)
    onnx.save(proto, tmp_path / "model.onnx")
    data = images(count)
    expected = onnxruntime.run(onnxruntime.load(exported["mcu_32_ir"]), data)
    got = onnxruntime.run(onnxruntime.load(tmp_path / "model.onnx"), data)
    assert got.shape == expected.shape == (count, 4) and np.allclose(got, expected, atol=1e-5)


def test_opset_and_batch_are_arguments_of_export(quick, tmp_path):
    path = export_onnx(quick, tmp_path / "model.onnx", resolution=32, opset=15, batch=2)
    assert opset_of(onnx.load(path)) == 15 and onnxruntime.load(path).get_inputs()[0].shape == [2, 3, 32, 32]
    assert_same(path, quick, images())


@pytest.mark.parametrize("batch", [0, -1, 1.0, "1", True])
def test_invalid_batch_sizes(models, batch, tmp_path):
    with pytest.raises(ValueError, match=r"batch is .*; it must be a positive whole number, or None"):
        export_onnx(models["mcu_32_ir"], tmp_path / "model.onnx", resolution=32, batch=batch)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_models_of_another_precision_are_written_in_float32(dtype, quick, tmp_path):
    """A half precision model ended in a traceback of torch's exporter."""
    model = quick.to(dtype)
    path = export_onnx(model, tmp_path / "model.onnx", resolution=32)
    assert next(model.parameters()).dtype == dtype
    assert_same(path, model.float(), images())


def test_numpys_values_as_metadata(quick, tmp_path):
    """They ended in a TypeError of the json module."""
    metadata = {
        "mean": np.array([0.5, 0.25], np.float32),
        "count": np.int64(3),
        "nested": {"std": (np.float64(0.5), torch.tensor(2.0)), np.str_("flag"): np.bool_(True)},
        "names": np.array(["a", "b"]),
    }
    path = export_onnx(quick, tmp_path / "model.onnx", resolution=np.int64(32), metadata=metadata)
    wanted = {"mean": [0.5, 0.25], "count": 3, "nested": {"std": [0.5, 2.0], "flag": True}, "names": ["a", "b"]}
    assert read_metadata(path) == {"resolution": 32, **wanted}


@pytest.mark.parametrize(
    "metadata, words",
    [
        ({"when": object()}, "metadata entry 'when' cannot be stored as JSON"),
        ({"mean": [0.5, float("nan")]}, "metadata entry 'mean' cannot be stored as JSON"),
        ({"raw": b"bytes"}, "metadata entry 'raw' cannot be stored as JSON: it holds bytes"),
        ({"values": {1, 2}}, "metadata entry 'values' cannot be stored as JSON"),
        ({3: "three"}, "metadata key 3 is a int; keys must be text"),
    ],
)
def test_metadata_that_json_cannot_hold_is_named(models, metadata, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        export_onnx(models["mcu_32_ir"], tmp_path / "model.onnx", resolution=32, metadata=metadata)
    assert not list(tmp_path.iterdir())
