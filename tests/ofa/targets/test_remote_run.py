"""Runs with a target that is timed on another device: an ``ssh`` of our own that answers without a clock."""

import json
import os
import sys

import pytest
import yaml

pytest.importorskip("ai_edge_litert", reason="pip install 'once-for-all[tflite]'")

from ofa import cli
from ofa.config.target import Target, target_problems
from ofa.errors import UserError
from ofa.supernet.space import SearchSpace

# Takes the files, and says times that hang on the models' sizes alone. After LIMIT rounds the connection ends.
SSH = f"""#!{sys.executable} -S
import json, os, sys, tarfile
with open(os.environ["SSH_LOG"], "a") as log:
    log.write(sys.argv[-2] + chr(10))
if os.environ.get("DOWN"):
    sys.exit("ssh: connect to host pi port 22: Connection refused") or 255
with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as tar:
    files = {{entry.name: tar.extractfile(entry).read() for entry in tar}}
job = json.loads(files["job.json"])
def say(**values):
    print("ofa " + json.dumps(values), flush=True)
say(environment={{"runtime": "litert", "version": "9.9", "threads": job["threads"], "cpu": "board", "host": "pi"}})
limit = int(os.environ.get("LIMIT", 1000))
for number, order in job.get("rounds", [])[:limit]:
    assert sorted(order) == list(range(len(job["calls"])))
    sizes = [len(files[model["file"]]) * (1 + model["shape"][1]) for model in job["models"]]
    pace = 2 + number % 2
    say(round=number, ns=[sizes[model] * (1 + cold) * pace for model, cold in job["calls"]], pace=pace)
sys.exit(255 if limit < len(job.get("rounds", [])) else 0)
"""
PHONE = ["--set", "targets.phone.runtime=litert", "--set", "measure.rounds=4"]
SERVER = ["--set", 'targets.server={"limits": {"macs": "1x"}}']


@pytest.fixture(autouse=True)
def ssh(tmp_path, monkeypatch):
    """The log of an ``ssh`` that needs no host."""
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(SSH)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SSH_LOG", str(tmp_path / "log"))
    return tmp_path / "log"


def table(folder, name):
    return json.loads((folder / "costs" / f"{name}.json").read_text())


def test_measure_goes_on_after_the_device_went_away(call, copied, monkeypatch):
    recipe = copied / "recipe.yaml"
    arguments = ["measure", copied, "--ssh", "pi"]
    monkeypatch.setenv("LIMIT", "1")
    for done in (1, 2):
        code, _, err = call(*arguments, *([*PHONE, *SERVER] if done == 1 else []))
        assert code == 2 and err.splitlines()[-1].startswith(
            f"litert float32 on ssh:pi: the device went away after {done} of 4 rounds, which are kept: "
        )
    assert yaml.safe_load(recipe.read_text())["targets"]["phone"]["remote"] == "ssh:pi"
    (kept,) = (copied / "costs").glob("*.jsonl")
    assert len(kept.read_text().splitlines()) == 1 + 2
    monkeypatch.delenv("LIMIT")
    assert call(*arguments)[0] == 0
    resumed = table(copied, "phone")
    assert resumed["info"].items() >= {"device": "ssh:pi", "cpu": "board", "version": "9.9", "bits": 32}.items()
    assert "device" not in table(copied, "server")["info"]
    assert not list((copied / "costs").glob("*.jsonl"))
    assert "nothing to do" in call("measure", copied)[1]

    (copied / "costs" / "phone.json").unlink()  # measured again, without an end in the middle
    assert call("measure", copied)[0] == 0
    assert table(copied, "phone") == resumed


