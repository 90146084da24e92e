"""Timing on other devices: addresses, kept rounds, the runner, and a fake phone that notes what it is asked."""

import json
import os
import time

import numpy as np
import pytest

from ofa.export.runtimes import timing
from ofa.export.runtimes.remote import runner
from ofa.export.runtimes.remote.address import valid_address
from ofa.export.runtimes.remote.connect import connect, timed
from ofa.export.runtimes.remote.link import DeviceLost, RemoteError
from ofa.export.runtimes.remote.rounds import Plan, Round, Rounds

SHAPE = (3, 8, 8)
# Two models; the first one also runs cold.
MODELS = [(b"a" * 700, SHAPE), (b"b" * 900, SHAPE), (b"a" * 700, SHAPE)]
SETTINGS = {"cold": [0], "reference": 1, "seed": 3}


@pytest.mark.parametrize(
    "address", ["ssh:pi", "ssh:me@10.0.0.2", "ssh:ssh://me@pi:2222", "adb", "adb:192.168.0.4:5555"]
)
def test_addresses(address):
    assert valid_address(address)
    connect(address)


@pytest.mark.parametrize(
    "address", ["", "pi", "ssh", "ssh:", "ssh:-oProxyCommand=x", "ssh:a b", "adb:", "adb:-e", "usb"]
)
def test_what_is_no_address(address):
    assert not valid_address(address)
    with pytest.raises(ValueError, match="write ssh:HOST, adb or adb:SERIAL"):
        connect(address)


def test_models_that_are_the_same_are_sent_once(tmp_path):
    (tmp_path / "a.tflite").write_bytes(MODELS[0][0])
    plan = Plan.of([*MODELS, (tmp_path / "a.tflite", SHAPE), (MODELS[0][0], (1, 1, 1))], threads=1, **SETTINGS)
    assert plan.calls == ((0, True), (1, False), (0, False), (0, False), (2, False))
    assert len(plan.models) == 3 and len(set(plan.names())) == 2


def test_the_runner_does_what_interleaved_does(monkeypatch):
    """Same calls in the same order, and by a clock of our own the same times."""
    now, log = [0.0], []

    def call(name):
        def run():
            log.append(name)
            now[0] += 1e5 * (1 + len(log) % 7) * (1 + name)

        return run

    monkeypatch.setattr(time, "perf_counter_ns", lambda: now[0])
    models = [(bytes([number]), SHAPE) for number in range(50)]
    settings = {"cold": range(10, 30), "reference": 4, "seed": 5}
    wanted = 1e3 * timing.interleaved([call(name) for name in range(50)], rounds=4, progress=False, **settings)
    same, log[:] = log[:], []

    plan, kept = Plan.of(models, threads=1, **settings), Rounds(None, "")
    calls = [call(name) for name in range(50)]
    counts = runner.repeats(calls, [cold for _, cold in plan.calls], 1e-3, 3, 20)
    for number in range(4):
        ns, pace = runner.one_round(calls, counts, plan.order(number), 4, timing.REFERENCE_EVERY)
        kept.add(Round(number, ns, pace))
    assert log == same
    assert kept.milliseconds(4) == pytest.approx(wanted)


def test_rounds_are_kept_for_the_same_models_only(tmp_path):
    path = tmp_path / "costs" / "x.rounds.jsonl"
    first = Rounds(path, "one")
    for number in (2, 0):
        first.add(Round(number, [1.0 + number, 5.0], 2.0 + number))
    assert first.missing(4) == [1, 3]
    with path.open("a") as file:
        file.write('{"round": 1, "ns": [3.')  # cut off by a crash
    again = Rounds(path, "one")
    assert again.found == first.found
    again.add(Round(1, [2.0, 5.0], 3.0))
    assert Rounds(path, "one").missing(3) == []
    # The pace of the middle round is the usual one: the others are divided by how much slower they were.
    assert again.milliseconds(3) == pytest.approx(1e-6 * np.array([[1.5, 7.5], [2.0, 5.0], [2.25, 3.75]]))
    assert Rounds(path, "two").missing(3) == [0, 1, 2]
    assert Rounds(path, "one").missing(3) == [0, 1, 2]
    path.write_bytes(b"\xff\xfe")
    assert Rounds(path, "one").missing(1) == [0]


