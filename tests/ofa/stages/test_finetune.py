"""The stage ``finetune``: what it keeps, how it goes on after any step, what it shares and what it trains again."""

import json
from contextlib import suppress

import pytest
import safetensors.torch
import torch

from ofa.data.loader import Data
from ofa.pipeline import checkpoints
from ofa.pipeline.manifest import RunManifest
from ofa.stages import finetune as stage
from ofa.supernet.training.errors import OutOfMemory
from ofa.supernet.training.finetune import finetune

pytestmark = pytest.mark.usefixtures("quick_models")
EPOCHS, LR, STEPS = 2, 0.02, 2 * 17  # batches of 64 of 1,092 images, the last one smaller


def settings(**values):
    return [word for key, value in values.items() for word in ("--set", f"{key.replace('__', '.')}={value}")]


def phone(**values):
    return settings(**{f"targets__phone__finetune__{key}": value for key, value in values.items()})


def record(folder, target="phone"):
    return json.loads((folder / "finetune" / f"{target}.json").read_text())


def network(folder, target="phone"):
    return folder / "finetune" / record(folder, target)["network"]


def weights(folder, target="phone"):
    return (network(folder, target) / "weights.safetensors").read_bytes()


@pytest.fixture
def trained(monkeypatch):
    """The learning rates with which networks were trained."""
    rates = []
    monkeypatch.setattr(stage, "finetune", lambda *args, **kw: (rates.append(kw["lr"]), finetune(*args, **kw))[1])
    return rates


@pytest.fixture(scope="module")
def whole(run_again):
    """A finished run whose network was trained for two epochs that nothing interrupted."""
    return run_again(*phone(epochs=EPOCHS, lr=LR)).folder


