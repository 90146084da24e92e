"""The two parts of a differentiable search's images: apart, of the size asked for, the same for any start and ranks."""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ofa.config.data import DataConfig
from ofa.data import architecture
from ofa.data.architecture import SearchImages
from ofa.data.loader import open_data
from ofa.data.readers.source import Split


@pytest.fixture(scope="module")
def digits():
    return open_data(DataConfig(), resolution=8, seed=0)


@pytest.fixture(params=[True, False], ids=["few images", "many images"])
def few(request, monkeypatch):
    """Whether the parts change from epoch to epoch."""
    monkeypatch.setattr(architecture, "FEW_IMAGES", 10_000 if request.param else 10)
    return request.param


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.8])
def test_parts_are_of_the_size_asked_for(digits, few, share):
    images = SearchImages(digits, share=share, batch_size=32)
    chosen = np.stack([images.teaches_architecture(epoch) for epoch in range(2 * images._turns)])
    assert np.abs(chosen.mean(axis=1) - share).max() < 0.06
    assert np.array_equal(chosen[: images._turns], chosen[images._turns :])
    if few:  # each image teaches both
        assert chosen.any(axis=0).all() and not chosen.all(axis=0).any()
    else:
        assert (chosen == chosen[0]).all()


def pixels(batches, number):
    return {image.numpy().tobytes() for batch in batches for image in batch[number]}


def test_no_image_teaches_both_in_one_epoch(digits, few):
    images = SearchImages(digits, share=0.5, batch_size=32)
    for epoch in range(2):
        batches = list(images.batches(epoch, 0))
        assert len(batches) == images.steps and {len(batch[1]) for batch in batches} == {32}
        weights, alphas = pixels(batches, 0), pixels(batches, 2)
        assert not weights & alphas
    assert bool(weights & pixels(images.batches(0, 0), 2)) == few


@pytest.mark.parametrize("share", [0.1, 0.7])
def test_the_architecture_never_sees_the_same_batch_twice_in_a_row(digits, share):
    batches = list(SearchImages(digits, share=share, batch_size=32).batches(0, 0))
    assert all(not torch.equal(one[2], two[2]) for one, two in pairwise(batches))


def test_without_a_share_all_images_teach_both_at_once(digits):
    images = SearchImages(digits, share=0.0, batch_size=32)
    for batch, expected in zip(images.batches(3, 2), digits.train_batches(3, 32, start=2), strict=True):
        assert all(map(torch.equal, batch, expected))


def test_any_start_and_number_of_processes_give_the_same_images(digits):
    images = SearchImages(digits, share=0.2, batch_size=33)
    whole = list(images.batches(1, 0))
    for start in (1, 8, 17):
        for batch, expected in zip(images.batches(1, start), whole[start:], strict=True):
            assert all(map(torch.equal, batch, expected))
    halves = [list(images.batches(1, 0, rank=rank, ranks=2)) for rank in range(2)]
    for batch, *parts in zip(whole, *halves, strict=True):
        together = [torch.cat([part[number] for part in parts]) for number in (1, 3)]
        assert [sorted(each.tolist()) for each in together] == [sorted(batch[number].tolist()) for number in (1, 3)]


def test_a_name_alone_says_where_an_image_goes():
    names = np.array([b"cat/%d.jpg" % number for number in range(200)])

    def part(names):
        data = SimpleNamespace(
            counts={"train": len(names)},
            training_split=Split(names, np.zeros(len(names), np.int64), root="any"),
            steps=lambda size, images: images // size,
        )
        return SearchImages(data, share=0.5, batch_size=4).teaches_architecture(0)

    assert np.array_equal(part(names)[50:], part(names[50:])) and np.array_equal(part(names)[::-1], part(names[::-1]))


@pytest.mark.parametrize("share", [0.0001, 0.9999])
def test_a_share_that_leaves_no_images_is_refused(digits, share):
    with pytest.raises(ValueError, match=r"^architecture_share: .*; each needs two: take"):
        SearchImages(digits, share=share, batch_size=32)