def test_a_whole_run(call, copied, ran, ssh, monkeypatch):
    code, out, err = call("run", copied, "--update", *PHONE, "--set", "targets.phone.remote=ssh:pi")
    assert code == 0, err
    assert ran(out) == ["measure", "search", "finetune", "export", "evaluate", "report"]
    report = json.loads((copied / "report.json").read_text())
    assert report["targets"]["phone"]["latency_table"]["device"] == "ssh:pi"
    verified = json.loads((copied / "models" / "phone" / "verify.json").read_text())
    assert verified["runtime"] == "litert" and "device" not in verified  # accuracy is this machine's
    # What the fake makes of the model's size.
    size = (copied / "models" / "phone" / "model.tflite").stat().st_size
    side = json.loads((copied / "models" / "phone" / "subnet.json").read_text())["subnet"]["resolution"]
    assert report["targets"]["phone"]["measured"]["latency"] == pytest.approx(1e-6 * size * (1 + side) * 2.5, rel=0.21)
    asked = len(ssh.read_text().splitlines())

    monkeypatch.setenv("DOWN", "1")
    assert call("run", copied)[0] == 0 and len(ssh.read_text().splitlines()) == asked  # nothing is left to do
    (copied / "search" / "phone.json").unlink()
    code, _, err = call("search", copied)
    assert code == 2 and err.splitlines()[-1].startswith("litert float32 on ssh:pi: pi: ")


def test_another_device_measures_again(call, copied, ran):
    assert call("measure", copied, "--ssh", "pi", *PHONE)[0] == 0
    assert "nothing to do" in call("measure", copied, "--ssh", "pi", "--target", "phone")[1]
    assert ran(call("measure", copied, "--ssh", "me@pi2", "--target", "phone")[1]) == ["measure"]
    assert table(copied, "phone")["info"]["device"] == "ssh:me@pi2"
    assert ran(call("measure", copied, "--update", "--set", "targets.phone.remote=null")[1]) == ["measure"]
    assert "device" not in table(copied, "phone")["info"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--serial", "x"], "--serial chooses a phone; use it with --adb"),
        (["--target", "phone"], "--target chooses which target is timed; use it with --ssh or --adb"),
        (["--ssh", "pi", "--adb"], "--ssh and --adb are both given; use one"),
        (["--ssh", "pi"], "no target has the runtime litert, which other devices run: phone"),
        (["--ssh", "pi", "--target", "fone"], '--target fone: no such target; did you mean "phone"?'),
        (["--adb", "--target", "phone"], "--set targets.phone.remote: onnxruntime is not timed on other devices"),
        (
            ["--ssh=-oProxyCommand=x", *PHONE],
            "--set targets.phone.remote: must be ssh:HOST, adb or adb:SERIAL; it is ",
        ),
    ],
)
def test_mistakes_are_one_sentence(call, copied, arguments, expected, ssh):
    before = (copied / "recipe.yaml").read_text()
    code, out, err = call("measure", copied, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(expected)
    assert (copied / "recipe.yaml").read_text() == before and not ssh.exists()


def test_a_recipe_file_does_not_take_over_another_run(call, copied, small):
    code, _, err = call("measure", small, "--out", copied, "--ssh", "pi", "--set", "targets.phone.runtime=litert")
    assert code == 2 and "belongs to another recipe" in err and "targets.phone.remote" in err


def test_phones_are_told_apart_by_serial(monkeypatch, small):
    seen = []
    monkeypatch.setattr(
        "ofa.pipeline.runner.run_stages", lambda recipe, *_, **__: seen.append(recipe.targets["phone"].remote)
    )
    for words in (["--adb"], ["--adb", "--serial", "1f3e:5"]):
        cli.main(["measure", str(small), *words, "--set", "targets.phone.runtime=litert"])
    assert seen == ["adb", "adb:1f3e:5"]


@pytest.mark.parametrize("runtime", ["onnxruntime", "torch", "tflm", "cortex_m4", "cortex_m55"])
def test_only_litert_runs_elsewhere(runtime):
    values = {"limits": {"macs": "1x"}, "remote": "adb"}
    space = SearchSpace.preset("mcu_32_ir")
    ((key, text),) = target_problems("board", Target.model_validate({**values, "runtime": runtime}), space)
    assert key == "targets.board.remote" and "use runtime: litert" in text
    assert target_problems("board", Target.model_validate({**values, "runtime": "litert"}), space) == []


@pytest.mark.parametrize(("remote", "program"), [("adb", "adb"), ("ssh:pi", "openssh-client")])
def test_a_program_that_is_missing_is_said_before_anything_starts(monkeypatch, remote, program):
    from ofa.targets import requirements

    monkeypatch.setattr(requirements.shutil, "which", lambda name: None)
    target = Target.model_validate({"limits": {"macs": "1x"}, "runtime": "litert", "remote": remote})
    with pytest.raises(UserError, match=rf"^targets\.board: {remote} needs .*: apt-get install {program}$"):
        requirements.check_installed({"board": target})
