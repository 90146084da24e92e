"""One small run, made once for all tests that look at a finished run."""

import re
import shutil
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from forked_commands import forked_commands
from quick_models import quick_models as _quick_models

from ofa.cli import main
from ofa.pipeline.manifest import RunManifest
from ofa.stages import STAGES

torch.set_num_threads(1)  # tests run beside each other

SMALL = """
space:
  family: mobilenetv3
  resolutions: [16, 20]
  stem: {width: 8, first_width: 8, stride: 2}
  stages:
    - {width: 16, stride: 2, act: relu, depths: [1, 2], kernels: [3, 5], expands: [2, 3]}
    - {width: 24, stride: 2, act: hard_swish, se: true, depths: [1, 2], kernels: [3], expands: [2, 3]}
  head: {width: 48, features: 32}
train: {epochs: 1, lr: 0.1}
collect: {subnets: 10, calibration_images: 256}
measure: {rounds: 2, fit_subnets: 3, test_subnets: 3}
search: {population: 20, generations: 3}
targets:
  # A limit that needs no clock, so that two runs choose alike.
  phone: {limits: {macs: 0.8x}}
"""


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> Path:
    """A recipe file whose run takes seconds."""
    path = tmp_path_factory.mktemp("recipe") / "small.yaml"
    path.write_text(SMALL)
    return path


@pytest.fixture(scope="session")
def start(tmp_path_factory):
    """``start(*arguments, cwd=)``: the ``ofa`` command in a process of its own."""
    with forked_commands(tmp_path_factory.mktemp("commands")) as command:
        yield command


@pytest.fixture(scope="session")
def finished(small, start, tmp_path_factory):
    """A finished run in ``.folder``, and what its command printed in ``.out`` and ``.err``. Not to be written to."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    process = start("run", small, "--out", folder)
    out, err = process.communicate()
    assert process.returncode == 0, err
    return SimpleNamespace(folder=folder, out=out, err=err)


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    """A copy of the finished run, to be changed."""
    return Path(shutil.copytree(finished.folder, tmp_path / "run"))


@pytest.fixture
def call(capsys):
    """``call(*arguments)``: the ``ofa`` command in this process; exit code, standard output, standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        code = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def quick_models():
    """The stage ``export`` takes milliseconds: see ``tests/shared/quick_models.py``."""
    with _quick_models():
        yield


@pytest.fixture(scope="module")
def run_again(finished, tmp_path_factory):
    """``run_again(*options)``: a copy of the finished run, run on with them; its folder, what it printed."""

    def run(*options: object) -> SimpleNamespace:
        folder = shutil.copytree(finished.folder, tmp_path_factory.mktemp("again") / "run")
        with _quick_models(), redirect_stdout(StringIO()) as out:
            main(["run", str(folder), *map(str, options), "--update"])
        return SimpleNamespace(folder=folder, out=out.getvalue())

    return run


@pytest.fixture(scope="session")
def ran():
    """``ran(output)``: the stages that a command's output says were run."""

    def names(output: str) -> list[str]:
        # A long summary begins on the line after the seconds.
        found = re.findall(r"^(\w+) +[\d.]+ s\b", output, flags=re.MULTILINE)
        return [name for name in found if name in STAGES]

    return names


@pytest.fixture
def unfinished(copied):
    """``unfinished(stage)``: the copied run as if killed in that stage."""

    def undo(stage: str) -> Path:
        journal = RunManifest(copied)
        journal.start(stage, journal.inputs(stage))
        return copied

    return undo
