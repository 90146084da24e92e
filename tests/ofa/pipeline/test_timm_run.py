"""A recipe whose space is a model of timm, run whole."""

import json
import subprocess
import sys

import pytest
import timm
import torch

import ofa

RECIPE = """
space: {timm: lcnet_035, resolutions: [32, 48], kernels: [3, 5], widths: [1.0]}
train: {phases: sandwich, epochs: 1, lr: 0.05, batch_size: 128}
collect: {subnets: 10, images: 40, calibration_images: 32}
measure: {rounds: 1, fit_subnets: 2, test_subnets: 2}
search: {population: 20, generations: 2, candidates: 1}
targets:
  phone: {limits: {macs: 0.7x}}
"""


@pytest.mark.usefixtures("quick_models")
def test_a_timm_model_becomes_a_deployed_network(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.yaml").write_text(RECIPE)
    code, out, err = call("run", "my.yaml")
    assert code == 0, err
    assert "Subnets\nphone" in out

    # The network is timm's own class, and what was exported.
    model = ofa.load_subnet(tmp_path / "runs" / "my" / "models" / "phone")
    assert type(model) is timm.models.MobileNetV3
    told = json.loads((tmp_path / "runs" / "my" / "models" / "phone" / "subnet.json").read_text())
    side = told["subnet"]["resolution"]
    assert model(torch.zeros(1, 1, side, side)).shape == (1, 10)
    assert (tmp_path / "runs" / "my" / "models" / "phone" / "model.onnx").is_file()

    # What is finished is shown without torch, by its folder.
    code = (
        "import sys\nfrom ofa.cli import main\nmain(['run', 'runs/my'])\n"
        "print([name for name in ('torch', 'timm') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "nothing to do" in done.stdout and done.stdout.splitlines()[-1] == "[]"
    assert "Subnets\nphone" in done.stdout
