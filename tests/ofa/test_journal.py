import json

import pytest

from ofa.journal import Journal, digest, move_aside


def test_digest_is_of_values_not_of_their_order():
    assert digest({"a": 1, "b": [2, None]}) == digest({"b": [2, None], "a": 1})
    different = [{"a": 1}, {"a": 2}, {"a": "1"}, {"a": [1]}, [{"a": 1}], {}]
    assert len({digest(values) for values in different}) == len(different)


def test_a_stage_is_finished_when_its_files_are_recorded(tmp_path):
    (tmp_path / "deep").mkdir()
    paths = [tmp_path / "deep" / "a.bin", tmp_path / "b.bin"]
    for path in paths:
        path.write_bytes(path.name.encode())
    journal = Journal(tmp_path)
    assert (journal.finished("train"), journal.inputs("train")) == (False, None)
    journal.start("train", "made from x")
    for seen in (journal, Journal(tmp_path)):
        assert (seen.finished("train"), seen.inputs("train")) == (False, "made from x")
    journal.finish("train", "made from x", paths, seconds=1.23)
    for seen in (journal, Journal(tmp_path)):
        assert (seen.finished("train"), seen.inputs("train"), seen.broken("train")) == (True, "made from x", [])
        assert seen.outputs("train").keys() == {"deep/a.bin", "b.bin"}
    assert json.loads((tmp_path / "run.json").read_text())["train"]["seconds"] == 1.2
    journal.start("train", "made from y")
    assert not Journal(tmp_path).finished("train")


def test_broken_files_are_those_changed_or_gone(tmp_path):
    paths = [tmp_path / name for name in ("same", "changed", "gone", "folder")]
    for path in paths:
        path.write_text("0.5")
    journal = Journal(tmp_path)
    journal.finish("collect", "x", paths, seconds=0)
    paths[0].write_text("0.5")  # written again, with what it had
    paths[1].write_text("0.6")
    paths[2].unlink()
    paths[3].unlink()
    paths[3].mkdir()
    assert Journal(tmp_path).broken("collect") == paths[1:]


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "3", "\x00" * 100, '{"train": 3}', '{"train": {}}'),
        *('{"train": {"inputs": 1}}', '{"train": {"inputs": "x", "files": ["a"]}}'),
    ],
)
def test_a_damaged_journal_is_moved_aside(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    journal = Journal(tmp_path)
    assert journal.moved == tmp_path / "run.json.damaged"
    assert journal.moved.read_text() == text
    assert not journal.finished("train")
    journal.start("train", "x")
    again = Journal(tmp_path)
    assert (again.inputs("train"), again.moved) == ("x", None)


def test_move_aside_replaces_an_older_one(tmp_path):
    path = tmp_path / "a.csv"
    for text in ("first", "second"):
        path.write_text(text)
        assert move_aside(path, "old") == tmp_path / "a.csv.old"
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.csv.old", "second")]
