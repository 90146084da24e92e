"""A run from Python: the lines of README and docs/python.md, and what ``ofa.open_run`` gives and refuses."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ofa
from ofa.errors import UserError

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", ROOT / "docs" / "python.md"]


# Every file that is named runs in a process of its own; what takes seconds to import is imported once.
IN_PROCESSES = """
import os, sys, torch, timm, onnx, onnxruntime, sklearn.neural_network
for path in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        with open(path) as file:
            exec(compile(file.read(), path, "exec"), {"__name__": "__main__"})
        sys.stdout.flush()
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(f"{path} failed")
"""


def code_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_the_pages_python_runs_as_written(finished, tmp_path, page):
    assert len(code_blocks(page)) >= 2
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "quickstart").symlink_to(finished.folder)
    before = {path: path.read_bytes() for path in finished.folder.rglob("*") if path.is_file()}
    for number, code in enumerate(code_blocks(page)):
        (tmp_path / f"block{number:02}.py").write_text(code)
    command = [sys.executable, "-c", IN_PROCESSES, *sorted(path.name for path in tmp_path.glob("block*.py"))]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{page.name}:\n{done.stderr}"
    assert ofa.load_subnet(tmp_path / "best") is not None and (tmp_path / "best.onnx").is_file()
    after = {path: path.read_bytes() for path in finished.folder.rglob("*") if path.is_file()}
    assert before == after


@pytest.fixture(scope="module")
def run(finished):
    return ofa.open_run(finished.folder)


def test_images_are_normalised_batches_with_labels(run):
    batches = list(run.images("train", resolution=16, limit=300))
    images, labels = (np.concatenate([np.asarray(pair[n]) for pair in batches]) for n in (0, 1))
    assert images.shape == (300, 1, 16, 16) and images.dtype == np.float32
    assert labels.shape == (300,) and set(labels.tolist()) == set(range(10))
    assert abs(images.mean()) < 0.1 and abs(images.std() - 1) < 0.1
    assert next(run.images("validation"))[0].shape[-1] == run.space.resolutions[-1]
    splits = {split: sum(len(labels) for _, labels in run.images(split)) for split in ("train", "validation", "test")}
    assert sum(splits.values()) == 1797 and splits["test"] > 300


def test_what_a_run_made_is_there_by_name(run, finished):
    found = json.loads((finished.folder / "search" / "phone.json").read_text())
    assert run.classes == [str(digit) for digit in range(10)]
    assert run.subnet("phone").to_dict() == found["subnet"]
    assert {table.name: limit for table, limit in run.limits("phone").items()} == found["limits"]
    latency, code = run.cost_table("phone"), run.space.encode(run.subnet("phone"))[None]
    assert latency is run.cost_table("phone", "latency") and latency.unit == "ms"
    assert latency.predict(code)[0] == found["predicted"]["latency"]
    assert run.predictor().predict(code)[0] == pytest.approx(found["predicted"]["accuracy"])
    assert run.supernet().extract(run.subnet("phone")).num_classes == 10
    assert "phone" in repr(run)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (lambda run: run.images("tests"), "split is 'tests'; there are train, validation, test"),
        (lambda run: run.images("test", resolution=0), "resolution is 0"),
        (lambda run: run.images("test", limit=2.5), "limit is 2.5"),
        (lambda run: run.cost_table("phon"), "no target 'phon'; there are phone"),
        (lambda run: run.cost_table("phone", "watts"), "no cost 'watts'; there are latency, macs, params, flash"),
        (lambda run: run.subnet("../phone"), "no target '../phone'"),
        (lambda run: ofa.open_run(run.folder / "models"), "not a run folder"),
    ],
)
def test_a_mistake_is_one_sentence(run, asked, words):
    with pytest.raises(UserError, match=re.escape(words)):
        asked(run)


@pytest.mark.parametrize(
    ("file", "asked"),
    [
        ("supernet/weights.safetensors", lambda run: run.supernet()),
        ("predictor/predictor.npz", lambda run: run.predictor()),
        ("costs/phone.json", lambda run: run.cost_table("phone")),
        ("search/phone.json", lambda run: run.subnet("phone")),
    ],
)
def test_a_damaged_file_is_named_and_nothing_is_touched(copied, file, asked):
    whole = (copied / file).read_bytes()
    (copied / file).write_bytes(whole[: len(whole) // 2])
    before = sorted(copied.rglob("*"))
    with pytest.raises(UserError, match=re.escape(file)):
        asked(ofa.open_run(copied))
    assert sorted(copied.rglob("*")) == before


def test_what_is_not_made_yet_is_refused(unfinished):
    run = ofa.open_run(unfinished("train"))
    with pytest.raises(UserError, match="the stage train is not finished; `ofa train "):
        run.supernet()
