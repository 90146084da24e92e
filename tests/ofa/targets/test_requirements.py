"""What is missing is said before anything starts."""

import pytest

from ofa.config.target import Target
from ofa.errors import UserError
from ofa.targets import requirements

CASES = [
    ({"runtime": "litert"}, ["ai_edge_litert"], "pip install 'once-for-all[tflite]'"),
    ({"runtime": "litert", "precision": "int8"}, ["ai_edge_quantizer"], "pip install 'once-for-all[tflite]'"),
    ({"runtime": "tflm"}, ["tflite_micro"], "pip install 'once-for-all[mcu]'"),
    ({"runtime": "cortex_m4"}, ["bakenn", "flatbuffers"], "pip install 'once-for-all[mcu,tflite]'"),
]


def target(**values):
    return Target.model_validate({"limits": {"macs": "1x"}, **values})


@pytest.mark.parametrize(("values", "absent", "line"), CASES)
def test_packages(monkeypatch, values, absent, line):
    monkeypatch.setattr(requirements, "find_spec", lambda name: None if name in absent else object())
    with pytest.raises(UserError, match="needs more packages") as caught:
        requirements.check_installed({"server": target(), "board": target(**values)})
    assert str(caught.value).startswith(f"targets.board: the runtime {values['runtime']} ")
    assert str(caught.value).endswith(line)
    requirements.check_installed({"server": target()})


def test_programs_are_needed_only_for_what_they_measure(monkeypatch):
    monkeypatch.setattr(requirements, "find_spec", lambda name: object())
    monkeypatch.setattr(requirements.shutil, "which", lambda name: None if name.startswith("qemu") else name)
    requirements.check_installed({"board": target(runtime="cortex_m4"), "other": target(runtime="tflm")})
    requirements.check_installed({"board": target(runtime="cortex_m4", limits={"sram_kb": 22})})
    with pytest.raises(UserError, match="instructions of cortex_m4 cannot be counted: qemu-system-arm not found: "):
        requirements.check_installed({"board": target(runtime="cortex_m4", limits={"instructions": 4e6})})


def test_a_run_starts_with_it(call, small, tmp_path, monkeypatch):
    monkeypatch.setattr(requirements, "find_spec", lambda name: None)
    for command in (["run", small, "--out", tmp_path / "run"], ["check", small]):
        code, _, err = call(*command, "--set", "targets.phone.runtime=litert")
        assert (code, err.count("\n")) == (2, 1)
        assert "pip install 'once-for-all[tflite]'" in err
    assert not (tmp_path / "run").exists()
