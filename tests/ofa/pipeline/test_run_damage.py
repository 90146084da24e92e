"""Files that are not what the run wrote: named, moved aside, made anew, to the same bytes where nothing is timed."""

import json

import pytest

from ofa.pipeline.manifest import digest
from ofa.predictors.costs.cost_table import CostTable

PREDICTOR = "predictor/predictor.npz"
CHECKPOINTS = [f"checkpoint-0000000{steps}.safetensors" for steps in (34, 51, 68)]


def everything(folder) -> dict:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def same(folder, other, *names: str) -> bool:
    return all((folder / name).read_bytes() == (other / name).read_bytes() for name in names)


def test_finished_files_that_were_changed(call, ran, copied, finished):
    weights, rows, predictor = (copied / name for name in ("supernet/weights.safetensors", "accuracy.csv", PREDICTOR))
    weights.write_bytes(weights.read_bytes()[:-1000])
    rows.write_text(rows.read_text().replace(",0.", ",0.9", 1))
    predictor.write_bytes(b"garbage")
    (copied / "predictor" / "quality.json").unlink()
    code, out, err = call("run", copied)
    # What is made anew equals what was there, so that nothing after it runs.
    assert (code, ran(out)) == (0, ["train", "collect", "predict"]), err
    for path in (weights, rows, predictor):
        told = f"{path} is not what was written (damaged or edited): moved to {path.name}.damaged, made anew"
        assert told in out
        assert path.with_name(f"{path.name}.damaged").exists()
    assert f"{copied}/predictor/quality.json is missing: made anew" in out
    assert same(copied, finished.folder, "supernet/weights.safetensors", "accuracy.csv", "predictor/quality.json")
    assert same(copied, finished.folder, "train/metrics.jsonl")  # no epoch was trained again
    assert call("run", copied)[1].startswith(f"{copied}: nothing to do")


def test_a_changed_cost_table_is_measured_anew(call, ran, copied):
    path = copied / "costs" / "phone.json"
    path.write_text(path.read_text()[:100])
    code, out, _ = call("measure", copied)
    assert (code, ran(out)) == (0, ["measure"])
    assert f"{path} is not what was written (damaged or edited): moved to phone.json.damaged, made anew" in out
    assert CostTable.load(path).unit == "ms"
    assert call("measure", copied)[1].startswith(f"{copied}: nothing to do, measure is finished")


@pytest.mark.parametrize("damage", ["cut", "one digit", "gone"])
def test_a_damaged_journal_is_taken_from_its_copy(call, copied, damage):
    path = copied / "run.json"
    whole = path.read_text()
    texts = {"cut": whole[:100], "one digit": whole.replace('"seed": 0', '"seed": 1', 1)}
    if damage == "gone":
        path.unlink()
    else:
        path.write_text(texts[damage])
    code, out, _ = call("run", copied)
    first, second, *_ = out.splitlines()
    assert code == 0
    assert first.startswith(f"{path} is ") and first.endswith(", run.copy.json is taken instead")
    assert second == f"{copied}: nothing to do, all stages are finished"
    assert path.read_text() == whole
    assert (copied / "run.json.damaged").exists() == (damage != "gone")


def test_without_a_journal_nothing_is_thrown_away_unasked(call, ran, copied, finished):
    (copied / "run.json").write_text('{"train": ')
    (copied / "run.copy.json").unlink()
    before = everything(copied)
    code, out, err = call("train", copied)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"{copied}/run.json is damaged: ")
    assert f"let `ofa run {copied} --update` make all stages anew" in err
    assert everything(copied) == before
    code, out, _ = call("train", copied, "--update")
    assert (code, ran(out)) == (0, ["train"])
    first = out.splitlines()[0]
    assert first.startswith(f"{copied}/run.json is damaged: ")
    assert first.endswith("moved to run.json.damaged, all stages run again")
    # Nothing says any more what the checkpoints were made from.
    for name in CHECKPOINTS:
        why = "is of another recipe, other data or other weights"
        assert f"{copied}/train/{name} {why}: moved to {name}.old\n" in out
        assert (copied / "train" / f"{name}.old").read_bytes() == (finished.folder / "train" / name).read_bytes()
    assert same(copied, finished.folder, "supernet/weights.safetensors")
    assert "collect needs the stage train" not in call("collect", copied)[2]


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_checkpoints_cut_short(call, ran, unfinished, finished, cut):
    """The newest ``cut`` of the three."""
    folder = unfinished("train")
    whole, damaged = CHECKPOINTS[: 3 - cut], CHECKPOINTS[::-1][:cut]
    for name in damaged:
        path = folder / "train" / name
        path.write_bytes(path.read_bytes()[:5000])
    code, out, _ = call("train", folder)
    assert (code, ran(out)) == (0, ["train"])
    tried = [line for line in out.splitlines() if ".damaged" in line]
    for line, name, before in zip(tried, damaged, [*damaged[1:], *whole[-1:], None], strict=False):
        goes_on = f"training goes on from {before}" if before else "training starts anew"
        assert line.startswith(f"{folder}/train/{name} is damaged: ")
        assert line.endswith(f": moved to {name}.damaged, {goes_on}")
        assert (folder / "train" / f"{name}.damaged").stat().st_size == 5000
    assert len(tried) == cut
    assert same(folder, finished.folder, "supernet/weights.safetensors")
    kept, expected = ((run / "train" / "metrics.jsonl").read_text().splitlines() for run in (folder, finished.folder))
    epochs_kept = 4 - cut if whole else 0  # with their seconds: only the others were trained again
    assert kept[:epochs_kept] == expected[:epochs_kept] and len(kept) == 4
    assert not set(kept[epochs_kept:]) & set(expected)


