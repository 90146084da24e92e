"""The data's identity is that of the images read: nothing else changes it, and every change of an image does."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ofa.config.data import DataConfig
from ofa.data import identity as module
from ofa.data.identity import data_folder, data_identity
from ofa.data.readers.one_look import one_look
from ofa.errors import UserError

SPLIT_SETS = {"all": ("train", "validation", "test"), "train": ("train",), "test": ("test",), "none": ()}


def write(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, format="BMP")  # all of one size


@pytest.fixture
def root(tmp_path) -> Path:
    for number in range(24):
        split = ("train", "val", "test")[number % 3]
        write(tmp_path / "data" / split / ("cat", "dog")[number % 2] / f"{number}.bmp", number)
    return tmp_path / "data"


@pytest.fixture
def unsplit(tmp_path) -> Path:
    for number in range(40):
        write(tmp_path / "data" / ("cat", "dog")[number % 2] / f"{number}.bmp", number)
    return tmp_path / "data"


def identities(root: Path) -> dict[str, list]:
    return {name: data_identity(DataConfig(folder=root), splits=splits) for name, splits in SPLIT_SETS.items()}


def what_changed(before: dict[str, list], root: Path) -> set[str]:
    return {name for name, rows in identities(root).items() if rows != before[name]}


def touch_all(root: Path) -> Path:
    for path in [root, *root.rglob("*")]:
        os.utime(path, ns=(1, 1))
    return root


def copied(root: Path) -> Path:
    return Path(shutil.copytree(root, root.parent / "copy"))


def with_file(name: str, content: bytes = b"x"):
    def add(root: Path) -> Path:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
        return root

    return add


NO_CHANGE = {
    "touched": touch_all,
    "copied": copied,
    "moved": lambda root: root.rename(root.parent / "moved"),
    "linked": lambda root: (root.parent / "link").symlink_to(root) or root.parent / "link",
    "macOS": with_file("train/cat/.DS_Store"),
    "Windows": with_file("train/cat/Thumbs.db"),
    "a text": with_file("README.txt"),
    "an empty hidden folder": with_file("train/.cache/x.bmp"),
}


@pytest.mark.parametrize("case", NO_CHANGE)
def test_what_is_no_image_changes_nothing(root, case):
    before = identities(root)
    assert what_changed(before, NO_CHANGE[case](root)) == set()


def changed_byte(root: Path, name: str) -> None:
    content = bytearray((root / name).read_bytes())
    content[-1] ^= 1
    (root / name).write_bytes(content)
    os.utime(root / name, ns=(1, 1))


@pytest.mark.parametrize(
    ("split", "expected"), [("train", {"all", "train"}), ("val", {"all"}), ("test", {"all", "test"})]
)
@pytest.mark.parametrize("change", ["new", "removed", "renamed", "one byte, same size and time"])
def test_a_change_of_an_image_concerns_the_stages_that_read_its_split(root, split, expected, change):
    before = identities(root)
    path = next((root / split / "cat").iterdir())
    if change == "new":
        write(root / split / "cat" / "new.bmp", 99)
    elif change == "removed":
        path.unlink()
    elif change == "renamed":
        path.rename(path.with_name("other.bmp"))
    else:
        changed_byte(root, str(path.relative_to(root)))
    assert what_changed(before, root) == expected


def test_another_class_concerns_every_stage(root):
    before = identities(root)
    write(root / "train" / "eel" / "1.bmp", 7)
    assert what_changed(before, root) >= {"all", "train", "none"}


def test_a_folder_that_is_split_by_us_counts_an_image_where_it_went(unsplit):
    before = identities(unsplit)
    assert [row[0].split("/")[0] for row in before["train"] if "/" in str(row[0])].count("train") > 20
    gone = next(row[0] for row in before["test"] if str(row[0]).startswith("test/"))
    (unsplit / gone.removeprefix("test/")).unlink()
    assert what_changed(before, unsplit) == {"all", "test"}


def test_the_content_of_large_data_is_sampled(root, monkeypatch):
    monkeypatch.setattr(module, "MAX_COMPARED_BYTES", 100)
    monkeypatch.setattr(module, "SAMPLED_IMAGES", 5)
    rows = [row for row in data_identity(DataConfig(folder=root)) if "/" in str(row[0])]
    assert len(rows) == 24 and 0 < sum(bool(row[2]) for row in rows) < 24
    assert rows == [row for row in data_identity(DataConfig(folder=copied(root))) if "/" in str(row[0])]


def test_in_large_data_a_new_test_image_does_not_change_the_training_data(root, monkeypatch):
    monkeypatch.setattr(module, "SAMPLED_IMAGES", 5)
    config = DataConfig(folder=root)
    whole = sum(path.stat().st_size for path in root.rglob("*.bmp"))
    for limit in (100, whole):  # much data, and data that becomes much
        monkeypatch.setattr(module, "MAX_COMPARED_BYTES", limit)
        before = data_identity(config, splits=("train",))
        for number in range(20):
            write(root / "test" / "cat" / f"{limit} {number}.bmp", number)
        assert data_identity(config, splits=("train",)) == before


def test_the_digits_are_always_the_same():
    assert data_identity(DataConfig()) == data_identity(DataConfig(), splits=())
    assert data_folder(DataConfig()) is None


def test_idx_files_are_compared_by_content(tmp_path):
    for name in (
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    ):
        (tmp_path / name).write_bytes(b"1")
    config = DataConfig(idx=tmp_path)
    before = data_identity(config), data_identity(config, splits=("train",))
    touch_all(tmp_path)
    assert (data_identity(config), data_identity(config, splits=("train",))) == before
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(b"2")
    assert data_identity(config) != before[0] and data_identity(config, splits=("train",)) == before[1]
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(b"2")
    assert data_identity(config, splits=("train",)) != before[1]


@pytest.mark.parametrize("key", ["folder", "idx"])
def test_missing_data_is_an_error_and_no_change(tmp_path, key):
    config = DataConfig(**{key: tmp_path / "none"})
    with pytest.raises(UserError, match=f"^data.{key}: .*none is not a folder; give the path of an existing one$"):
        data_identity(config)
    assert data_folder(config) == tmp_path / "none"


def test_one_look_reads_the_disk_once(root):
    config = DataConfig(folder=root)
    with one_look():
        before = data_identity(config)
        write(root / "train" / "cat" / "new.bmp", 99)
        assert data_identity(config) == before
    assert data_identity(config) != before
