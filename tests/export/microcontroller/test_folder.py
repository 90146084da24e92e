"""A folder that is written again: written files are replaced, others stay, a kill leaves the old or the new folder."""

import os
import signal
import subprocess
import sys

import pytest

from ofa.export.microcontroller import folder as folder_module
from ofa.export.microcontroller.folder import replacement, written_files

OURS = {"main.c": "1", "src/m4_infer.c": "1", "src/deep/x.c": "1"}


def export(folder, files=None):
    """What an export does, in small; returns what it said."""
    said = []
    with replacement(folder, notice=said.append) as made:
        for name, text in (OURS if files is None else files).items():
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            (made / name).write_text(text)
    return said


def content(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def folder(tmp_path):
    export(tmp_path / "c")
    return tmp_path / "c"


def test_users_files_stay_and_stale_written_files_are_removed(folder):
    for name in ("board_stm32.c", "notes/plan ü.txt", "src/mine.h", ".hidden", "src/deep/own.c"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"mine: {name}")
    (folder / "empty" / "below").mkdir(parents=True)
    (folder / "link").symlink_to("/nowhere")
    (folder / "tool").write_text("#!/bin/sh\n")
    (folder / "tool").chmod(0o755)
    before = content(folder)
    assert export(folder, {"main.c": "2", "new.c": "2"}) == []
    after = content(folder)
    assert {name: after[name] for name in before if name not in (*OURS, "files.json")} == {
        name: text for name, text in before.items() if name not in (*OURS, "files.json")
    }
    assert (after["main.c"], after["new.c"]) == ("2", "2")
    assert "src/m4_infer.c" not in after
    assert (folder / "empty" / "below").is_dir() and str((folder / "link").readlink()) == "/nowhere"
    assert os.access(folder / "tool", os.X_OK)
    assert [path.name for path in written_files(folder)] == ["files.json", "main.c", "new.c"]
    assert [path.name for path in folder.parent.iterdir()] == ["c"]


def test_an_edited_file_is_kept_under_another_name_and_reported(folder):
    for number in (1, 2):
        (folder / "main.c").write_text(f"edited {number}")
        (said,) = export(folder)
        assert said.startswith(f"{folder / 'main.c'} was edited: kept as main.c.yours")
    found = content(folder)
    assert (found["main.c"], found["main.c.yours"], found["main.c.yours.2"]) == ("1", "edited 1", "edited 2")
    assert export(folder) == []


def test_a_users_file_with_the_name_of_a_new_file_is_kept(folder):
    (folder / "new.c").write_text("mine")
    (folder / "data").mkdir()
    (folder / "data" / "a").write_text("mine")
    (folder / "up").write_text("mine")
    said = export(folder, {"new.c": "ours", "data": "ours", "up/x": "ours"})
    found = content(folder)
    assert (found["new.c"], found["data"], found["up/x"]) == ("ours", "ours", "ours")
    assert (found["new.c.yours"], found["data.yours/a"], found["up.yours"]) == ("mine", "mine", "mine")
    assert len(said) == 3


@pytest.mark.parametrize("manifest", [None, "", "[]", '{"files": 3}', '{"files": {"../../x": "0"}}'])
def test_without_a_readable_manifest_all_files_are_the_users(folder, manifest):
    (folder / "files.json").unlink() if manifest is None else (folder / "files.json").write_text(manifest)
    assert len(export(folder, {"main.c": "2"})) == 1
    assert content(folder)["main.c.yours"] == "1" and content(folder)["src/m4_infer.c"] == "1"


def test_files_and_links_are_refused_in_a_sentence(tmp_path):
    (tmp_path / "c").write_text("mine")
    with pytest.raises(ValueError, match=r"c is a file, and a folder is written there: move or rename the file"):
        export(tmp_path / "c")
    (tmp_path / "real").mkdir()
    (tmp_path / "d").symlink_to(tmp_path / "real")
    with pytest.raises(ValueError, match=r"d is a link"):
        export(tmp_path / "d")
    assert (tmp_path / "c").read_text() == "mine" and not list((tmp_path / "real").iterdir())


def test_an_error_leaves_the_old_folder(folder):
    with pytest.raises(KeyError), replacement(folder, notice=print) as made:
        (made / "main.c").write_text("2")
        raise KeyError
    assert content(folder)["main.c"] == "1"
    assert [path.name for path in folder.parent.iterdir()] == ["c"]


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("call", ["rename", "rmtree", "link"])
@pytest.mark.parametrize("count", [1, 2])
def test_a_kill_at_any_rename_loses_nothing(folder, exchange, call, count):
    """The process kills itself at a call to the disk; the next export has all of the user's files."""
    (folder / "board_stm32.c").write_text("mine")
    place = {"rename": "pathlib.Path", "rmtree": "shutil", "link": "os"}[call]
    script = f"""
import ctypes, os, pathlib, shutil, signal
from ofa.export.microcontroller.folder import replacement
calls, real = [], {place}.{call}
def fatal(*args, **options):
    calls.append(1)
    if len(calls) == {count}:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **options)
{place}.{call} = fatal
if not {exchange}:
    ctypes.CDLL = None
    def no(*args, **options):
        raise OSError
    ctypes.CDLL = no
with replacement(pathlib.Path({str(folder)!r}), notice=print) as made:
    (made / "main.c").write_text("2")
"""
    done = subprocess.run([sys.executable, "-c", script], check=False)
    assert done.returncode in (0, -signal.SIGKILL)
    if exchange:  # whole at every moment
        assert content(folder)["main.c"] in ("1", "2") and content(folder)["board_stm32.c"] == "mine"
    export(folder, {"main.c": "3"})
    assert (content(folder)["main.c"], content(folder)["board_stm32.c"]) == ("3", "mine")
    assert [path.name for path in folder.parent.iterdir()] == ["c"]


def test_a_disk_without_hard_links_gets_copies(folder, monkeypatch):
    def none(*_args, **_options):
        raise OSError("no links here")

    monkeypatch.setattr(folder_module.os, "link", none)
    (folder / "mine.c").write_text("mine")
    export(folder)
    assert content(folder)["mine.c"] == "mine"
