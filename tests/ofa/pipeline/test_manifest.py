import json

import pytest

from ofa.pipeline.manifest import RunManifest, digest

CLIMBING = ["../a", "/etc/passwd", "a/../../b", "..", ".", "", "a//b", "C:/a", "a\\\\b", "a\\u0000b"]


def test_digest_is_of_values_not_of_their_order():
    assert digest({"a": 1, "b": [2, None]}) == digest({"b": [2, None], "a": 1})
    different = [{"a": 1}, {"a": 2}, {"a": "1"}, {"a": [1]}, [{"a": 1}], {}]
    assert len({digest(values) for values in different}) == len(different)


def test_a_stage_is_finished_when_its_files_are_recorded(tmp_path):
    (tmp_path / "deep").mkdir()
    paths = [tmp_path / "deep" / "a.bin", tmp_path / "b.bin"]
    for path in paths:
        path.write_bytes(path.name.encode())
    journal = RunManifest(tmp_path)
    assert (journal.finished("train"), journal.inputs("train")) == (False, None)
    journal.start("train", {"from": "x"})
    for seen in (journal, RunManifest(tmp_path)):
        assert (seen.finished("train"), seen.inputs("train")) == (False, {"from": "x"})
    journal.finish("train", {"from": "x"}, paths, seconds=1.23)
    for seen in (journal, RunManifest(tmp_path)):
        assert (seen.finished("train"), seen.inputs("train"), seen.broken("train")) == (True, {"from": "x"}, [])
        assert seen.outputs("train").keys() == {"deep/a.bin", "b.bin"}
    assert json.loads((tmp_path / "run.json").read_text())["train"]["seconds"] == 1.2
    journal.start("train", {"from": "y"})
    assert not RunManifest(tmp_path).finished("train")


def test_broken_files_are_those_changed_or_gone(tmp_path):
    paths = [tmp_path / name for name in ("same", "changed", "gone", "folder")]
    for path in paths:
        path.write_text("0.5")
    journal = RunManifest(tmp_path)
    journal.finish("collect", {}, paths, seconds=0)
    paths[0].write_text("0.5")  # written again, with what it had
    paths[1].write_text("0.6")
    paths[2].unlink()
    paths[3].unlink()
    paths[3].mkdir()
    assert RunManifest(tmp_path).broken("collect") == paths[1:]


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "3", "\x00" * 100, '{"train": 3}', '{"train": {}}', "[" * 200_000, "9" * 5000),
        *('{"train": {"inputs": 1}}', '{"train": {"inputs": "x", "files": ["a"]}}', '{"digest": "x"}'),
        *(f'{{"train": {{"inputs": {{}}, "files": {{"{name}": "x"}}}}}}' for name in CLIMBING),
    ],
)
def test_a_damaged_journal_is_replaced_by_its_copy(tmp_path, text):
    RunManifest(tmp_path).start("train", {"made": "from x"})
    whole = (tmp_path / "run.json").read_text()
    (tmp_path / "run.json").write_text(text)
    journal = RunManifest(tmp_path)
    assert journal.problem.startswith(f"{tmp_path / 'run.json'} is damaged") or "not the name" in journal.problem
    assert (journal.inputs("train"), journal.lost) == ({"made": "from x"}, False)
    assert (tmp_path / "run.json").read_text() == text  # reading changes nothing
    assert "run.copy.json is taken instead" in journal.repair()
    assert (tmp_path / "run.json.damaged").read_text() == text
    assert (tmp_path / "run.json").read_text() == whole
    (tmp_path / "run.json").write_text(text)
    (tmp_path / "run.copy.json").write_text(text)
    journal = RunManifest(tmp_path)
    assert (journal.lost, journal.inputs("train"), journal.finished("train")) == (True, None, False)


def test_every_flipped_bit_is_noticed(tmp_path):
    (tmp_path / "a").write_text("0.5")
    RunManifest(tmp_path).finish("train", {"recipe": {"lr": 0.1}}, [tmp_path / "a"], seconds=3)
    path = tmp_path / "run.json"
    whole = path.read_bytes()
    values = json.loads(whole)
    for place in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            same = json.loads(damaged) == values  # a space that became a line break, say
        except ValueError:
            same = False
        assert same or RunManifest(tmp_path).problem, damaged[place // 8 - 10 : place // 8 + 10]


def test_a_journal_of_an_older_version_is_read(tmp_path):
    entry = {"inputs": "0123", "files": {}, "seconds": 1.0}
    (tmp_path / "run.json").write_text(json.dumps({"train": entry}))
    journal = RunManifest(tmp_path)
    assert (journal.problem, journal.inputs("train"), journal.seconds("train")) == (None, "0123", 1.0)


@pytest.mark.parametrize(
    ("entry", "seconds"), [({}, 0), ({"seconds": "long"}, 0), ({"seconds": None}, 0), ({"seconds": 3}, 3)]
)
def test_how_long_a_stage_took(tmp_path, entry, seconds):
    (tmp_path / "run.json").write_text(json.dumps({"train": {"inputs": {}, **entry}}))
    assert RunManifest(tmp_path).seconds("train") == seconds
