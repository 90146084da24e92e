"""Every image is read once before training; what cannot be read is named, left out everywhere, or refused."""

import os

import numpy as np
import pytest
from PIL import Image

from ofa.config.data import DataConfig
from ofa.config.recipe_file import load_recipe
from ofa.data import identity
from ofa.data import read_images as module
from ofa.data.image_findings import unreadable_images
from ofa.data.loader import open_data
from ofa.data.read_images import check_readable, finding_lines, read_images
from ofa.data.readers.source import Source
from ofa.data.sources import open_source
from ofa.errors import UserError
from ofa.pipeline.manifest import RunManifest
from ofa.pipeline.stage_inputs import stage_inputs

SPLITS = {"train": 12, "val": 10, "test": 10}
NAMES = {"train": "train", "val": "validation", "test": "test"}


@pytest.fixture
def root(tmp_path):
    rng = np.random.default_rng(0)
    for split, count in SPLITS.items():
        for name in ("cat", "dog"):
            folder = tmp_path / "data" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (9, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "data"


def opened(root) -> Source:
    return open_source(DataConfig(folder=root), resolution=8)


def cut(path) -> None:
    path.write_bytes(path.read_bytes()[:60])


def pipe(path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("split", SPLITS)
def test_an_unreadable_image_is_named_and_left_out_before_anything_else(root, tmp_path, split, workers):
    bad = root / split / "cat" / "3.png"
    cut(bad)
    source = opened(root)
    findings = read_images(source, workers=workers, folder=tmp_path / "run")
    (finding,) = findings
    assert (finding.split, finding.image, finding.unreadable) == (NAMES[split], f"{split}/cat/3.png", True)
    assert finding_lines(findings)[0].startswith(f"cannot be read: {NAMES[split]} image {split}/cat/3.png: ")
    check_readable(source, findings)
    left_out = unreadable_images(tmp_path / "run")
    data = open_data(DataConfig(folder=root, workers=0), resolution=8, seed=0, left_out=left_out)
    assert data.counts == {NAMES[name]: 2 * count - (name == split) for name, count in SPLITS.items()}
    for name in data.counts:
        assert sum(len(labels) for _, labels in data.split_batches(name, resolution=8)) == data.counts[name]
    assert data.broken == {}


@pytest.mark.parametrize("compared", [2**30, 0], ids=["all content is compared", "a sample is"])
@pytest.mark.parametrize("split", SPLITS)
def test_deleting_left_out_images_changes_no_results(root, tmp_path, small, monkeypatch, split, compared):
    monkeypatch.setattr(identity, "MAX_COMPARED_BYTES", compared)
    monkeypatch.setattr(identity, "SAMPLED_IMAGES", 10)
    recipe, run = load_recipe(small, overrides=[f"data.folder={root}"]), tmp_path / "run"
    bad = root / split / "cat" / "3.png"
    good = bad.read_bytes()
    cut(bad)

    def made_from() -> list:
        found = identity.data_identity(recipe.data, left_out=unreadable_images(run))
        return [stage_inputs(RunManifest(run), "train", recipe), found]

    read_images(opened(root), workers=0, folder=run)
    before = made_from()
    os.utime(bad, ns=(1, 1))
    assert made_from() == before
    damaged = bad.read_bytes()
    bad.unlink()
    assert made_from() == before
    bad.write_bytes(damaged)
    (run / "data" / "images.json").unlink()
    assert made_from() != before  # run_stages reads the images again then
    read_images(opened(root), workers=0, folder=run)
    assert made_from() == before
    bad.write_bytes(good)
    assert [now != then for now, then in zip(made_from(), before, strict=True)] == [split == "train", True]


def test_only_new_and_changed_images_are_read_again(root, tmp_path, monkeypatch):
    read = []
    problem_of = module.problem_of
    monkeypatch.setattr(module, "problem_of", lambda path: read.append(path.name) or problem_of(path))

    def count() -> int:
        read.clear()
        read_images(opened(root), workers=0, folder=tmp_path / "run")
        return len(read)

    assert count() == 64
    assert count() == 0
    (root / "train" / "cat" / "3.png").rename(root / "train" / "cat" / "new.png")
    assert count() == 1
    cut(root / "val" / "dog" / "5.png")
    assert (count(), [*unreadable_images(tmp_path / "run")]) == (1, ["val/dog/5.png"])
    assert count() == 1  # what cannot be read is tried again
    Image.new("RGB", (9, 8), "red").save(root / "val" / "dog" / "5.png")
    assert (count(), [*unreadable_images(tmp_path / "run")]) == (1, [])
    assert count() == 0
    (tmp_path / "run" / "data" / "read.npz").write_bytes(b"damaged")
    assert count() == 64


def test_an_image_of_one_colour_is_worth_a_look_and_is_used(root, tmp_path):
    Image.new("RGB", (9, 8), "red").save(root / "train" / "dog" / "5.png")
    for _ in range(2):  # remembered as well
        (finding,) = read_images(opened(root), workers=0, folder=tmp_path / "run")
        assert not finding.unreadable and "one colour" in finding.reason
    assert not unreadable_images(tmp_path / "run")


def test_images_read_before_a_kill_are_not_read_again(root, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_SAVE_SECONDS", 0)
    monkeypatch.setattr(module, "_CHUNK", 8)
    real, read = module.problem_of, []

    def killed(path):
        read.append(path)
        if len(read) == 30:
            raise KeyboardInterrupt
        return real(path)

    monkeypatch.setattr(module, "problem_of", killed)
    with pytest.raises(KeyboardInterrupt):
        read_images(opened(root), workers=0, folder=tmp_path / "run")
    read_images(opened(root), workers=0, folder=tmp_path / "run")
    assert len(read) < 30 + 64 - 16


BAD = {
    "too many of a split": (
        [f"val/cat/{number}.png" for number in range(3)],
        r"^3 of 20 validation images cannot be read, such as val/cat/\d.png \(.*\); replace or delete them$",
    ),
    "the whole test split": (
        [f"test/{name}/{number}.png" for name in ("cat", "dog") for number in range(10)],
        "^20 of 20 test images",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_more_than_a_tenth_of_a_split_is_refused(root, case):
    names, message = BAD[case]
    for name in names:
        cut(root / name)
    source = opened(root)
    findings = read_images(source, workers=0)
    with pytest.raises(UserError, match=message):
        check_readable(source, findings)


def test_a_class_without_an_image_to_train_on_is_refused(root):
    for number in range(1, 12):
        (root / "train" / "dog" / f"{number}.png").unlink()
    cut(root / "train" / "dog" / "0.png")
    source = opened(root)
    with pytest.raises(UserError, match="no training image of class 'dog' can be read; replace or delete them"):
        check_readable(source, read_images(source, workers=0))


def test_a_pipe_in_the_place_of_an_image_is_not_waited_for(root):
    source = opened(root)
    pipe(root / "train" / "cat" / "0.png")
    (finding,) = read_images(source, workers=0)
    assert finding.unreadable and "named pipe" in finding.reason


def test_a_check_reads_a_sample_of_much_data(root):
    cut(root / "train" / "cat" / "0.png")
    assert len(read_images(opened(root), workers=0, limit=5)) <= 1


def test_check_names_them_and_exits_with_2_when_there_are_too_many(call, root, small):
    cut(root / "val" / "cat" / "0.png")
    code, out, err = call("check", small, "--set", f"data={{folder: {root}, workers: 0}}")
    assert (code, err) == (0, "")
    assert "image     cannot be read: validation image val/cat/0.png" in out
    assert "left out  1 images that cannot be read" in out
    for number in range(3):
        cut(root / "val" / "dog" / f"{number}.png")
    code, out, err = call("check", small, "--set", f"data={{folder: {root}, workers: 0}}")
    assert code == 2 and err.startswith("4 of 20 validation images cannot be read")


def test_a_run_refuses_them_before_it_trains(call, root, small, tmp_path):
    for number in range(4):
        cut(root / "test" / "dog" / f"{number}.png")
    run = tmp_path / "run"
    code, out, err = call("run", small, "--out", run, "--set", f"data={{folder: {root}, workers: 0}}")
    assert code == 2 and err.startswith("4 of 20 test images cannot be read")
    assert "cannot be read: test image test/dog/0.png" in out and not (run / "train").exists()
