"""What ``from_timm`` says of names, models and options that it cannot take: one sentence, and what would be right."""

import json

import pytest
import timm
import torch
from pydantic import ValidationError
from torch import nn

from ofa.supernet.derived.fixed import fixed_choices
from ofa.supernet.saving import load_subnet, save_subnet
from ofa.supernet.space import SearchSpace
from ofa.supernet.supernet import Supernet


@pytest.mark.parametrize(
    ("name", "elastic", "told"),
    [
        ("resnet81", {}, "did you mean resnet18"),
        ("no such model", {}, "`ofa models` lists"),
        ("vgg11", {}, "vgg11 is a VGG.*EfficientNet.*ResNet"),
        ("resnet18", {"kernels": [3, 5]}, "kernels .3, 5.: they are those of the model's depthwise.*it has none"),
        ("mobilenetv2_035", {"kernels": [3, 9]}, "the largest is 3"),
        ("lcnet_035", {"kernels": [2, 3]}, "only odd sizes"),
        ("resnet18", {"expands": [0.5, 0.75]}, "1 must be among them"),
        ("resnet18", {"widths": [0.5]}, "1 must be among them"),
        ("resnet18", {"heads": [0.5, 1]}, "heads .0.5, 1.*: this model has nothing to choose"),
        ("resnext50_32x4d", {"expands": [0.5, 1]}, "nothing to choose them for .*in 32 groups"),
        ("resnet18", {"depths": [[2], [2], [2]]}, "3 stages are given; this model has 4"),
        ("resnet18", {"depths": [[1, 3], [2], [2], [2]]}, r"depths.0. is .1, 3.; give numbers from 1 to 2, 2 among"),
        ("resnetblur18", {"resolutions": [8, 224]}, "images of 8 pixels are too small"),
    ],
)
def test_of_names_and_options(name, elastic, told):
    with pytest.raises(ValueError, match=told):
        SearchSpace.from_timm(name, **elastic)


@pytest.mark.parametrize("elastic", [{"kernels": []}, {"expands": [0, 1]}, {"expands": [2]}, {"kernel": [3]}])
def test_of_options_that_no_model_has(elastic):
    with pytest.raises(ValidationError):
        SearchSpace.from_timm("resnet18", **elastic)


def changed(model, path, layer):
    owner, _, name = path.rpartition(".")
    setattr(model.get_submodule(owner), name, layer)
    return model


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda model: model.half(), r"conv1.weight of this model is of torch.float16; call .float\(\)"),
        (lambda model: model.to("meta"), "conv1.weight is on the meta device"),
        (lambda model: changed(model, "layer1.0.act1", nn.GELU()), "layer1.0.act1 is GELU, and there ReLU"),
        (lambda model: changed(model, "layer2.1.conv1", nn.Conv2d(128, 64, 3)), "layer2.1.conv1.*64, 128, 3, 3"),
        (lambda model: nn.Sequential(model), "does not say by which name timm builds it"),
    ],
)
def test_of_models(change, told):
    with pytest.raises(ValueError, match=told):
        Supernet.from_timm(change(timm.create_model("resnet18", num_classes=10)))


@torch.no_grad()
def test_a_model_in_training_mode_is_copied_and_left_as_it_is():
    model = timm.create_model("lcnet_035", num_classes=10, drop_rate=0.0).train()
    net = Supernet.from_timm(model, elastic={"resolutions": [32]}).eval()
    assert model.training
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(net(x), model.eval()(x))


def test_what_grouped_convolutions_keep_is_told():
    (groups,) = [line for line in fixed_choices(SearchSpace.from_timm("resnext50_32x4d")) if "groups" in line]
    assert "layer1.0.conv2" in groups and "32 groups" in groups
    assert fixed_choices(SearchSpace.from_timm("resnet18")) == []


def _changed(change):
    """A space of MobileNetV4 whose values somebody edited."""
    values = SearchSpace.from_timm("mobilenetv4_conv_small_035", resolutions=[64]).to_dict()
    change(values)
    return SearchSpace.from_dict(values)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda values: values["widths"].update(neck=[8, 16]), "has no width 'neck', it has stem"),
        (lambda values: values["widths"].update(stem=[16, 64]), "widths.stem .16, 64.: .* has 32 channels there"),
        (lambda values: values["stages"].pop(), "blocks; the stages of"),
        (lambda values: values["stages"][0]["blocks"][0].update(expands=[0.5, 1]), "no choice of expand"),
        (lambda values: values["stages"][0]["blocks"][0].update(heads=[1, 2]), "no choice of heads"),
        (lambda values: values["stages"][2]["blocks"][0]["kernels"].update({"dw_mid.conv": [3, 7]}), "kernel .* is 5"),
        (lambda values: values["stages"][2]["blocks"][0]["kernels"].update(nothing=[3, 5]), "is not there"),
        (lambda values: values["stages"][0].update(depths=[1, 2]), "depths .1, 2.: 2 blocks must stay"),
    ],
)
def test_of_choices_that_the_model_does_not_have(change, told):
    space = _changed(change)
    with pytest.raises(ValueError, match=told):
        _ = space.layout


def test_of_arguments_that_read_files():
    with pytest.raises(ValidationError, match="arguments checkpoint_path: a space says what a network is"):
        _changed(lambda values: values["arguments"].update(checkpoint_path="weights.pth"))
    with pytest.raises(ValueError, match="arguments checkpoint_path"):  # before a family is known, timm would read it
        SearchSpace.from_dict({"timm": "resnet18", "arguments": {"checkpoint_path": "weights.pth"}})


def test_of_somebody_elses_subnet(tmp_path):
    net = Supernet.from_timm("test_resnet", elastic={"resolutions": [64]}, num_classes=2)
    save_subnet(net.extract(net.space.smallest), net.space.smallest, tmp_path)
    told = json.loads((tmp_path / "subnet.json").read_text())
    for change in ({"arguments": {"checkpoint_path": "weights.pth"}}, {"timm": "timm.models.load_checkpoint"}):
        (tmp_path / "subnet.json").write_text(json.dumps({**told, "timm": {**told["timm"], **change}}))
        with pytest.raises(ValueError, match=r"arguments checkpoint_path|no class called 'load_checkpoint'"):
            load_subnet(tmp_path)
