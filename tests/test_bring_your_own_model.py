"""The page docs/bring_your_own_model.md does what it says."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

import ofa
from ofa.cli import app
from ofa.config.recipe import Recipe
from ofa.config.yaml_text import parse_yaml

PAGE = (Path(__file__).parents[1] / "docs" / "bring_your_own_model.md").read_text(encoding="utf-8")


def test_its_python_makes_a_supernet_and_cuts_out_a_network(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(block, "bring_your_own_model.md", "exec"), {})
    assert "networks; the largest is the model itself" in capsys.readouterr().out
    assert ofa.load_subnet(tmp_path / "small").num_classes == 10


def test_its_recipe_is_one():
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    recipe = Recipe.from_dict({"name": "recipe", **parse_yaml(block, "page")})
    assert recipe.train.init == "pretrained" and len(recipe.targets) == 3


COMMANDS = re.findall(r"^ofa [^#\n]*", "\n".join(re.findall(r"```\n(.*?)```", PAGE, re.DOTALL)), re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_its_commands_have_the_options_named(command):
    _, name, *words = shlex.split(command)
    text = CliRunner().invoke(app, [name, "--help"]).output
    assert all(word in text for word in words if word.startswith("--"))
