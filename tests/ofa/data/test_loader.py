"""Batches: the same bytes for one seed, whatever the workers and the global state; resizing; memory; broken files."""

import multiprocessing
import os
import random
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from ofa.config.data import AugmentConfig, DataConfig
from ofa.data.loader import Data, open_data
from ofa.errors import UserError

RICH = AugmentConfig(scale=(0.3, 1), ratio=(0.7, 1.4), hflip=0.5, color_jitter=0.4)
EVERY_GENERATOR = AugmentConfig(scale=(0.3, 1), hflip=0.5, auto_augment="augmix-m5-w2")  # random, numpy and torch


def make_folder(
    root: Path, *, count: int = 12, size: tuple[int, int] = (31, 23), splits=("train", "val", "test")
) -> Path:
    for number, place in enumerate((split, name) for split in splits for name in ("cat", "dog", "eel")):
        folder = root.joinpath(*place)
        folder.mkdir(parents=True)
        for image in range(count):
            pixels = np.random.default_rng([number, image]).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{image}.jpg", quality=95)
    return root


def opened(resolution: int = 16, seed: int = 0, cache_bytes: int = 2**29, **config) -> Data:
    return open_data(DataConfig(**config), resolution=resolution, seed=seed, cache_bytes=cache_bytes)


def collected(batches) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = zip(*batches, strict=True)
    return torch.cat(images), torch.cat(labels)


