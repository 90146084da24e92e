"""Files are written atomically."""

import errno
import os

import pytest

from ofa.supernet.files import read_json, write_atomic, write_json


@pytest.mark.parametrize("content, stored", [(b"\x00new", b"\x00new"), ("neu: ü", "neu: ü".encode())])
def test_writes_and_replaces(tmp_path, content, stored):
    path = tmp_path / "new" / "folder" / "file.bin"
    for _ in range(2):
        write_atomic(path, content)
        assert path.read_bytes() == stored
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("old", [b"old", None])
def test_failed_write_leaves_what_was_there(tmp_path, monkeypatch, failure, old):
    path = tmp_path / "file.bin"
    if old:
        path.write_bytes(old)

    def fail(_descriptor):
        assert len(list(tmp_path.iterdir())) == 1 + bool(old), "the content is written beside the file"
        raise failure

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(type(failure)):
        write_atomic(path, b"new" * 1000)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == ([("file.bin", old)] if old else [])


def test_reader_of_the_old_file_is_not_disturbed(tmp_path):
    path = tmp_path / "file.bin"
    write_atomic(path, b"old" * 10)
    with path.open("rb") as file:
        write_atomic(path, b"new")
        assert file.read() == b"old" * 10 and path.read_bytes() == b"new"


def test_target_that_cannot_be_replaced(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        write_atomic(tmp_path / "folder", b"new")
    assert [file.name for file in tmp_path.iterdir()] == ["folder"]


def test_json_round_trip(tmp_path):
    values = {"a": [1, 2.5, None, True], "b": {"c": "ü"}}
    write_json(tmp_path / "values.json", values)
    assert read_json(tmp_path / "values.json") == values


@pytest.mark.parametrize("content", [b"", b'{"a": [1, 2', b"\xff\xfe"])
def test_damaged_json_is_named(tmp_path, content):
    path = tmp_path / "values.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"values\.json is damaged"):
        read_json(path)


def test_missing_json(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"values\.json"):
        read_json(tmp_path / "values.json")
