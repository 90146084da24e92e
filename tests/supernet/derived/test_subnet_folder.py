"""The lines of ``docs/subnet_folder.md``, run where ``ofa`` cannot be imported."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from shared_networks import scramble

from ofa.supernet import families
from ofa.supernet.saving import save_subnet
from ofa.supernet.space import SearchSpace
from ofa.supernet.supernet import Supernet

PAGE = Path(__file__).parents[3] / "docs" / "subnet_folder.md"
NAMES = ("resnetblur18", "mobilenetv4_conv_small_050", "efficientnet_cc_b0_4e", "convnext_atto", "vit_tiny_patch16_224")

# ``ofa`` is installed here: any import of it raises.
READER = """
import sys
from pathlib import Path

class Refuses:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "ofa":
            raise ImportError("there is no ofa here")

sys.meta_path.insert(0, Refuses())
lines = Path(sys.argv[1]).read_text()
for folder in sys.argv[2:]:
    names = {}
    exec(lines.replace("FOLDER", folder), names)
    torch, model = names["torch"], names["model"].eval().to(memory_format=names["torch"].channels_last)
    assert type(model).__module__.startswith("timm.models.")
    torch.set_num_threads(1)
    with torch.no_grad():
        logits = model(names["load_file"](folder + "/images")["images"].contiguous(memory_format=torch.channels_last))
    names["load_file"].__globals__["save_file"]({"logits": logits}, folder + "/logits")
assert "ofa" not in sys.modules
"""


def test_fifteen_lines_without_ofa(tmp_path):
    names = [name for name in NAMES if timm.models.model_entrypoint(name).__module__.rpartition(".")[2] in _supported()]
    assert len(names) >= 3
    read_without_ofa(tmp_path, lines_of_page()[0], {name: from_timm(name) for name in names})


def test_presets_without_ofa(tmp_path):
    lines, of_class = lines_of_page()
    lines = re.sub(r"^model = .*\n", lambda _: of_class, lines, flags=re.MULTILINE)
    presets = {name: SearchSpace.preset(name) for name in families.presets()}
    derived = {name: space for name, space in presets.items() if getattr(space, "timm", "").startswith("timm.models.")}
    assert len(derived) >= 4
    read_without_ofa(tmp_path, lines, {name: Supernet(space, num_classes=10) for name, space in derived.items()})


def lines_of_page():
    """The fifteen lines, and those which make a model of a class."""
    lines, of_class = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert len(lines.splitlines()) == 15
    return lines, of_class


def read_without_ofa(folder, lines, nets):
    """A random subnet of each supernet computes there what it does here."""
    (folder / "lines.py").write_text(lines)
    expected = {}
    for name, net in nets.items():
        (folder / name).mkdir()
        expected[name] = logits_of_saved(net, folder / name)
    command = [sys.executable, "-c", READER, str(folder / "lines.py"), *(str(folder / name) for name in nets)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    for name, logits in expected.items():
        assert torch.equal(load_file(folder / name / "logits")["logits"], logits), name


def _supported():
    return {getattr(timm.models, kind).__module__.rpartition(".")[2] for kind in families.derived_classes()}


def from_timm(name):
    torch.manual_seed(0)
    arguments = {"img_size": 32} if name.startswith("vit") else {}
    model = scramble(timm.create_model(name, num_classes=10, **arguments))
    return Supernet.from_timm(model, elastic={"resolutions": [32]}, arguments=arguments)


@torch.no_grad()
def logits_of_saved(net, folder):
    """Saves a random subnet and images; returns what it makes of them."""
    subnet = net.space.decode(net.space.sample(1, np.random.default_rng(3))[0])
    assert subnet != net.space.largest
    plain = net.extract(subnet)
    save_subnet(plain, subnet, folder)
    images = torch.randn(2, 3, subnet.resolution, subnet.resolution)
    save_file({"images": images}, folder / "images")
    return plain(images.contiguous(memory_format=torch.channels_last))


@pytest.mark.parametrize("key", ["class", "family", "timm", "arguments", "removed", "attributes", "shapes"])
def test_the_page_names_each_key(key):
    assert f"`{key}`" in PAGE.read_text()