def equal(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def states() -> list:
    return [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]  # noqa: NPY002


# -- training batches -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("augment", [AugmentConfig(), RICH, EVERY_GENERATOR], ids=["none", "rich", "every generator"])
def test_batches_depend_only_on_seed_and_epoch(tmp_path, augment):
    folder = make_folder(tmp_path)
    reference = collected(opened(folder=folder, workers=0, augment=augment).train_batches(3, 8))
    for workers in (0, 2):
        random.seed(99), np.random.seed(99), torch.manual_seed(99)  # noqa: NPY002
        before = states()
        data = opened(folder=folder, workers=workers, augment=augment)
        again = collected(data.train_batches(3, 8))
        assert states() == before, "global random state was disturbed"
        assert equal(again, reference)
    assert again[0].dtype == torch.uint8 and again[0].shape == (32, 3, 16, 16) and again[1].dtype == torch.int64
    for other in (data.train_batches(4, 8), opened(folder=folder, augment=augment, seed=1).train_batches(3, 8)):
        assert not equal(collected(other), reference)


def test_augmentation_changes_pixels_from_epoch_to_epoch_and_keeps_labels():
    plain, rich = opened(), opened(augment=RICH)
    images, labels = collected(rich.train_batches(0, 50))
    assert torch.equal(labels, collected(plain.train_batches(0, 50))[1])
    assert not torch.equal(images, collected(plain.train_batches(0, 50))[0])
    views = [
        {image.numpy().tobytes() for image in collected(data.train_batches(epoch, data.counts["train"]))[0]}
        for data in (plain, rich)
        for epoch in (0, 1)
    ]
    assert views[0] == views[1], "without augmentation every epoch has the same images"
    assert len(views[2] & views[3]) < 30


def test_arrays_kept_in_memory_give_the_same_batches_as_arrays_read_each_time():
    kept, read = opened(resolution=20), opened(resolution=20, cache_bytes=1)
    for epoch in (0, 1):
        assert equal(collected(kept.train_batches(epoch, 64)), collected(read.train_batches(epoch, 64)))


@pytest.mark.parametrize(("batch_size", "sizes"), [(8, [8] * 4), (12, [12] * 3), (36, [36]), (100, [36])])
def test_a_last_partial_batch_is_dropped_unless_it_is_the_only_one(tmp_path, batch_size, sizes):
    data = opened(folder=make_folder(tmp_path), workers=0)
    assert [len(labels) for _, labels in data.train_batches(0, batch_size)] == sizes
    assert data.steps(batch_size) == len(sizes)


@pytest.mark.parametrize("config", [{}, {"augment": RICH}, {"folder": True}], ids=["plain", "augmented", "folder"])
@pytest.mark.parametrize("ranks", [1, 3])
def test_parts_of_all_ranks_from_any_step_make_up_the_epoch(tmp_path, config, ranks):
    if "folder" in config:
        config = {"folder": make_folder(tmp_path), "workers": 0, "augment": RICH}
    data = opened(**config)
    expected = list(data.train_batches(2, 10))
    for start in (0, 1, len(expected) - 1, len(expected)):
        shares = [list(data.train_batches(2, 10, start=start, rank=rank, ranks=ranks)) for rank in range(ranks)]
        for rank, share in enumerate(shares):
            assert len(share) == len(expected) - start
            for batch, whole in zip(share, expected[start:], strict=True):
                assert equal(batch, [part[rank::ranks] for part in whole])


def test_an_epoch_shows_every_image_once():
    data = opened(resolution=8)
    _, labels = collected(data.train_batches(0, data.counts["train"]))
    _, expected = collected(data.split_batches("train", resolution=8))
    assert torch.equal(labels.bincount(), expected.bincount()) and not torch.equal(labels, expected)


# -- evaluation -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("resolution", "crop_pct"), [(16, None), (11, None), (16, 1.0), (48, 0.9)])
@pytest.mark.parametrize("size", [(31, 23), (23, 31), (20, 20)])
def test_resizing_is_pil_s_own(tmp_path, resolution, crop_pct, size):
    folder = make_folder(tmp_path, count=2, size=size)
    data = opened(folder=folder, workers=0, crop_pct=crop_pct)
    images, labels = collected(data.split_batches("validation", resolution=resolution))
    files = sorted((folder / "val").rglob("*.jpg"))
    assert [data.classes[label] for label in labels] == [file.parent.name for file in files]
    for image, file in zip(images, files, strict=True):
        with Image.open(file) as original:
            short = int(resolution / (crop_pct or 0.875))
            scale = short / min(size)
            resized = original.resize([int(side * scale) for side in size], Image.Resampling.BILINEAR)
        left, top = (round((side - resolution) / 2) for side in resized.size)
        expected = np.asarray(resized.crop((left, top, left + resolution, top + resolution)))
        assert np.array_equal(image.permute(1, 2, 0).numpy(), expected)


def test_evaluating_at_the_largest_resolution_shows_what_training_shows_without_augmentation():
    data = opened(resolution=20)
    train = collected(data.train_batches(0, data.counts["train"]))[0]
    calibration = collected(data.split_batches("train", resolution=20))[0]
    assert {image.numpy().tobytes() for image in train} == {image.numpy().tobytes() for image in calibration}


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_limits_take_the_first_of_one_shuffle_that_covers_the_classes(split):
    data = opened(resolution=8)
    some, more = (collected(data.split_batches(split, resolution=8, limit=limit)) for limit in (40, 120))
    assert len(some[1]) == 40 and equal(some, [part[:40] for part in more])
    assert (some[1].bincount(minlength=10) >= 2).all()
    assert equal(some, collected(opened(resolution=8, seed=5).split_batches(split, resolution=8, limit=40)))
    whole = collected(data.split_batches(split, resolution=8))
    assert len(whole[1]) == data.counts[split]
    assert equal(whole, collected(data.split_batches(split, resolution=8, limit=10**6)))


def test_the_batch_size_does_not_change_the_images():
    data = opened(resolution=8)
    one, other = (list(data.split_batches("test", resolution=8, batch_size=size)) for size in (7, 256))
    assert {len(labels) for _, labels in one[:-1]} == {7} and equal(collected(one), collected(other))


def test_an_unknown_split_is_a_key_error():
    with pytest.raises(KeyError, match="tset"):
        next(opened(resolution=8).split_batches("tset", resolution=8))


# -- memory -----------------------------------------------------------------------------------------------------------


def test_a_split_is_decoded_once_and_the_least_recently_used_goes_first(tmp_path):
    folder = make_folder(tmp_path)
    image_bytes = 36 * 3 * 16 * 16
    data = opened(folder=folder, workers=0, cache_bytes=2 * image_bytes)

    def read(split: str, resolution: int = 16) -> torch.Tensor:
        return collected(data.split_batches(split, resolution=resolution))[0]

    first, test = read("validation"), read("test")
    for file in folder.rglob("*.jpg"):
        file.unlink()
    assert torch.equal(read("test"), test) and torch.equal(read("validation"), first)
    with pytest.raises(UserError, match="No such file"):
        read("validation", 15)  # other pixels; makes room by forgetting "test", which was used longest ago
    assert torch.equal(read("validation"), first)
    with pytest.raises(UserError, match=r"test image .*No such file"):
        read("test")


@pytest.mark.parametrize("workers", [0, 2])
def test_images_beyond_the_cache_are_read_each_time(tmp_path, workers):
    folder = make_folder(tmp_path)
    small, large = (opened(folder=folder, workers=workers, cache_bytes=size) for size in (1000, 2**29))
    a, b = (list(data.split_batches("test", resolution=16, batch_size=10)) for data in (small, large))
    assert [len(labels) for _, labels in a] == [10, 10, 10, 6] and equal(collected(a), collected(b))
    (folder / "test" / "cat" / "0.jpg").unlink()
    with pytest.raises(UserError, match="No such file"):
        list(small.split_batches("test", resolution=16))


# -- pixels to numbers ------------------------------------------------------------------------------------------------


def test_normalising_gives_training_images_mean_0_and_spread_1_in_channels_last():
    data = opened(resolution=16)
    images, _ = collected(data.split_batches("train", resolution=16))
    numbers = data.normalize(images)
    assert numbers.dtype == torch.float32 and numbers.is_contiguous(memory_format=torch.channels_last)
    assert abs(numbers.mean()) < 0.01 and abs(numbers.std() - 1) < 0.01
    expected = (images[:9].double() / 255 - data.mean[0]) / data.std[0]
    torch.testing.assert_close(numbers[:9].double(), expected, rtol=1e-5, atol=1e-6)
    assert images.dtype == torch.uint8 and images.max() == 255, "the images themselves stay"


@pytest.mark.parametrize(("channels", "expected"), [(None, 3), (3, 3), (1, 1)])
def test_channels_and_statistics_of_folders(tmp_path, channels, expected):
    data = opened(folder=make_folder(tmp_path, count=3), channels=channels, workers=0)
    images, _ = next(data.train_batches(0, 4))
    assert data.channels == len(data.mean) == len(data.std) == images.shape[1] == expected
    if expected == 3:
        assert data.mean == (0.485, 0.456, 0.406) and data.std == (0.229, 0.224, 0.225)
    else:
        pixels = collected(data.split_batches("train", resolution=16))[0] / 255
        assert data.mean == (pytest.approx(pixels.mean().item(), abs=6e-5),)
        assert data.std == (pytest.approx(pixels.std(correction=0).item(), abs=6e-5),)


def test_statistics_of_three_channel_digits_are_the_grey_ones_three_times():
    grey, colour = opened(resolution=8), opened(resolution=8, channels=3)
    assert colour.mean == grey.mean * 3 and colour.std == grey.std * 3
    assert next(colour.train_batches(0, 5))[0].shape == (5, 3, 8, 8)


def test_flat_images_are_not_divided_by_nothing(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(5):
            size = 8 + number, 8 if name == "a" else 9  # copies would go into one split
            Image.new("L", size, 51).save(tmp_path / name / f"{number}.png")
    data = opened(folder=tmp_path, channels=1, workers=0)
    assert (data.mean, data.std) == ((0.2,), (1.0,))


# -- broken files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
def test_broken_training_images_are_left_out_and_named_once(tmp_path, capsys, workers):
    folder = make_folder(tmp_path)
    bad = [folder / "train" / "cat" / "3.jpg", folder / "train" / "dog" / "7.jpg"]
    whole = collected(opened(folder=folder, workers=workers).train_batches(0, 36))
    truncate(bad[0])
    bad[1].write_text("not an image")
    data = opened(folder=folder, workers=workers)
    sizes = [[len(labels) for _, labels in data.train_batches(epoch, 9)] for epoch in range(3)]
    assert all(sum(epoch) == 34 and len(epoch) == 4 for epoch in sizes)
    assert set(data.broken) == {str(path) for path in bad} and data.counts["train"] == 36
    assert "truncated" in data.broken[str(bad[0])] and data.broken[str(bad[1])] == "not an image"
    said = capsys.readouterr().err
    assert all(said.count(str(path)) == 1 for path in bad)
    # the others are as they would have been
    kept = {image.numpy().tobytes() for image in collected(data.train_batches(0, 36))[0]}
    assert kept < {image.numpy().tobytes() for image in whole[0]} and len(kept) == 34
    assert len(collected(data.split_batches("train", resolution=8))[1]) == 34


def test_an_epoch_of_broken_images_only_is_an_error(tmp_path):
    folder = make_folder(tmp_path, count=4)
    for file in (folder / "train").rglob("*.jpg"):
        truncate(file)
    data = opened(folder=folder, workers=0)
    with pytest.raises(UserError, match=r"none of the 12 training images can be read; the first, .*truncated"):
        list(data.train_batches(0, 4))
    assert list(data.split_batches("train", resolution=8)) == []
    with pytest.raises(UserError, match="training images can be read"):
        opened(folder=folder, workers=0, channels=1)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_of_broken_images_only_are_empty_and_keep_their_place(tmp_path, workers):
    folder = make_folder(tmp_path, count=4)
    whole = list(opened(folder=folder, workers=0).train_batches(0, 1))
    for name in ("cat", "dog"):
        for file in (folder / "train" / name).iterdir():
            truncate(file)
    batches = list(opened(folder=folder, workers=workers).train_batches(0, 1))
    assert [labels.tolist() for _, labels in batches] == [[2] if int(labels) == 2 else [] for _, labels in whole]
    for (images, labels), (expected, _) in zip(batches, whole, strict=True):
        assert len(images) == len(labels)
        assert len(labels) == 0 or torch.equal(images, expected)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("split", "place"), [("validation", "val"), ("test", "test")])
def test_a_broken_validation_or_test_image_is_an_error_that_names_it(tmp_path, workers, split, place):
    folder = make_folder(tmp_path, count=3)
    truncate(folder / place / "eel" / "1.jpg")
    data = opened(folder=folder, workers=workers)
    with pytest.raises(UserError, match=rf"{split} image .*{place}/eel/1\.jpg cannot be read .*fix or delete it"):
        list(data.split_batches(split, resolution=8))


# -- the rest ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("auto_augment", ["rand-m9-mstd0.5", "augmix-m3", "3a", "original"])
@pytest.mark.parametrize("channels", [1, 3])
def test_timm_s_automatic_augmentation_works_on_grey_and_colour(auto_augment, channels):
    data = opened(channels=channels, augment=AugmentConfig(auto_augment=auto_augment))
    images, _ = next(data.train_batches(0, 50))
    assert images.shape == (50, channels, 16, 16)
    assert not torch.equal(images, next(opened(channels=channels).train_batches(0, 50))[0])


def test_an_unknown_automatic_augmentation_is_a_user_error():
    with pytest.raises(ValidationError, match="should match pattern"):
        AugmentConfig(auto_augment="rand-q3")
    unchecked = AugmentConfig.model_construct(auto_augment="rand-q3")
    with pytest.raises(UserError, match=r"data\.augment\.auto_augment: timm does not know 'rand-q3'"):
        opened(augment=unchecked)


def test_an_interrupt_from_the_terminal_does_not_reach_the_workers(tmp_path, capfd):
    """A terminal sends Ctrl-C to every process; what is left for the workers to do is nothing, and to say nothing."""
    folder = make_folder(tmp_path)
    expected = collected(opened(folder=folder, workers=0).train_batches(0, 2))
    batches = opened(folder=folder, workers=2).train_batches(0, 2)
    first = next(batches)
    workers = multiprocessing.active_children()
    assert len(workers) == 2
    for worker in workers:
        os.kill(worker.pid, signal.SIGINT)
    assert equal(collected([first, *batches]), expected)
    assert capfd.readouterr().err == ""


def test_leaving_early_ends_the_workers(tmp_path):
    batches = opened(folder=make_folder(tmp_path), workers=2).train_batches(0, 2)
    next(batches)
    workers = multiprocessing.active_children()
    batches.close()
    assert len(workers) == 2 and not any(worker.is_alive() for worker in workers)