CHANGES = [
    {"models": MODELS[:2]},
    {"cold": []},
    {"reference": None},
    {"seed": 4},
    {"threads": 2},
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
def test_what_a_round_hangs_on(change):
    settings = {"models": MODELS, "threads": 1, **SETTINGS}
    keys = set()
    for values in (settings, settings | change):
        keys.add(Plan.of(values["models"], **{name: values[name] for name in values if name != "models"}).key({}))
    assert len(keys) == 2
    assert Plan.of(MODELS, threads=1, **SETTINGS).key({"cpu": "a"}) not in keys


ADB = """#!/bin/sh
echo "$*" >> {folder}/log
serial=only
if [ "$1" = -s ]; then serial=$2; shift 2; fi
if [ -e {folder}/trouble ]; then cat {folder}/trouble >&2; exit 1; fi
[ -z "$ANDROID_LIMIT" ] || [ "$(grep -c -- --graph {folder}/log)" -le "$ANDROID_LIMIT" ] ||
    {{ echo "error: no devices/emulators found" >&2; exit 1; }}
case $1 in
    get-serialno) echo $serial;;
    get-state) echo device;;
    push) shift; eval "last=\\${{$#}}"
        for file; do [ "$file" = "$last" ] || cp "$file" {folder}/phone/"${{last#/data/local/tmp/}}" || exit 1; done;;
    shell) sh -c "$(echo "$2" | sed 's#/data/local/tmp#{folder}/phone#g')";;
esac
"""
# First and later inferences hang on the size of the file, as slow models on the time of day.
BENCHMARK = """#!/bin/sh
size=$(stat -c %s "${1#--graph=}") || exit 1
echo "STARTING!"
echo "count=1 curr=$((size * 2))"
first="First inference: $((size * 2)), Warmup (avg): $((size * 2))"
echo "Inference timings in us: Init: 12345, $first, Inference (avg): $size.5e+00"
echo "Memory footprint delta from the start of the tool (MB): init=1.5 overall=2.5"
"""
GETPROP = """#!/bin/sh
case $1 in *soc.model) echo Tensor;; *product.model) echo "Pixel 8";; *release) echo 15;; *) echo;; esac
"""


@pytest.fixture
def phone(tmp_path, monkeypatch):
    """A folder on the path with a program ``adb``, whose ``phone`` is what it shows of a phone."""
    folder = tmp_path / "fake"
    (folder / "phone").mkdir(parents=True)
    programs = {"adb": ADB.format(folder=folder), "getprop": GETPROP, "phone/benchmark_model": BENCHMARK}
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.delenv("OFA_BENCHMARK_MODEL", raising=False)
    return folder


def asked(phone):
    return (phone / "log").read_text().splitlines()


def test_a_phone_says_what_it_is(phone):
    found = connect("adb").environment(threads=2)
    assert found.pop("version").startswith("benchmark_model ")
    assert found == {
        "runtime": "litert",
        "threads": 2,
        "cpu": "Tensor Pixel 8",
        "device": "adb:only",
        "system": "Android 15",
    }
    assert connect("adb:me").environment(threads=1)["device"] == "adb:me"


def test_a_phone_times_models(phone):
    times = timed("adb:me", MODELS, rounds=3, threads=2, progress=False, **SETTINGS)
    assert times == pytest.approx(np.tile([1.4, 0.9005, 0.7005], (3, 1)))
    runs = [line for line in asked(phone) if "--graph" in line]
    # A process a model and round, and the reference once more.
    assert len(runs) == 3 * (2 + 1)
    assert all(
        line.startswith("-s me shell /data/local/tmp/benchmark_model --graph=/data/local/tmp/ofa-") for line in runs
    )
    for flag in ("--num_threads=2", "--use_xnnpack=true", "--min_secs=", "--warmup_min_secs=0"):
        assert all(flag in line for line in runs)
    assert [path.name for path in (phone / "phone").iterdir()] == ["benchmark_model"]  # nothing is left there


def test_a_phone_that_goes_away(phone, tmp_path, monkeypatch):
    """The rounds that were measured stay, the others are measured later, and the result is that of one measurement."""
    whole = timed("adb", MODELS, rounds=5, store=tmp_path / "whole.jsonl", progress=False, **SETTINGS)
    (phone / "log").unlink()
    monkeypatch.setenv("ANDROID_LIMIT", "7")  # two rounds of three processes, and one
    store = tmp_path / "half.jsonl"
    with pytest.raises(
        DeviceLost, match=r"after 2 of 5 rounds, which are kept.*same command goes on .no phone is conn"
    ):
        timed("adb", MODELS, rounds=5, store=store, progress=False, **SETTINGS)
    assert len(store.read_text().splitlines()) == 1 + 2
    with pytest.raises(RemoteError, match=r"^no phone is connected"):
        timed("adb", MODELS, rounds=5, store=store, progress=False, **SETTINGS)
    monkeypatch.delenv("ANDROID_LIMIT")
    (phone / "log").unlink()
    assert np.array_equal(timed("adb", MODELS, rounds=5, store=store, progress=False, **SETTINGS), whole)
    assert sum("--graph" in line for line in asked(phone)) == 3 * 3
    assert store.read_text() == (tmp_path / "whole.jsonl").read_text()
    (phone / "log").unlink()
    assert np.array_equal(timed("adb", MODELS, rounds=4, store=store, progress=False, **SETTINGS), whole[:4])
    assert not any("--graph" in line for line in asked(phone))


TROUBLES = [
    ("error: no devices/emulators found", "no phone is connected"),
    ("error: more than one device/emulator", "name one as adb:SERIAL"),
    ("error: device unauthorized.", "allow USB debugging"),
    ("error: device 'x' not found", "no such phone is connected"),
    ("error: device offline", "unplug it and plug it in"),
    ("adb: cannot bind to port", "adb says: adb: cannot bind to port"),
]


@pytest.mark.parametrize(("said", "sentence"), TROUBLES)
def test_phones_that_cannot_be_reached(phone, said, sentence):
    (phone / "trouble").write_text(f"* daemon started successfully\n{said}\n")
    with pytest.raises(RemoteError, match=sentence) as caught:
        timed("adb", MODELS, rounds=1, progress=False)
    assert "\n" not in str(caught.value)


def test_a_phone_without_the_program(phone, monkeypatch):
    (phone / "phone" / "benchmark_model").unlink()
    with pytest.raises(RemoteError, match="/data/local/tmp/benchmark_model is not on the phone, or cannot be run: "):
        connect("adb").environment(threads=1)
    elsewhere = phone / "my benchmark"
    elsewhere.write_text(BENCHMARK)
    elsewhere.chmod(0o755)
    monkeypatch.setenv("OFA_BENCHMARK_MODEL", str(elsewhere))
    assert timed("adb", MODELS, rounds=1, progress=False).shape == (1, 3)


@pytest.mark.parametrize("said", ["echo 'ERROR: Op builtin_code out of range'; exit 1", "echo 'Inference (avg): nan'"])
def test_a_model_that_the_phone_cannot_run(phone, said):
    (phone / "phone" / "benchmark_model").write_text(f"#!/bin/sh\n{said}\n")
    with pytest.raises(RemoteError) as caught:
        timed("adb", MODELS, rounds=1, progress=False)
    assert not isinstance(caught.value, DeviceLost) and said.split("'")[1] in str(caught.value)


def test_adb_is_not_installed(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RemoteError, match="apt-get install adb"):
        timed("adb", MODELS, rounds=1, progress=False)
    with pytest.raises(RemoteError, match="apt-get install openssh-client"):
        timed("ssh:pi", MODELS, rounds=1, progress=False)


def test_a_runner_that_cannot_load_says_so(capsys, tmp_path):
    pytest.importorskip("ai_edge_litert", reason="pip install 'once-for-all[tflite]'")
    job = tmp_path / "job.json"
    (tmp_path / "bad.tflite").write_bytes(b"no model")
    job.write_text(json.dumps({"threads": 1, "models": [{"file": "bad.tflite", "shape": SHAPE}]}))
    assert runner.main(job) == 1
    first, second = (json.loads(line.removeprefix("ofa ")) for line in capsys.readouterr().out.splitlines())
    assert first["environment"]["runtime"] == "litert" and "cannot load a model" in second["error"]
