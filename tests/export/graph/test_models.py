"""Directly written graphs of plain timm models of five classes compute what torch computes."""

import numpy as np
import onnx
import pytest
import timm
import torch
from shared_timm import ALL, NAMES, network
from torch import nn

from ofa.export.graph import onnx_graph
from ofa.export.onnx import export_onnx
from ofa.export.onnx_opset import opset_of, set_opset
from ofa.export.runtimes import onnxruntime

torch.set_num_threads(1)  # tests run beside each other


@torch.no_grad()
def assert_same(module, proto, shape, *, batches=(1, 2)):
    session = onnxruntime.load(proto.SerializeToString())
    for batch in batches:
        x = torch.randn(batch, *shape, generator=torch.Generator().manual_seed(batch))
        expected, got = module(x).numpy(), session.run(None, {"input": x.numpy()})[0]
        assert got.shape == expected.shape and np.ptp(expected) > 0
        assert np.abs(got - expected).max() < 1e-4 * np.abs(expected).max()


def test_the_names_are_of_these_classes_and_many():
    assert len(ALL) == len(set(ALL)) >= 30
    for kind, names in NAMES.items():
        with torch.device("meta"):
            assert all(isinstance(timm.create_model(name), getattr(timm.models, kind)) for name in names[:2])


@pytest.mark.parametrize("name", ALL)
def test_the_graph_is_the_model(name):
    size = 61 if name.startswith(("resnet", "tf_")) else 64  # odd maps, where padding has two different sides
    model = network(name, size=size)
    proto = onnx_graph(model, (3, size, size))
    assert_same(model, proto, (3, size, size))
    kinds = {node.op_type for node in proto.graph.node}
    assert "BatchNormalization" not in kinds
    assert opset_of(proto) == (20 if "Gelu" in kinds else 17 if "LayerNormalization" in kinds else opset_of(proto))


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_vit"])
def test_exported_files_are_the_model_in_every_opset(name, tmp_path):
    model = network(name)
    proto = onnx.load(export_onnx(model, tmp_path / "model.onnx", resolution=64))
    assert_same(model, proto, (3, 64, 64))
    for opset in (11, 13, 17, 21):
        other = onnx.ModelProto()
        other.CopyFrom(proto)
        set_opset(other, opset)
        onnx.checker.check_model(other, full_check=True)
        assert opset_of(other) == opset
        assert_same(model, other, (3, 64, 64), batches=(2,))


class Stem(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model._pos_embed(self.model.patch_embed(x))


class Head(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model.forward_head(self.model.norm(x))


PARTS = {
    "basic": ("resnet18", lambda model: model.layer2[0], (16, 9, 9)),
    "bottleneck": ("ecaresnet26t", lambda model: model.layer2[0], (64, 9, 9)),
    "universal": ("mobilenetv4_conv_small", lambda model: model.blocks[2][0], (64, 9, 9)),
    "inverted": ("efficientnet_b0", lambda model: model.blocks[2][0], (24, 9, 9)),
    "same": ("tf_efficientnet_lite0", lambda model: model.blocks[2][0], (24, 10, 10)),
    "convnext": ("convnextv2_atto", lambda model: model.stages[1], (16, 8, 8)),
    "convnext head": ("convnext_atto", lambda model: model.head, (48, 3, 3)),
    "vit stem": ("deit_tiny_distilled_patch16_224", Stem, (3, 64, 64)),
    "vit block": ("test_vit2", lambda model: model.blocks[0], (17, 64)),
    "vit head": ("deit_tiny_distilled_patch16_224", Head, (18, 48)),
    "pooled head": ("test_vit3", Head, (17, 96)),
    "attention": ("test_vit", lambda model: model.blocks[0].attn, (17, 64)),
}


@pytest.mark.parametrize("part", PARTS)
def test_parts_of_models(part):
    name, take, shape = PARTS[part]
    module = take(network(name)).eval()
    assert_same(module, onnx_graph(module, shape), shape)


def test_sizes_that_a_model_cannot_take_are_named(tmp_path):
    model = network("test_vit4", size=160)
    model.patch_embed.strict_img_size = True
    with pytest.raises(ValueError, match=r"^patch_embed: it cannot read \[3, 64, 64\]: "):
        onnx_graph(model, (3, 64, 64))
    with pytest.raises(ValueError, match="the model cannot take images of 64 x 64: "):
        export_onnx(model, tmp_path / "model.onnx", resolution=64)


@pytest.mark.parametrize(
    "name, words",
    [
        ("resnet50_gn", "bn1: no ONNX operator is known for GroupNorm"),
        ("efficientnet_cc_b0_4e", "no ONNX operator is known for"),
        ("mobilenetv4_hybrid_medium", "no ONNX operator is known for"),
    ],
)
def test_layers_that_are_not_known_are_named(name, words):
    with pytest.raises(NotImplementedError, match=words):
        onnx_graph(timm.create_model(name, num_classes=3).eval(), (3, 64, 64))
