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
    (lines,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert len(lines.splitlines()) == 15
    (tmp_path / "lines.py").write_text(lines)
    expected = {}
    for name in NAMES:
        if timm.models.model_entrypoint(name).__module__.rpartition(".")[2] in _supported():
            (tmp_path / name).mkdir()
            expected[name] = logits_of_saved(name, tmp_path / name)
    assert len(expected) >= 3
    folders = [str(tmp_path / name) for name in expected]
    command = [sys.executable, "-c", READER, str(tmp_path / "lines.py"), *folders]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name, logits in expected.items():
        assert torch.equal(load_file(tmp_path / name / "logits")["logits"], logits), name


def _supported():
    return {getattr(timm.models, kind).__module__.rpartition(".")[2] for kind in families.derived_classes()}


@torch.no_grad()
def logits_of_saved(name, folder):
    """Saves a random subnet of a model and images; returns what it makes of them."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=10, **({"img_size": 32} if name.startswith("vit") else {}))
    net = Supernet.from_timm(
        scramble(model), elastic={"resolutions": [32]}, arguments={"img_size": 32} if name.startswith("vit") else {}
    )
    subnet = net.space.decode(net.space.sample(1, np.random.default_rng(3))[0])
    assert subnet != net.space.largest
    plain = net.extract(subnet)
    save_subnet(plain, subnet, folder)
    images = torch.randn(2, 3, 32, 32)
    save_file({"images": images}, folder / "images")
    return plain(images.contiguous(memory_format=torch.channels_last))


@pytest.mark.parametrize("key", ["class", "family", "timm", "arguments", "removed", "attributes", "shapes"])
def test_the_page_names_each_key(key):
    assert f"`{key}`" in PAGE.read_text()
