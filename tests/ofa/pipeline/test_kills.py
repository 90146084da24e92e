"""Training in real processes that are killed, asked to stop, or find a damaged checkpoint or a full disk.

Whatever happened, the same command goes on, and the supernet is that of a run that nothing stopped, byte for byte.
"""

import errno
import json
import os
import random
import re
import signal
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from ofa.pipeline.checkpoints import PATTERN

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")

RECIPE = """
space:
  family: mobilenetv3
  resolutions: [12, 16]
  stem: {width: 8, first_width: 8, stride: 2}
  stages:
    - {width: 16, stride: 2, act: relu, depths: [1, 2], kernels: [3], expands: [2, 3]}
  head: {width: 32, features: 32}
train:
  epochs: 2
  lr: 0.1
  batch_size: 128
  dropout: 0.2
  ema: 0.9
  mixup: 0.2
  eval_images: 16
  checkpoint: {steps: 2}
targets:
  phone: {limits: {macs: 0.8x}}
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "kills.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def training(start, recipe):
    """``with training(folder) as process``: ``ofa train`` in a process of its own; ended and read when it closes."""

    @contextmanager
    def run(folder, *options):
        process, began = start("train", recipe, "--out", folder, *options), time.monotonic()
        process.started = began
        yield process
        process.out, process.err = process.communicate()

    return run


@pytest.fixture(scope="module")
def expected(training, tmp_path_factory):
    """The supernet of a run that nothing stopped, and the seconds that it took."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    with training(folder) as process:
        pass
    assert process.returncode == 0, process.err
    return SimpleNamespace(weights=weights(folder), seconds=time.monotonic() - process.started, folder=folder)


def weights(folder):
    path = folder / "supernet" / "weights.safetensors"
    return path.read_bytes() if path.exists() else None


def checkpoints(folder):
    return sorted(path.name for path in (folder / "train").glob(PATTERN))


def step(folder):
    """Of the newest checkpoint; 0 without any."""
    return max((int(re.search(r"\d+", name)[0]) for name in checkpoints(folder)), default=0)


def temporary(folder):
    return list((folder / "train").glob(".*.tmp"))


def epochs(folder):
    return [json.loads(line)["phase"] for line in (folder / "train" / "metrics.jsonl").read_text().splitlines()]


def when(process, ready):
    """Waits until ``ready`` (then true) or until the process has ended."""
    while process.poll() is None:
        if ready():
            return True
        assert time.monotonic() < process.started + 60
        time.sleep(0.0005)
    return False


def finish(training, folder, expected, *options):
    with training(folder, *options) as process:
        pass
    assert process.returncode == 0, process.err
    assert weights(folder) == expected.weights
    assert epochs(folder) == epochs(expected.folder)
    assert len(checkpoints(folder)) == 3
    assert not temporary(folder)
    return process


def test_ten_kills_anywhere(training, expected, tmp_path):
    """At random moments, just after a checkpoint came, and while one is being written."""
    rng = random.Random(1)
    kinds = 2 * ["moment", "written", "moment", "half written", "moment"]
    folder, number, went_on = tmp_path / "0", 0, 0
    while kinds:
        before, left = checkpoints(folder), set(temporary(folder))
        with training(folder) as process:
            if kinds[-1] == "half written":
                when(process, lambda folder=folder, left=left: set(temporary(folder)) - left)
            elif kinds[-1] == "written":
                when(process, lambda folder=folder, before=before: checkpoints(folder) != before)
                time.sleep(rng.uniform(0, 0.01))
            else:
                time.sleep(rng.uniform(0, 0.5 * expected.seconds))
            with suppress(ProcessLookupError):  # it has ended by itself
                os.kill(process.pid, signal.SIGKILL)
        if process.returncode == -signal.SIGKILL:
            kinds.pop()
            went_on += bool(before) and not weights(folder)
        else:  # it was faster: the next one from the start
            assert process.returncode == 0, process.err
            assert weights(folder) == expected.weights
            number += 1
            folder = tmp_path / str(number)
    finish(training, folder, expected)
    assert went_on >= 3


@pytest.mark.parametrize(
    ("number", "code", "message"),
    [(signal.SIGINT, 130, "stopped; `ofa train {}` goes on from here\n"), (signal.SIGTERM, 143, "")],
    ids=["ctrl-c", "sigterm"],
)
def test_a_signal_in_the_middle_of_an_epoch(training, expected, tmp_path, number, code, message):
    once_an_epoch = ["--set", "train.checkpoint={minutes: null}"]
    for attempt in range(5):  # the process can be at the end of its epoch before the signal comes
        folder = tmp_path / str(attempt)
        with training(folder, *once_an_epoch) as process:
            if when(process, lambda folder=folder: step(folder) == 24):  # the last epoch begins
                os.kill(process.pid, number)
            sent = time.monotonic()
        took = time.monotonic() - sent
        if 24 < step(folder) < 32:
            break
    assert 24 < step(folder) < 32
    assert (process.returncode, process.err) == (code, message.format(folder))
    assert took < 10
    assert len(epochs(folder)) == 3
    assert not weights(folder)
    finish(training, folder, expected, *once_an_epoch)


def test_a_checkpoint_cut_short(training, expected, tmp_path):
    folder = tmp_path / "run"
    with training(folder) as process:
        assert when(process, lambda: step(folder) >= 12)
        os.kill(process.pid, signal.SIGKILL)
    before, newest = checkpoints(folder)[-2:]
    path = folder / "train" / newest
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    out = finish(training, folder, expected).out
    (line,) = [line for line in out.splitlines() if "damaged" in line]
    assert line.startswith(f"{path} is damaged: ")
    assert line.endswith(f": moved to {newest}.damaged, training goes on from {before}")
    assert path.with_name(f"{newest}.damaged").read_bytes() == content[: len(content) // 2]


def test_a_full_disk_while_writing_a_checkpoint(call, recipe, training, expected, tmp_path, monkeypatch):
    folder, real, written = tmp_path / "run", os.fsync, []

    def full(descriptor: int) -> None:
        written.extend(temporary(folder))
        if any("-000000012." in path.name for path in written):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        code, _, err = call("train", recipe, "--out", folder)
    assert (code, err.count("\n")) == (2, 1), err
    assert re.match(rf"{re.escape(str(folder))}: the disk is full \(\d+ MiB free\); what was finished is intact", err)
    assert checkpoints(folder) == [f"checkpoint-{number:09d}.safetensors" for number in (6, 8, 10)]
    assert not temporary(folder)
    assert "damaged" not in finish(training, folder, expected).out
