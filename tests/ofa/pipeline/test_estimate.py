import re

import pytest

from ofa.config.recipe_file import find_recipe, load_recipe
from ofa.config.schedule import training_phases
from ofa.data.loader import open_data
from ofa.errors import UserError
from ofa.pipeline.estimate import finetuning_macs, plan
from ofa.predictors.costs.cost_table import CostTable

SHIPPED = sorted(path.stem for path in find_recipe("quickstart").parent.glob("*.yaml"))


def test_a_plan_names_every_phase_subnet_step_and_target():
    overrides = ["train={epochs: 2, lr: 0.2}", "collect.subnets=12"]
    recipe = load_recipe(find_recipe("quickstart"), overrides=overrides)
    lines = list(plan(recipe))
    steps = 1092 // recipe.train.batch_size
    trained = [line for line in lines if line.startswith("train ")]
    assert len(trained) == len(training_phases(recipe)) > 3
    for line, phase in zip(trained, training_phases(recipe), strict=True):
        assert f" {phase.name}: {phase.epochs} epochs = {phase.epochs * steps} steps, " in line
        assert f" {phase.subnets} subnet(s) a step, open: kernel {phase.num_open('kernel')}, depth " in line
    assert f"space     {recipe.space.size:,} networks, {recipe.space.num_genes} genes" in lines
    assert "data      1092 train, 354 validation, 351 test images; 10 classes, 1 channel(s)" in lines
    assert "collect   accuracy of 12 subnets" in lines
    whole = recipe.measure.fit_subnets + recipe.measure.test_subnets
    assert f"measure   latency of blocks and {whole} whole subnets on onnxruntime" in lines
    assert any(re.match(r"threads   \d+ threads?: .", line) for line in lines)
    for target in ("server: onnxruntime, latency at most 0.9x", "phone: onnxruntime, latency at most 0.4x"):
        assert any(line.startswith(f"target    {target} the largest subnet's") for line in lines)
    assert re.search(r"^time      about \d+ (seconds|minutes) on this machine: training \d+ ", lines[-1])


def test_more_epochs_take_more_time(small):
    def training(*overrides: str) -> float:
        found = re.search(r"training (\d+) (\w+)", "\n".join(plan(load_recipe(small, overrides=overrides))))
        return int(found[1]) * {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400}[found[2]]

    assert 0 < training() <= 60
    assert training("train.epochs=1000") > 50 * training()


def test_fine_tuning_is_counted(small):
    """With its own epochs, for each target, in a network as small as its limits ask for."""

    def macs(*overrides: str) -> float:
        recipe = load_recipe(small, overrides=overrides)
        data = open_data(recipe.data, resolution=recipe.space.resolutions[-1], seed=recipe.seed)
        return finetuning_macs(recipe, data, CostTable.macs(recipe.space, num_classes=10, in_chans=1))

    epochs = "finetune.epochs=3"
    assert macs("finetune=false") == 0 < macs()
    assert macs(epochs) == pytest.approx(3 * macs("finetune.epochs=1"))
    assert macs(epochs, "targets.tv.limits={macs: 0.8x}") == pytest.approx(2 * macs(epochs))
    alone = ("train.distill_weight=0", epochs)
    assert macs(*alone, "targets.phone.limits={latency: 0.2x}") == pytest.approx(macs(*alone) / 4)
    assert macs(*alone) < macs(epochs)
    assert "finetune  phone: 3 epochs, learning rate 0.01" in plan(
        load_recipe(small, overrides=[epochs, "finetune.lr=0.01"])
    )


def test_the_default_schedule_is_shown_as_any_other(small):
    lines = list(plan(load_recipe(small, overrides=["train={total_epochs: 10}"])))
    full, later = (line for line in lines if line.startswith("train "))
    assert re.match(r"train     full: \d+ epochs = \d+ steps, ", full)
    assert re.match(
        r"train     all: \d+ epochs = \d+ steps, learning rate 0\.\d+, \d subnet\(s\) a step, open: ", later
    )
    assert sum(int(re.search(r"(\d+) epochs", line)[1]) for line in (full, later)) == 10


def test_absolute_limits_have_their_unit(small):
    lines = plan(load_recipe(small, overrides=["targets.phone.limits={macs: 5e6, latency_ms: 0.8}"]))
    (line,) = (line for line in lines if line.startswith("target "))
    assert line == "target    phone: onnxruntime, latency at most 0.8 ms, macs at most 5e+06"


def test_microcontrollers_are_not_timed(small, monkeypatch):
    monkeypatch.setattr("ofa.pipeline.estimate.check_installed", lambda _: None)
    overrides = ["space=mcu_32", "targets={m4: {runtime: cortex_m4, limits: {sram_kb: 22}}}"]
    lines = list(plan(load_recipe(small, overrides=overrides)))
    assert "measure   memory and instructions of int8 programs on cortex_m4" in lines
    assert "target    m4: cortex_m4 int8, sram at most 22528 bytes" in lines
    assert not any("latency" in line for line in lines)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_recipe_is_checked_and_missing_data_is_an_error(call, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ofa.pipeline.estimate.check_installed", lambda _: None)  # test_installed.py has that
    code, out, err = call("check", name, *(["--set", "train={total_epochs: 2}"] if name == "quickstart" else []))
    assert out.startswith(f"{name}: a valid recipe\n")
    recipe = load_recipe(find_recipe(name))
    place = recipe.data.folder or recipe.data.idx
    missing = place is not None and not place.is_dir()
    assert code == (2 if missing else 0) and (f"{place} is not there, so neither steps nor times" in err) is missing
    assert out.count("\ntrain ") == len(training_phases(recipe))
    assert out.count("\ntarget ") == len(recipe.targets)


def test_data_that_is_there_but_wrong(small, tmp_path):
    with pytest.raises(UserError, match="holds no images"):
        list(plan(load_recipe(small, overrides=[f"data.folder={tmp_path}"])))
