"""A saved subnet is timm's and safetensors' alone: it loads where ofa cannot be imported."""

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import timm
import timm.models
import torch
from shared_spaces import BY_HAND

from ofa.supernet.saving import load_subnet, save_subnet
from ofa.supernet.space import SearchSpace, Subnet

SPACES = {name: SearchSpace.preset(name) for name in BY_HAND}
TINY = SPACES["tiny_mbv3"]

PAGE = Path(__file__).parents[2] / "docs" / "python.md"

# %s: the page's own block, with its folder replaced.
WITHOUT_OFA = """
import sys
sys.modules["ofa"] = None  # "import ofa" fails from here on
for folder in sys.argv[1:]:
%s
    seen = load_file(f"{folder}/seen.safetensors")
    logits = model(seen["images"])
    torch.testing.assert_close(logits, seen["logits"], rtol=1e-4, atol=1e-4 * seen["logits"].abs().max().item())
    assert torch.equal(logits.argmax(1), seen["logits"].argmax(1))
try:
    import ofa.supernet
except ImportError:
    assert not [name for name in sys.modules if name.startswith("ofa.")]
    print("done")
"""


def readme_block():
    """What docs/python.md tells users to write to load a subnet with timm alone; it reads from ``folder``."""
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    (block,) = [block for block in blocks if "decode_arch_def" in block]
    block, replaced = re.subn(r"^folder = .*$", "", block, flags=re.MULTILINE)
    assert replaced == 1 and "import ofa" not in block
    return block


@pytest.fixture
def saved(tmp_path, scrambled):
    """A model of the tiny space, which subnet it is, and the folder it is saved in."""
    subnet = TINY.decode(TINY.sample(1, np.random.default_rng(0))[0])
    model = scrambled(TINY).extract(subnet)
    save_subnet(model, subnet, tmp_path)
    return model, subnet, tmp_path


@torch.no_grad()
def test_loads_and_predicts_the_same_without_ofa(tmp_path, scrambled):
    for number, (name, space) in enumerate(SPACES.items()):
        folder = tmp_path / name
        subnet = space.decode(space.sample(1, np.random.default_rng(number))[0])
        model = scrambled(space, num_classes=7).extract(subnet)
        save_subnet(model, subnet, folder)
        x = torch.randn(4, 3, space.resolutions[0], space.resolutions[0])
        safetensors.torch.save_file({"images": x, "logits": model(x)}, folder / "seen.safetensors")
    folders = [str(tmp_path / name) for name in SPACES]
    script = WITHOUT_OFA % textwrap.indent(readme_block(), "    ")
    command, env = [sys.executable, "-c", script, *folders], {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stdout == "done\n", done.stderr


@torch.no_grad()
def test_load_gives_the_saved_model(saved):
    model, _, folder = saved
    again = load_subnet(folder)
    assert type(again) is timm.models.MobileNetV3 and not again.training
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(again(x), model(x))
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor) and again.state_dict()[name].stride() == tensor.stride()
    save_subnet(again, TINY.smallest, folder / "again")
    first, second = (path / "weights.safetensors" for path in (folder, folder / "again"))
    assert first.read_bytes() == second.read_bytes()


def test_folder_says_what_it_holds(saved):
    _, subnet, folder = saved
    assert {path.name for path in folder.iterdir()} == {"weights.safetensors", "subnet.json"}
    values = json.loads((folder / "subnet.json").read_text())
    assert Subnet.from_dict(values["subnet"]) == subnet and values["id"] == subnet.id
    assert values["timm_version"] == timm.__version__ and values["timm"]["class"] == "timm.models.MobileNetV3"


@torch.no_grad()
def test_fine_tuned_classifier_is_kept(saved):
    model, subnet, folder = saved
    model.reset_classifier(3)
    save_subnet(model, subnet, folder)
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(load_subnet(folder)(x), model(x)) and model(x).shape == (2, 3)


def test_other_models_are_not_ours_to_save(tmp_path):
    with pytest.raises(ValueError, match=r"not made by Supernet\.extract"):
        save_subnet(torch.nn.Linear(2, 2), TINY.smallest, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "file, damage",
    [
        ("weights.safetensors", lambda content: content[: len(content) // 2]),
        ("weights.safetensors", lambda content: content[:7]),
        ("weights.safetensors", lambda _: b""),
        ("weights.safetensors", lambda _: safetensors.torch.save({"classifier.bias": torch.zeros(10)})),
        ("subnet.json", lambda content: content[:-20]),
        ("subnet.json", lambda _: b"{}"),
        ("subnet.json", lambda _: b"[]"),
        ("subnet.json", lambda content: content.replace(b"timm.models.MobileNetV3", b"timm.models.ResNet")),
        ("subnet.json", lambda content: content.replace(b'"stem_size"', b'"size"')),
        ("subnet.json", lambda content: content.replace(b"ir_r1_k", b"xx_r1_k")),
    ],
)
def test_damaged_folder_is_refused_with_the_files_name(saved, file, damage):
    path = saved[-1] / file
    content = path.read_bytes()
    assert damage(content) != content
    path.write_bytes(damage(content))
    with pytest.raises(ValueError, match=f"{path} is damaged"):
        load_subnet(path.parent)


@pytest.mark.parametrize("file", ["weights.safetensors", "subnet.json"])
def test_missing_file(saved, file):
    (saved[-1] / file).unlink()
    with pytest.raises(FileNotFoundError, match=file):
        load_subnet(saved[-1])
