"""The stage ``finetune`` in real processes that are killed and asked to stop: the same bytes as if nothing had been."""

import shutil
import signal
import time

from ofa.pipeline.checkpoints import PATTERN

SETTINGS = {"targets.phone.finetune.epochs": 20, "targets.phone.finetune.lr": 0.02, "train.checkpoint.steps": 5}
OPTIONS = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]


def newest(folder):
    """The number of the newest checkpoint; 0 without any."""
    found = (path.name.split("-")[1].split(".")[0] for path in (folder / "finetune").glob(f"*/{PATTERN}"))
    return max(map(int, found), default=0)


def wait(process, ready):
    deadline = time.monotonic() + 120
    while not ready():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.003)


def test_a_kill_and_a_signal_in_the_middle(call, start, copied, tmp_path):
    whole = shutil.copytree(copied, tmp_path / "whole")
    code, _, err = call("finetune", whole, *OPTIONS, "--update")
    assert code == 0, err

    process = start("finetune", copied, *OPTIONS, "--update")
    wait(process, lambda: newest(copied) >= 10)
    process.kill()
    process.communicate()
    killed = newest(copied)

    process = start("finetune", copied, *OPTIONS)
    wait(process, lambda: newest(copied) > killed)
    process.send_signal(signal.SIGTERM)
    assert (process.communicate()[1], process.returncode) == ("", 143)
    assert killed < newest(copied) < 20 * 17

    code, out, err = call("finetune", copied, *OPTIONS)
    assert code == 0 and " moved to " not in out, (out, err)
    files = [path.relative_to(whole) for path in (whole / "finetune").rglob("*") if path.suffix != ".jsonl"]
    assert any(path.name == "weights.safetensors" for path in files)
    for path in files:
        if (whole / path).is_file():
            assert (copied / path).read_bytes() == (whole / path).read_bytes(), path
    rows = [path.read_text().count("\n") for path in (copied / "finetune").glob("*-20-*/metrics.jsonl")]
    assert rows == [20]
