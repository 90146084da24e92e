"""docs/differentiable.md: its example runs, and it says of every method what it is."""

import re
from pathlib import Path

from ofa.supernet.relaxation.methods import METHODS

PAGE = (Path(__file__).parents[1] / "docs" / "differentiable.md").read_text(encoding="utf-8")


def test_the_example_runs(capsys):
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
    exec(compile(code, "docs/differentiable.md", "exec"), {"__name__": "page"})
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_every_method_has_its_paragraph_and_paper():
    described = re.findall(r"^\*\*`(\w+)`\*\*", PAGE, re.MULTILINE)
    assert sorted(described) == sorted(METHODS)
    assert {method.paper for method in METHODS.values()} <= set(re.findall(r"https://arxiv\.org/abs/[\d.]+", PAGE))
