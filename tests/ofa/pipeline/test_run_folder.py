"""What may lie in a run folder: nothing in it leads to another place."""

import os
from pathlib import Path

import pytest

from ofa.errors import UserError
from ofa.pipeline.run_folder import FILES, FOLDERS, check_folder, inside, is_free, quarantine, sweep


@pytest.mark.parametrize(
    "name", ["", ".", "..", "/a", "../a", "a/..", "a/../../b", "a//b", "./a", "a\\b", "C:a", "a\0b", "a/"]
)
def test_names_that_lead_out(tmp_path, name):
    with pytest.raises(ValueError, match="is not the name of a file inside"):
        inside(tmp_path, name)


def test_links_lead_out(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "train").symlink_to(tmp_path / "elsewhere")
    for name in ("train", "train/a.json"):
        with pytest.raises(ValueError, match="is a link"):
            inside(tmp_path / "run", name)
    (tmp_path / "linked").symlink_to(tmp_path / "run")  # the run folder itself may be one
    assert inside(tmp_path / "linked", "costs/a.json") == tmp_path / "linked" / "costs" / "a.json"


PLACES = [*FILES, *FOLDERS, "train/checkpoint-000000008.safetensors", "models/phone/card.md", "models/phone/c"]


@pytest.mark.parametrize("kind", ["link", "link to nothing", "pipe"])
@pytest.mark.parametrize("name", [*PLACES, "models/phone/c/model.c"])
def test_links_and_devices_are_refused(tmp_path, name, kind):
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    path = run / name
    path.parent.mkdir(parents=True)
    check_folder(run)
    if kind == "link":
        elsewhere.mkdir()
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(elsewhere)
    with pytest.raises(UserError) as raised:
        check_folder(run)
    assert str(raised.value).startswith(f"{path} is ") and str(raised.value).count("\n") == 0


@pytest.mark.parametrize("name", [*FILES, *FOLDERS])
def test_a_folder_is_no_file(tmp_path, name):
    if name in FILES:
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=f"{name} is a (file where .* a folder|folder where .* a file); move it away"):
        check_folder(tmp_path)


def test_what_is_the_users_is_never_looked_at(tmp_path):
    (tmp_path / "models" / "phone" / "c" / "build").mkdir(parents=True)
    for path in (tmp_path / "notes", tmp_path / "models" / "phone" / "c" / "build" / "sdk"):
        path.symlink_to("/")
    check_folder(tmp_path)


def test_only_what_killed_processes_left_is_swept(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "mine").mkdir()
    left = [tmp_path / ".run.json.12.tmp", tmp_path / "train" / ".a.b.7.tmp"]
    kept = [tmp_path / "notes.tmp", tmp_path / ".run.json.tmp", tmp_path / "mine" / ".a.12.tmp", tmp_path / "a.12.tmp"]
    for path in (*left, *kept):
        path.touch()
    sweep(tmp_path)
    assert [path.exists() for path in (*left, *kept)] == [False] * 2 + [True] * 4


def test_a_free_folder(tmp_path):
    folder = tmp_path / "run"
    assert is_free(folder)
    folder.mkdir()
    (folder / "lock").touch()
    assert is_free(folder)
    (folder / "thesis.txt").touch()
    assert not is_free(folder) and not is_free(folder / "thesis.txt")


def test_nothing_is_moved_over_what_was_moved_aside_before(tmp_path: Path):
    path = tmp_path / "a.csv"
    for text, name in (("first", "a.csv.old"), ("second", "a.csv.old2"), ("third", "a.csv.old3")):
        path.write_text(text)
        assert quarantine(path, "old") == tmp_path / name
    assert [(tmp_path / name).read_text() for name in ("a.csv.old", "a.csv.old2", "a.csv.old3")] == [
        *("first", "second", "third")
    ]
