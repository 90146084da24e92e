"""Limits that no network can meet are told before training."""

from types import SimpleNamespace

import pytest

from ofa.config.recipe_file import load_recipe
from ofa.errors import UserError
from ofa.pipeline import feasibility
from ofa.pipeline.feasibility import check_limits, measure_smallest

HEAD = {"num_classes": 10, "in_chans": 1}


def recipe(small, **targets):
    overrides = [f"targets.{name}={values}" for name, values in targets.items()]
    return load_recipe(small, overrides=overrides)


@pytest.mark.parametrize(
    "limits, words",
    [
        ("{macs: 10}", "limit macs 10: every subnet costs more; the cheapest has macs "),
        ("{params: 9}", "limit params 9: every subnet costs more; the cheapest has params "),
        ("{macs: 0.001x}", "every subnet costs more"),
        ("{flash_kb: 1}", "limit flash 1024 bytes: every subnet costs more"),
    ],
)
@pytest.mark.parametrize("command", ["check", "run"])
def test_counted_limits_are_told_before_training(call, small, tmp_path, command, limits, words):
    options = ["--set", f"targets.phone.limits={limits}"] + (["--out", tmp_path / "run"] if command == "run" else [])
    code, out, err = call(command, small, *options)
    assert code == 2, out
    assert err.startswith("targets.phone: limit")
    assert words in err
    assert not (tmp_path / "run" / "run.json").exists()  # so that the mended recipe needs no --update


def test_each_target_is_told(small):
    with pytest.raises(UserError) as caught:
        check_limits(recipe(small, phone="{limits: {macs: 1}}", watch="{limits: {params: 1}}"), HEAD)
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == ["targets.phone", "targets.watch"]


@pytest.mark.parametrize("runtime", ["tflm", "cortex_m4"])
def test_memory_of_microcontrollers_is_estimated(small, runtime, monkeypatch):
    module = SimpleNamespace(NAME=runtime)
    monkeypatch.setattr(feasibility.Deployment, "module", module)

    def checked(kilobytes):
        target = f"{{m: {{runtime: {runtime}, limits: {{sram_kb: {kilobytes}}}}}}}"
        return check_limits(load_recipe(small, overrides=["space=mcu_32", f"targets={target}"]), HEAD)

    with pytest.raises(UserError, match=r"limit sram 1024.*the cheapest has sram \d+") as caught:
        checked(1)
    least = float(str(caught.value).split("the cheapest has sram ")[1].split()[0]) / 1024
    assert checked(1.01 * least) == []
    (line,) = checked(least / 1.05)
    assert line.startswith("limit     m: may not be met, by an estimate (limit sram ")


@pytest.mark.parametrize(
    "limits, met, words",
    [
        ("{latency_ms: 1}", True, "the smallest network takes 0.3 ms here; the latency limit is 1 ms"),
        ("{latency_ms: 0.2}", True, "which may be too little"),
        ("{latency_ms: 0.14}", False, "the smallest network takes 0.3 ms here; the latency limit is 0.14 ms; raise"),
        ("{latency: 0.5x}", True, "the latency limit is 0.6 ms (0.5x of the largest network's)"),
        ("{latency: 0.1x}", False, "the latency limit is 0.12 ms (0.1x of the largest network's); raise the limit"),
    ],
)
def test_a_time_is_refused_only_when_it_is_missed_by_far(small, monkeypatch, limits, met, words):
    monkeypatch.setattr(feasibility.latency, "time_subnets", lambda *_, **__: [0.3, 1.2])
    given = recipe(small, phone=f"{{limits: {limits}}}")
    if met:
        (line,) = measure_smallest(given, HEAD)
    else:
        with pytest.raises(UserError) as caught:
            measure_smallest(given, HEAD)
        line = str(caught.value)
    assert words in line
    assert line.startswith("limit     phone: " if met else "targets.phone: ")


def test_the_smallest_network_is_timed_here_and_now(call, small):
    code, _, err = call("check", small, "--set", "targets.phone.limits={latency_ms: 1e-5}")
    assert code == 2
    assert err.startswith("targets.phone: the smallest network takes ")
    assert err.count("\n") == 1


def test_other_devices_are_not_asked(small):
    given = recipe(small, phone="{runtime: litert, remote: adb, limits: {latency_ms: 1e-5}}")
    (line,) = measure_smallest(given, HEAD)
    assert line == "limit     phone: whether adb can meet it is not known before `ofa measure`"
