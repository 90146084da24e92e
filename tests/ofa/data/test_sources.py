"""Every source of images, its splits, and what is said about bad input."""

import gzip
import os
import re
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ofa.config.data import DataConfig
from ofa.data.readers.digits import digits_source
from ofa.data.readers.source import Source
from ofa.data.readers.splits import spread_order
from ofa.data.sources import open_source
from ofa.errors import UserError


def write_images(folder: Path, count: int, *, size: tuple[int, int] = (10, 8), suffix: str = ".png") -> None:
    """``count`` images of noise, each unlike all others."""
    folder.mkdir(parents=True)
    for number in range(count):
        rng = np.random.default_rng([number, *os.fsencode(folder)])
        pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}{suffix}")


def write_classes(folder: Path, **counts: int) -> None:
    for name, count in counts.items():
        write_images(folder / name, count)


def write_idx(path: Path, values: np.ndarray) -> None:
    data = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def write_mnist(folder: Path, *, train: int = 60, test: int | None = 20, gz: str = ".gz", first_label: int = 0) -> None:
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for name, count in {"train": train, "t10k": test}.items():
        if count is not None:
            images = rng.integers(0, 256, (count, 6, 5), dtype=np.uint8)
            write_idx(folder / f"{name}-images-idx3-ubyte{gz}", images)
            write_idx(folder / f"{name}-labels-idx1-ubyte{gz}", (np.arange(count) % 3 + first_label).astype(np.uint8))


def opened(**config) -> Source:
    return open_source(DataConfig(**config), resolution=8)


def paths(source: Source) -> dict[str, list[str]]:
    return {
        name: [split.path(row).relative_to(split.root).as_posix() for row in range(len(split))]
        for name, split in source.splits.items()
    }


def about(count: int, expected: int) -> bool:
    """Whether a share that a hash decides is near what was asked for."""
    return abs(count - expected) <= 3 * expected**0.5


def check_partition(source: Source, total: int) -> None:
    """Every image is in exactly one split."""
    rows = [split.images[row].tobytes() for split in source.splits.values() for row in range(len(split))]
    assert len(rows) == len(set(rows)) == total


# -- digits -----------------------------------------------------------------------------------------------------------


def test_digits_are_split_60_20_20_with_every_class_in_its_share():
    source = digits_source(16)
    counts = {name: len(split) for name, split in source.splits.items()}
    assert source.classes == tuple("0123456789")
    for name, expected in {"train": 0.6, "validation": 0.2, "test": 0.2}.items():
        assert abs(counts[name] / 1797 - expected) < 0.02
        assert np.bincount(source.splits[name].labels, minlength=10).min() > 0.6 * expected * 180
    check_partition(digits_source(8), 1797)


def test_digits_use_the_whole_range_and_are_the_same_every_time():
    source, again = digits_source(32), digits_source(32)
    images = source.splits["train"].images
    assert images.dtype == np.uint8 and images.shape[1:] == (32, 32) and images.min() == 0 and images.max() == 255
    assert all(np.array_equal(split.images, again.splits[name].images) for name, split in source.splits.items())


# -- idx --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gz", ["", ".gz"])
def test_idx_with_a_test_file(tmp_path, gz):
    write_mnist(tmp_path, gz=gz)
    source = opened(idx=tmp_path)
    assert source.classes == ("0", "1", "2")
    counts = {name: len(split) for name, split in source.splits.items()}
    assert counts["test"] == 20 and counts["train"] + counts["validation"] == 60 and about(counts["validation"], 12)
    assert np.bincount(source.splits["validation"].labels, minlength=3).min() > 0
    rng = np.random.default_rng(0)
    train, test = (rng.integers(0, 256, (count, 6, 5), dtype=np.uint8) for count in (60, 20))
    assert np.array_equal(source.splits["test"].images, test)
    assert source.splits["test"].labels.tolist() == [row % 3 for row in range(20)]
    label = {image.tobytes(): row % 3 for row, image in enumerate(train)}
    for name in ("train", "validation"):
        split = source.splits[name]
        assert [label[image.tobytes()] for image in split.images] == split.labels.tolist()
    check_partition(source, 80)


def test_idx_without_a_test_file_gives_a_share_of_train(tmp_path):
    write_mnist(tmp_path, test=None)
    source = opened(idx=tmp_path, val_fraction=0.1, test_fraction=0.3)
    counts = {name: len(split) for name, split in source.splits.items()}
    assert about(counts["train"], 36) and about(counts["validation"], 6) and about(counts["test"], 18)
    check_partition(source, 60)


