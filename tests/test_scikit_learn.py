"""The page docs/scikit_learn.md does what it says."""

import re
from pathlib import Path

from quick_models import quick_onnx

PAGE = Path(__file__).parents[1] / "docs" / "scikit_learn.md"


def test_its_code_runs_as_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ofa.export.onnx.export_onnx", quick_onnx)
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), names)
    assert names["model"].score(names["X_test"], names["y_test"]) > 0.5  # guessing finds a tenth
    assert (tmp_path / "digits.onnx").is_file()
    assert "images are right" in capsys.readouterr().out
