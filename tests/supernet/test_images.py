"""The preprocessing of a subnet's images is stored for timm's ``resolve_model_data_config``."""

import json

import numpy as np
import pytest
import torch
from timm.data import resolve_model_data_config

from ofa.supernet.images import tell_images, told_images
from ofa.supernet.saving import load_subnet, save_subnet
from ofa.supernet.space import SearchSpace
from ofa.supernet.supernet import Supernet

SPACE = SearchSpace.preset("tiny_mbv3")
GIVEN = {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "interpolation": "bilinear", "crop_pct": 1.0}


@pytest.mark.parametrize("channels", [1, 3])
def test_extracted_and_loaded_subnets_tell_timm(channels, tmp_path):
    given = {**GIVEN, **{key: GIVEN[key][:channels] for key in ("mean", "std")}}
    net = tell_images(Supernet(SPACE, num_classes=7, in_chans=channels), **given)
    for number, subnet in enumerate((SPACE.smallest, SPACE.largest)):
        model = net.extract(subnet)
        folder = tmp_path / str(number)
        save_subnet(model, subnet, folder)
        wanted = {**given, "input_size": (channels, subnet.resolution, subnet.resolution), "crop_mode": "center"}
        for each in (model, load_subnet(folder)):
            assert resolve_model_data_config(each) == wanted
            assert each.pretrained_cfg["num_classes"] == 7
            layers = {each.pretrained_cfg[key] for key in ("first_conv", "classifier")}
            assert layers <= dict(each.named_modules()).keys()
    assert SPACE.smallest.resolution != SPACE.largest.resolution


def test_without_data_only_the_size_is_stored():
    config = resolve_model_data_config(Supernet(SPACE, num_classes=7).extract(SPACE.smallest))
    assert config["input_size"] == (3, SPACE.smallest.resolution, SPACE.smallest.resolution)


def test_numpys_values_become_plain_ones(tmp_path):
    model = Supernet(SPACE, num_classes=7).extract(SPACE.smallest)
    tell_images(model, SPACE.smallest.resolution, mean=np.full(3, 0.5, np.float32), std=torch.full((3,), 0.25))
    assert told_images(model) == {"mean": [0.5] * 3, "std": [0.25] * 3}
    save_subnet(model, SPACE.smallest, tmp_path)
    assert json.loads((tmp_path / "subnet.json").read_text())["images"] == told_images(model)


def test_folders_of_earlier_versions_load(tmp_path):
    model = Supernet(SPACE, num_classes=7).extract(SPACE.smallest)
    save_subnet(model, SPACE.smallest, tmp_path)
    path = tmp_path / "subnet.json"
    values = json.loads(path.read_text())
    del values["images"]
    path.write_text(json.dumps(values))
    assert told_images(load_subnet(tmp_path)) == {}