def test_idx_classes_are_the_label_values_found(tmp_path):
    write_mnist(tmp_path, first_label=5)
    source = opened(idx=tmp_path)
    assert source.classes == ("5", "6", "7") and set(source.splits["train"].labels) == {0, 1, 2}


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


BAD_IDX = {
    "no folder": (lambda f: [p.unlink() for p in f.iterdir()] and f.rmdir(), r"data\.idx: .* is not a folder"),
    "empty folder": (lambda f: [p.unlink() for p in f.iterdir()], "no train-images-idx3-ubyte"),
    "labels missing": (
        lambda f: (f / "train-labels-idx1-ubyte.gz").unlink(),
        r"train-images-idx3-ubyte\.gz is there but .*train-labels-idx1-ubyte\[\.gz\] is missing",
    ),
    "images missing": (
        lambda f: (f / "t10k-images-idx3-ubyte.gz").unlink(),
        r"t10k-labels-idx1-ubyte\.gz is there but .*t10k-images-idx3-ubyte\[\.gz\] is missing",
    ),
    "counts differ": (
        lambda f: write_idx(f / "train-labels-idx1-ubyte.gz", np.zeros(59, np.uint8)),
        r"train-images-idx3-ubyte\.gz holds 60 images but .*train-labels-idx1-ubyte\.gz holds 59 labels",
    ),
    "swapped files": (
        lambda f: (f / "train-images-idx3-ubyte.gz").write_bytes((f / "t10k-labels-idx1-ubyte.gz").read_bytes()),
        r"train-images-idx3-ubyte\.gz begins with 00000801, not 00000803",
    ),
    "cut gzip": (lambda f: cut(f / "t10k-images-idx3-ubyte.gz", 100), r"t10k-images-idx3-ubyte\.gz cannot be read"),
    "not gzip": (lambda f: (f / "t10k-images-idx3-ubyte.gz").write_bytes(b"<html>"), "cannot be read .*fetch it again"),
    "empty file": (lambda f: (f / "train-labels-idx1-ubyte").write_bytes(b""), "train-labels-idx1-ubyte begins with"),
    "short": (
        lambda f: (f / "train-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x801, 60) + bytes(59)),
        "train-labels-idx1-ubyte holds 59 bytes but its header says 60",
    ),
    "unknown label": (
        lambda f: write_idx(f / "t10k-labels-idx1-ubyte.gz", np.full(20, 9, np.uint8)),
        "t10k-labels.* has the label 9, which .*train-labels.* lacks",
    ),
    "one class": (lambda f: write_idx(f / "train-labels-idx1-ubyte.gz", np.zeros(60, np.uint8)), "only the class '0'"),
}


@pytest.mark.parametrize("case", BAD_IDX)
def test_bad_idx(tmp_path, case):
    damage, message = BAD_IDX[case]
    write_mnist(tmp_path / "idx")
    damage(tmp_path / "idx")
    with pytest.raises(UserError, match=message):
        opened(idx=tmp_path / "idx")


# -- folders ----------------------------------------------------------------------------------------------------------

TWO = {"cat": 10, "dog": 20}
LAYOUTS = {  # folders, options, then where the images of train, validation and test come from and how many they are
    "train, val, test": (["train", "val", "test"], {}, [("train", 30), ("val", 30), ("test", 30)]),
    "train, validation, test": (["train", "validation", "test"], {}, [("train", 30), ("validation", 30), ("test", 30)]),
    "half of val becomes test": (["train", "val"], {}, [("train", 30), ("val", 15), ("val", 15)]),
    "val as test, as for ImageNet": (["train", "val"], {"test": "val"}, [("train", 24), ("train", 6), ("val", 30)]),
    "val as test, validation there": (
        ["train", "val", "validation"],
        {"test": "val"},
        [("train", 30), ("validation", 30), ("val", 30)],
    ),
    "test of another name": (
        ["train", "val", "test", "new"],
        {"test": "new"},
        [("train", 30), ("val", 30), ("new", 30)],
    ),
    "train, test": (["train", "test"], {"val_fraction": 0.1}, [("train", 27), ("train", 3), ("test", 30)]),
    "only train": (["train"], {}, [("train", 18), ("train", 6), ("train", 6)]),
    "only classes": (["."], {"test_fraction": 0.4}, [("", 12), ("", 6), ("", 12)]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_folder_layouts(tmp_path, layout):
    folders, options, expected = LAYOUTS[layout]
    for folder in folders:
        write_classes(tmp_path / folder, **TWO)
    source = opened(folder=tmp_path, **options)
    assert source.classes == ("cat", "dog")
    for (folder, count), (name, found) in zip(expected, paths(source).items(), strict=True):
        split = source.splits[name]
        whole = count == 30
        assert len(found) == count if whole else about(len(found), count)
        assert all(path.startswith(folder) for path in found)
        assert [source.classes[label] for label in split.labels] == [Path(path).parent.name for path in found]
        assert np.bincount(split.labels, minlength=2).min() > 0
    check_partition(source, sum(count for _, count in expected))
    assert paths(source) == paths(opened(folder=tmp_path, **options))


def test_hidden_files_and_other_files_are_left_out(tmp_path):
    write_classes(tmp_path / "train", **TWO)
    write_images(tmp_path / "train" / "cat" / ".ipynb_checkpoints", 3)
    (tmp_path / "train" / "cat" / "._0.png").write_bytes(b"resource fork")
    (tmp_path / "train" / "cat" / "notes.txt").write_text("not an image")
    source = opened(folder=tmp_path)
    assert source.classes == ("cat", "dog") and sum(map(len, source.splits.values())) == 30


def test_classes_come_in_timm_s_natural_order_and_formats_of_any_case(tmp_path):
    for name, suffix in {"c10": ".JPG", "c9": ".webp", "c1": ".bmp"}.items():
        write_images(tmp_path / name, 5, suffix=suffix)
    assert opened(folder=tmp_path).classes == ("c1", "c9", "c10")


BAD_FOLDERS = {  # what is there, options, message
    "no folder": ({}, {"folder": "nowhere"}, r"data\.folder: .*nowhere is not a folder"),
    "empty": ({".": {}}, {}, "holds no images .*give class folders"),
    "empty train": ({"train": {}, "val": TWO}, {}, "train holds no images"),
    "class without images": ({"train": {**TWO, "eel": 0}}, {}, "class 'eel' has no images: .*train/eel"),
    "validation class without images": ({"train": TWO, "val": {"cat": 5, "dog": 0}}, {}, "class 'dog' .*val/dog"),
    "one class": ({"train": {"cat": 5}}, {}, "train has only the class 'cat'.*at least two"),
    "unknown class": ({"train": TWO, "val": {**TWO, "eel": 4}}, {}, "val has the class 'eel', which .*train lacks"),
    "unlabelled test": ({"train": TWO, "val": TWO, "test": 4}, {}, "test/0.png is in no class folder"),
    "val without train": ({"val": TWO}, {}, r"has val/ but no train/"),
    "val and validation": ({"train": TWO, "val": TWO, "validation": TWO}, {}, "both val/ and validation/"),
    "one folder too high": ({"pets/train": TWO, "pets/val": TWO}, {}, r"but .*pets has train/; give that"),
    "test misspelt": ({"train": TWO, "val": TWO}, {"test": "vla"}, r"data\.test: 'vla' must name a folder"),
    "test is train": ({"train": TWO, "val": TWO}, {"test": "train"}, r"data\.test: 'train' must name"),
    "test outside": ({"train": TWO, "val": TWO}, {"test": ".."}, r"data\.test: '\.\.' must name"),
    "too few to split": ({"train": {"cat": 2, "dog": 1}}, {}, r"no .* images: .* need 3 different images"),
    "share too small": (
        {"train": {"cat": 9, "dog": 4}},
        {"test_fraction": 0.001},
        r"data\.test_fraction 0\.001 .* with data",
    ),
    "both val and Valid": ({"train": TWO, "val": TWO, "Valid": TWO}, {}, r"both .*al.*/ and .*al.*/"),
    "splits below classes": ({"cat/train": 3, "dog/train": 3}, {}, "put the classes below the splits"),
    "names differ in case": ({"train": {"cat": 3, "Cat": 3}}, {}, "differ only in case .*rename or merge"),
    "names differ in accents": ({"train": {"caf\u00e9": 3, "cafe\u0301": 3}}, {}, "how accents are encoded"),
    "val's class in another case": (
        {"train": TWO, "val": {"Cat": 3, "dog": 3}},
        {},
        "has the class 'Cat'.* differs only in",
    ),
    "line break": ({"train": {"cat\nfish": 3, "dog": 3}}, {}, r"called 'cat\\nfish': it has a line break; rename"),
    "line separator": ({"train": {"cat\u2028fish": 3, "dog": 3}}, {}, r"called 'cat\\u2028fish': it has a line break"),
    "vertical tab": ({"train": {"cat\x0bfish": 3, "dog": 3}}, {}, "it has a line break; rename"),
    "control character": ({"train": {"cat\x1b[31m": 3, "dog": 3}}, {}, "it has a control character; rename"),
    "not UTF-8": ({"train": {"cat\udcff": 3, "dog": 3}}, {}, r"called 'cat\\udcff': its bytes are not UTF-8"),
    "space": ({"train": {" ": 3, "dog": 3}}, {}, "begins or ends with a space"),
    "nothing left": ({"train": TWO}, {"val_fraction": 0.5, "test_fraction": 0.5}, "leave nothing to train on"),
}


@pytest.mark.parametrize("case", BAD_FOLDERS)
def test_bad_folders(tmp_path, case):
    there, options, message = BAD_FOLDERS[case]
    root = tmp_path / "data"
    for place, classes in there.items():
        if isinstance(classes, int):
            write_images(root / place, classes)
            continue
        (root / place).mkdir(parents=True, exist_ok=True)
        write_classes(root / place, **classes)
    options = {"folder": root} | options
    with pytest.raises(UserError, match=message) as error:
        opened(**options)
    assert "\n" not in str(error.value) and not re.search(r"\{|\}", str(error.value))


NAMES_OF_SPLITS = [
    ("Training", "Testing"),
    ("seg_train/seg_train", "seg_test/seg_test"),
    ("TRAIN", "Test"),
    ("train_set", "test_set"),
]


@pytest.mark.parametrize(("train", "test"), NAMES_OF_SPLITS)
def test_usual_names_of_splits_are_known(tmp_path, train, test):
    write_classes(tmp_path / train, **TWO)
    write_classes(tmp_path / test, **TWO)
    source = opened(folder=tmp_path)
    assert source.classes == ("cat", "dog") and len(source.splits["test"]) == 30
    assert all(path.startswith(test) for path in paths(source)["test"])
    assert len(source.splits["train"]) + len(source.splits["validation"]) == 30


def test_a_class_is_the_first_folder_below_the_split(tmp_path):
    for place in ("cat/day", "cat/night", "dog/day", "dog/night/late"):
        write_images(tmp_path / "train" / place, 6)
    source = opened(folder=tmp_path)
    assert source.classes == ("cat", "dog")
    assert sum(np.bincount(split.labels, minlength=2) for split in source.splits.values()).tolist() == [12, 12]


def test_links_that_lead_back_or_to_one_place_are_followed_once(tmp_path):
    write_classes(tmp_path / "data" / "train", **TWO)
    write_images(tmp_path / "outside", 5)
    for place, target in {
        "train/cat/up": "data",
        "train/cat/self": "data/train/cat",
        "train/dog/cats": "data/train/cat",
        "train/dog/more": "outside",
        "train/dog/more again": "outside",
        "train/dog/nowhere.png": "missing.png",
    }.items():
        (tmp_path / "data" / place).symlink_to(tmp_path / target)
    source = opened(folder=tmp_path / "data")
    counts = sum(np.bincount(split.labels, minlength=2) for split in source.splits.values())
    assert counts.tolist() == [10, 25]
    told = " ".join(source.unused)
    assert "4 links to a folder that is read already" in told and "link that leads nowhere" in told


def test_what_is_not_used_is_named_with_its_reason(tmp_path):
    write_classes(tmp_path / "train", **TWO)
    write_classes(tmp_path / "extra", **TWO)
    for name in ("train/cat/a.txt", "train/dog/b.txt", "train/cat/.hidden.png", "train/cat/x.heic", "notes.md"):
        (tmp_path / name).write_bytes(b"x")
    os.mkfifo(tmp_path / "train" / "cat" / "pipe.jpg")
    told = "; ".join(opened(folder=tmp_path).unused)
    for part in (
        "folder extra/ (no split has that name)",
        "2 .txt files (such as train/cat/a.txt)",
        "1 hidden file (train/cat/.hidden.png)",
        "1 special file",
        "pip install pillow-heif",
        "1 .md file beside the folders of the splits (notes.md)",
    ):
        assert part in told, (part, told)


@pytest.mark.parametrize("suffix", [".avif", ".jfif", ".webp", ".TIFF", ".tga", ".jp2"])
def test_what_pillow_reads_is_read(tmp_path, suffix):
    for name in ("cat", "dog"):
        write_images(tmp_path / name, 5, suffix=suffix)
    source = opened(folder=tmp_path)
    assert sum(map(len, source.splits.values())) == 10
    assert source.splits["train"].open(0, "RGB").size == (10, 8)


SMALL = {
    "a class of one": {"cat": 20, "dog": 20, "eel": 1},
    "a class of two": {"cat": 20, "dog": 20, "eel": 2},
    "100 classes of 4": {f"c{number}": 4 for number in range(100)},
    "classes of 3": {"cat": 3, "dog": 3},
}


@pytest.mark.parametrize("case", SMALL)
def test_every_class_keeps_training_images_and_gets_a_share_where_it_can(tmp_path, case):
    write_classes(tmp_path, **SMALL[case])
    source = opened(folder=tmp_path)
    held = {name: np.bincount(split.labels, minlength=len(source.classes)) for name, split in source.splits.items()}
    assert held["train"].min() >= 1
    for label, name in enumerate(source.classes):
        if SMALL[case][name] >= 3:
            assert held["validation"][label] >= 1 and held["test"][label] >= 1
        else:
            assert held["train"][label] == SMALL[case][name]


def test_images_that_begin_and_end_alike_are_no_copies(tmp_path):
    """Uncompressed pictures of things on a white ground: only a copy of all bytes goes where the other one is."""
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(20):
            pixels = np.full((96, 96), 255, np.uint8)
            pixels[48, :2] = number, len(name)
            pixels[48, 2] = name == "cat"
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.bmp")
            shutil.copy(tmp_path / name / f"{number}.bmp", tmp_path / name / f"copy of {number}.bmp")
    found = paths(opened(folder=tmp_path))
    assert all(0 < len(names) < 60 and len(names) % 2 == 0 for names in found.values())
    for names in found.values():
        assert {name.replace("copy of ", "") for name in names if "copy" in name} <= set(names)


def test_a_validation_folder_may_lack_a_class(tmp_path):
    write_classes(tmp_path / "train", cat=10, dog=10, eel=10)
    write_classes(tmp_path / "val", cat=10, dog=10)
    source = opened(folder=tmp_path)
    assert source.classes == ("cat", "dog", "eel") and source.splits["validation"].labels.max() == 1


# -- reading ----------------------------------------------------------------------------------------------------------


def test_every_kind_of_image_becomes_grey_or_rgb(tmp_path):
    rng = np.random.default_rng(0)
    rgb = Image.fromarray(rng.integers(0, 256, (6, 7, 3), dtype=np.uint8))
    grey = rgb.convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    files = {
        "a.png": (rgb, rgb, 0),
        "b.png": (grey, grey, 0),
        "c.png": (rgb.convert("RGBA"), rgb, 0),
        "d.png": (rgb.quantize(64), rgb.quantize(64), 0),
        "e.png": (deep, grey, 0),
        "f.png": (grey.convert("LA"), grey, 0),
        "g.tif": (rgb.convert("CMYK"), rgb, 0),
        "h.jpg": (grey, grey, 60),
    }
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        for name, (image, _, _) in files.items():
            image.save(tmp_path / folder / name)
    source = opened(folder=tmp_path)
    for split, found in zip(source.splits.values(), paths(source).values(), strict=True):
        for row, path in enumerate(found):
            _, expected, tolerance = files[Path(path).name]
            for mode in ("RGB", "L"):
                pixels = np.asarray(split.open(row, mode)).astype(int)
                assert np.abs(pixels - np.asarray(expected.convert(mode))).max() <= tolerance, (path, mode)


@pytest.mark.parametrize("counts", [[50, 50], [90, 9, 1], [1, 1, 1, 1], [1000, 10]])
def test_every_prefix_of_a_spread_order_keeps_the_proportions(counts):
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts))
    order = spread_order(labels, 0)
    assert sorted(order) == list(range(len(labels)))
    assert np.array_equal(order, spread_order(labels, 0))
    if len(labels) > 10:
        assert not np.array_equal(order, spread_order(labels, 1))
    for size in range(1, len(labels) + 1):
        held = np.bincount(labels[order[:size]], minlength=len(counts))
        assert np.abs(held - size * np.array(counts) / len(labels)).max() < len(counts) + 1
