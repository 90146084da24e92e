import os

import pytest

from ofa.data_identity import data_identity, data_place
from ofa.errors import UserError
from ofa.recipe import DataConfig


def make(root, *names: str):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path.parent, ns=(1, 1))  # long ago, so that any change shows
    return root


def both(config: DataConfig) -> tuple:
    return data_identity(config), data_identity(config, train_only=True)


def test_the_digits_are_always_the_same():
    assert both(DataConfig()) == ([], [])
    assert data_place(DataConfig()) is None


@pytest.mark.parametrize(
    ("added", "whole", "train"),
    [
        ("train/cat/new.png", True, True),
        ("train/dog/new.png", True, True),
        ("val/cat/new.png", True, False),
        ("val/dog/new.png", True, False),
        ("README.txt", False, False),
    ],
)
def test_a_folder_with_splits(tmp_path, added, whole, train):
    config = DataConfig(folder=make(tmp_path, "train/cat/1.png", "train/dog/1.png", "val/cat/1.png"))
    before = both(config)
    assert both(config) == before
    (tmp_path / added).parent.mkdir(exist_ok=True)
    (tmp_path / added).touch()
    assert [now != then for now, then in zip(both(config), before, strict=True)] == [whole, train]


@pytest.mark.parametrize("change", ["cat/new.png", "eel/1.png"])
def test_a_folder_that_is_split_by_us(tmp_path, change):
    config = DataConfig(folder=make(tmp_path, "cat/1.png", "dog/1.png"))
    before = both(config)
    assert before[0] == before[1]
    make(tmp_path, change)
    os.utime((tmp_path / change).parent)
    assert all(now != then for now, then in zip(both(config), before, strict=True))


def test_idx_files(tmp_path):
    config = DataConfig(idx=make(tmp_path, "train-images-idx3-ubyte", "train-labels-idx1-ubyte"))
    before = data_identity(config)
    os.utime(tmp_path / "train-labels-idx1-ubyte", ns=(1, 1))
    assert data_identity(config) != before


@pytest.mark.parametrize("key", ["folder", "idx"])
def test_data_that_is_not_there_is_no_change_of_data(tmp_path, key):
    config = DataConfig(**{key: tmp_path / "none"})
    with pytest.raises(UserError, match=f"^data.{key}: .*none is not a folder; give the path of an existing one$"):
        data_identity(config)
    assert data_place(config) == tmp_path / "none"
