"""What libraries read while they are loaded: set by ``import ofa``, never over the user's own."""

import os
import subprocess
import sys

import pytest

from ofa import environment

OURS = {"GOMP_SPINCOUNT": environment.SPIN_COUNT, "ORT_DISABLE_TELEMETRY": "1"}


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, OURS),
        ({"OMP_NUM_THREADS": "4"}, OURS | {"OMP_NUM_THREADS": "4"}),
        ({"GOMP_SPINCOUNT": "7"}, OURS | {"GOMP_SPINCOUNT": "7"}),
        ({"ORT_DISABLE_TELEMETRY": "0"}, OURS | {"ORT_DISABLE_TELEMETRY": "0"}),
        (
            {"OMP_WAIT_POLICY": "ACTIVE"},
            {"OMP_WAIT_POLICY": "ACTIVE", "ORT_DISABLE_TELEMETRY": "1"},
        ),
    ],
)
def test_what_the_user_has_set_stays(given, wanted):
    values = dict(given)
    environment.set_defaults(values)
    assert values == wanted
    environment.set_defaults(values)
    assert values == wanted


@pytest.mark.parametrize(
    ("given", "said"),
    [({}, None), ({"OMP_NUM_THREADS": ""}, None), ({"OMP_NUM_THREADS": "4"}, "OMP_NUM_THREADS=4")]
    + [({name: "2"}, f"{name}=2") for name in ("MKL_NUM_THREADS", "OMP_THREAD_LIMIT")],
)
def test_a_number_of_threads_that_the_user_fixed(given, said):
    assert environment.thread_setting(given) == said


@pytest.mark.parametrize(
    ("given", "loaded", "late"),
    [({}, {"torch"}, True), ({}, {"numpy"}, False), ({"OMP_WAIT_POLICY": "PASSIVE"}, {"torch"}, False)],
)
def test_torch_that_was_loaded_before_has_read_other_settings(given, loaded, late):
    assert environment.prepare(dict(given), loaded) is late


def python(code, **variables):
    given = {name: value for name, value in os.environ.items() if name not in OURS} | variables
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=given, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_they_are_set_before_anything_is_loaded():
    code = f"import sys, os, ofa; print('torch' in sys.modules, [os.environ[name] for name in {list(OURS)}])"
    assert python(code) == f"False {list(OURS.values())}\n"


@pytest.mark.parametrize("module", ["ofa.export.runtimes.onnxruntime", "ofa.export.quantization.onnx"])
def test_onnxruntime_leaves_nothing_in_the_home_folder(tmp_path, module):
    home, other = tmp_path / "home", str(tmp_path / "other")
    home.mkdir()
    homes = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"), str(home))
    python(f"import {module}", **homes, TMPDIR=str(tmp_path), TORCHINDUCTOR_CACHE_DIR=other)
    assert [path for path in home.rglob("*") if "onnxruntime" in path.name] == []