def test_what_it_leaves(whole, finished):
    found = record(whole)
    assert (found["epochs"], found["lr"], found["kept"]) == (EPOCHS, LR, True)
    assert (found["after"]["accuracy"], -found["after"]["loss"]) > (
        found["before"]["accuracy"],
        -found["before"]["loss"],
    )
    rows = [json.loads(line) for line in (network(whole) / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    assert not list(network(whole).glob(checkpoints.PATTERN))

    # The model is that network, and says so.
    exported = safetensors.torch.load((whole / "models" / "phone" / "weights.safetensors").read_bytes())
    for name, tensor in safetensors.torch.load(weights(whole)).items():
        assert torch.equal(exported[name], tensor), name
    verify = json.loads((whole / "models" / "phone" / "verify.json").read_text())
    assert verify["finetuned"] == {key: found[key] for key in ("epochs", "lr", "kept", "before", "after")}
    assert verify["validation_accuracy"] == pytest.approx(found["after"]["accuracy"], abs=0.01)
    before, after = (f"{100 * found[key]['accuracy']:.1f}" for key in ("before", "after"))
    assert f"{before} / {after}" in (whole / "report.md").read_text()
    assert f"before fine-tuning {before}" in (whole / "report.md").read_text()
    card = (whole / "models" / "phone" / "card.md").read_text()
    assert f"for {EPOCHS} epochs more" in card and f"{100 * found['before']['accuracy']:.2f} % before" in card

    # The search says of it what it said before.
    assert (whole / "search" / "phone.json").read_bytes() == (finished.folder / "search" / "phone.json").read_bytes()
    report = json.loads((whole / "report.json").read_text())["targets"]["phone"]
    assert report["measured"]["validation_accuracy"] == verify["validation_accuracy"]


def test_it_goes_on_after_any_step_as_if_nothing_had_been(call, copied, whole, monkeypatch):
    real, options = checkpoints.write, phone(epochs=EPOCHS, lr=LR)

    def dies_after_the_next(folder, checkpoint):
        real(folder, checkpoint)
        if checkpoint.global_step in dying:
            dying.discard(checkpoint.global_step)
            raise KeyboardInterrupt

    steps = {*range(1, STEPS + 1, 3), STEPS}
    dying = set(steps)
    monkeypatch.setattr(checkpoints, "write", dies_after_the_next)
    command = ["finetune", copied, *options, *settings(train__checkpoint__steps=1), "--update"]
    for _ in steps:
        code, _, err = call(*command)
        assert code == 130, err
    assert not dying and call(*command)[0] == 0
    assert weights(copied) == weights(whole)
    assert record(copied) == record(whole)
    assert len((network(copied) / "metrics.jsonl").read_text().splitlines()) == EPOCHS


def with_other_labels(batches):
    """``Data.train_batches`` whose labels are those of the next class."""

    def changed(*arguments, **options):
        for images, labels in batches(*arguments, **options):
            yield images, (labels + 1) % 10

    return changed


@pytest.mark.parametrize("diverges", [True, False], ids=["diverges", "forgets"])
def test_what_is_no_better_is_left_out(call, ran, copied, monkeypatch, diverges):
    before = weights(copied), record(copied)["before"]
    if not diverges:
        monkeypatch.setattr(Data, "train_batches", with_other_labels(Data.train_batches))
    code, out, err = call("run", copied, *phone(epochs=1, lr=1000 if diverges else 0.1), "--update")
    assert (code, ran(out)) == (0, ["finetune", "export", "evaluate", "report"]), err
    found = record(copied)
    assert not found["kept"] and found["before"] == before[1] and weights(copied) != before[0]
    assert ("diverged" in found, "after" in found) == (diverges, not diverges)
    assert "(not kept)" in out
    assert ("it diverged" if diverges else "no better") in (copied / "report.md").read_text()
    verify = json.loads((copied / "models" / "phone" / "verify.json").read_text())
    assert verify["validation_accuracy"] == pytest.approx(found["before"]["accuracy"], abs=0.01)

    # Exactly what the search measured.
    plain = settings(finetune="false", targets__phone__finetune="null")
    assert call("run", copied, *plain, "--update")[0] == 0
    exported = safetensors.torch.load((copied / "models" / "phone" / "weights.safetensors").read_bytes())
    for name, tensor in safetensors.torch.load(weights(copied)).items():
        assert torch.equal(exported[name], tensor), name


def test_one_network_is_trained_once_for_all_that_want_it_alike(call, copied, trained):
    alike = "{limits: {macs: 0.8x}}"
    other = "{limits: {macs: 0.8x}, finetune: {lr: 0.03}}"
    code, _, err = call("run", copied, *settings(targets__tv=alike, targets__board=other), "--update")
    assert code == 0, err
    usual = record(copied)["lr"]
    assert trained == [0.03]  # phone's is there already
    assert record(copied, "tv") == record(copied) and record(copied)["lr"] == usual
    assert record(copied, "board")["lr"] == 0.03 and record(copied, "board")["id"] == record(copied)["id"]
    report = (copied / "report.md").read_text()
    assert all(f"| {name} |" in report for name in ("phone", "tv", "board"))


def test_another_limit_trains_the_others_not_again(call, ran, copied, trained):
    code, _, err = call("run", copied, *settings(targets__board="{limits: {macs: 0.45x}}"), "--update")
    assert code == 0, err
    assert len(trained) == 1 and record(copied)["id"] != record(copied, "board")["id"]
    kept = weights(copied)
    code, out, err = call("run", copied, *settings(targets__board__limits__macs="0.4x"), "--update")
    assert (code, "train" in ran(out)) == (0, False), err
    assert len(trained) <= 2 and weights(copied) == kept


def test_a_target_that_is_left_out(call, ran, copied):
    code, out, err = call("run", copied, *settings(targets__phone__finetune="false"), "--update")
    assert (code, ran(out)) == (0, ["export", "evaluate", "report"]), err
    assert "Fine-tuning" not in (copied / "report.md").read_text()
    assert "finetuned" not in (copied / "models" / "phone" / "verify.json").read_text()
    assert call("run", copied)[1].startswith(f"{copied}: nothing to do, all stages are finished")
    assert call("finetune", copied)[1] == f"{copied}: nothing to do, the recipe leaves finetune out\n"


def test_weights_that_were_changed_are_made_anew(call, ran, copied):
    expected = weights(copied)
    path = network(copied) / "weights.safetensors"
    path.write_bytes(expected[:-4] + b"\0\0\0\1")
    code, out, err = call("run", copied)
    assert (code, ran(out)) == (0, ["finetune"]), err
    assert path.read_bytes() == expected and (path.parent / "weights.safetensors.damaged").exists()


def test_other_weights_of_the_supernet_train_again(call, ran, copied, trained):
    journal = RunManifest(copied)
    path = copied / "supernet" / "weights.safetensors"
    state = {name: tensor * 1.01 for name, tensor in safetensors.torch.load(path.read_bytes()).items()}
    path.write_bytes(safetensors.torch.save(state))
    journal.finish("train", journal.inputs("train"), [path], seconds=1)
    assert call("finetune", copied)[0] == 2 and not trained  # what the predictor was taught is of the weights before
    code, out, err = call("run", copied, "--update")
    assert (code, len(trained)) == (0, 1), err
    assert "finetune" in ran(out)


def test_what_ends_it_names_the_key_that_helps(call, copied, monkeypatch):
    def stop(*_, **__):
        raise OutOfMemory("no")

    monkeypatch.setattr(stage, "finetune", stop)
    code, _, err = call("finetune", copied, *phone(lr=0.01), "--update")
    assert (code, err) == (2, "targets.phone: fine-tuning stopped: no (train.batch_size)\n")


def test_a_record_of_somebody_else_is_not_believed(call, ran, copied, trained):
    """One that is damaged, or says of another network that it is this one's."""
    other = record(copied) | {"weights": "0" * 64}
    (copied / "finetune" / "a.json").write_text(json.dumps(other))
    (copied / "finetune" / "b.json").write_text("{")
    journal = RunManifest(copied)
    with suppress(FileNotFoundError):
        (copied / "finetune" / "phone.json").unlink()
    journal.start("finetune", journal.inputs("finetune"))
    code, out, err = call("run", copied)
    assert (code, ran(out)[0], len(trained)) == (0, "finetune", 1), err