@pytest.mark.parametrize("damage", ["garbage", "16,1-1,3-3-3-3,2-2-2-2,1.5", "0.5"])
def test_rows_behind_a_bad_line_are_measured_anew(call, ran, unfinished, finished, damage):
    folder = unfinished("collect")
    path = folder / "accuracy.csv"
    lines = path.read_text().splitlines()
    lines[4] = damage
    path.write_text("\n".join(lines) + "\n")
    code, out, _ = call("collect", folder)
    assert (code, ran(out)) == (0, ["collect"])
    assert f"{path}, line 5: " in out
    assert "; moved to accuracy.csv.damaged, 3 rows before it kept\n" in out
    assert (folder / "accuracy.csv.damaged").read_text().splitlines()[4] == damage
    assert same(folder, finished.folder, "accuracy.csv")


def test_rows_of_other_subnets_are_measured_anew(call, unfinished, finished):
    folder = unfinished("collect")
    path = folder / "accuracy.csv"
    header, first, second, *_ = path.read_text().splitlines()
    path.write_text("\n".join([header, second, first]) + "\n")
    code, out, _ = call("collect", folder)
    assert code == 0
    assert f"{path} has other subnets than this recipe's: moved to accuracy.csv.damaged, measured anew" in out
    assert same(folder, finished.folder, "accuracy.csv")


@pytest.mark.parametrize("damage", ["{", "[]", "{}", "[" * 100_000, '{"targets": {"phone": 3}}', "one digit"])
def test_a_damaged_report_is_named(call, copied, damage):
    path = copied / "report.json"
    whole = path.read_text()
    path.write_text(whole.replace("0.", "1.", 1) if damage == "one digit" else damage)
    code, _, err = call("show", copied)
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith(f"{copied}/report.json is damaged")
    assert err.endswith(f"; `ofa report {copied}` makes it anew\n")


def test_a_damaged_report_is_made_anew(call, copied):
    (copied / "report.json").write_text("{")
    assert call("report", copied)[0] == 0
    assert json.loads((copied / "report.json").read_text())["targets"].keys() == {"phone"}


@pytest.mark.parametrize("name", ["../precious", "train/../../precious", "{outside}/precious"])
def test_a_journal_that_names_files_elsewhere(call, copied, tmp_path, name):
    """Somebody else's run folder: what it calls its files is not moved, read or removed."""
    precious = tmp_path / "precious"
    precious.write_text("precious")
    values = json.loads((copied / "run.json").read_text())
    del values["digest"]
    values["train"]["files"] = {name.format(outside=tmp_path): "0" * 64}
    for copy in ("run.json", "run.copy.json"):
        (copied / copy).write_text(json.dumps({**values, "digest": digest(values)}))
    before = everything(tmp_path)
    code, _, err = call("run", copied)
    assert (code, err.count("\n")) == (2, 1)
    assert "is not the name of a file inside" in err
    assert everything(tmp_path) == before


@pytest.mark.parametrize(
    "name", ["train", "accuracy.csv", "run.json", "models/phone", "costs/phone.json", "recipe.yaml"]
)
@pytest.mark.parametrize("command", ["run", "report", "show", "check"])
def test_links_are_not_followed(call, copied, tmp_path, name, command):
    outside = tmp_path / "outside"
    (copied / name).rename(outside)
    (copied / name).symlink_to(outside)
    before = everything(tmp_path)
    code, _, err = call(command, copied)
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith(f"{copied / name} is a link, which is not followed inside a run folder")
    assert everything(tmp_path) == before


def test_the_run_folder_itself_may_be_a_link(call, copied, tmp_path):
    (tmp_path / "runs").symlink_to(copied.parent)
    assert call("run", tmp_path / "runs" / "run")[1].startswith(f"{tmp_path}/runs/run: nothing to do")


def test_a_damaged_log_of_training(call, copied, unfinished):
    path = copied / "train" / "metrics.jsonl"
    whole = path.read_text()
    path.write_text(whole.replace("0.", "1.", 1))
    code, out, _ = call("run", copied)
    assert code == 0
    first, second, *_ = out.splitlines()
    assert first == f"{path} is not what was written (damaged or edited): moved to metrics.jsonl.damaged"
    assert second.startswith(f"{copied}: nothing to do")
    lines = whole.splitlines(keepends=True)
    path.write_bytes(lines[0].encode() + b"\xff\xfe\n" + "".join(lines[2:]).encode())
    unfinished("train")
    code, out, _ = call("train", copied)
    assert code == 0
    assert f"{path} is damaged: moved to metrics.jsonl.damaged2, 1 epochs before it kept" in out
