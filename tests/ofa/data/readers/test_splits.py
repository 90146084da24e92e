"""Splits depend on names alone: adding or removing images moves no other, and copies stay together."""

import numpy as np
import pytest

from ofa.data.readers.splits import MIN_CLASS, TEST, TRAIN, VALIDATION, hashes, split_by_hash

SHARES = {"validation": 0.2, "test": 0.2}


def names(count: int, seed: int) -> list[bytes]:
    rng = np.random.default_rng(seed)
    return [b"c%d/%d.jpg" % (rng.integers(4), number) for number in range(count)]


def split(images: list[bytes], copies: dict[bytes, bytes] | None = None, **shares: float) -> dict[bytes, int]:
    copies = copies or {}
    labels = np.array([int(name[1:2]) for name in images])
    first: dict[bytes, int] = {}
    groups = np.array([first.setdefault(copies.get(name, name), row) for row, name in enumerate(images)])
    side = split_by_hash(hashes(images), labels, groups, **(shares or SHARES))
    return dict(zip(images, side.tolist(), strict=True))


@pytest.mark.parametrize("seed", range(20))
def test_adding_and_removing_images_moves_no_other(seed):
    rng, images = np.random.default_rng([seed, 1]), names(200, seed)
    before = split(images)
    kept = [name for name in images if rng.random() < 0.7]
    added = [b"c%d/new%d.jpg" % (rng.integers(4), number) for number in range(50)]
    after = split([*added, *kept])
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}


@pytest.mark.parametrize("seed", range(20))
def test_exact_copies_are_on_one_side(seed):
    rng, images = np.random.default_rng([seed, 2]), names(100, seed)
    copies = {name: images[rng.integers(100)] for name in images if rng.random() < 0.5}
    copies = {name: other for name, other in copies.items() if other not in copies}
    found = split(images, copies)
    assert all(found[name] == found[other] for name, other in copies.items())


def test_the_shares_are_kept_and_the_order_does_not_matter():
    images = names(20_000, 0)
    found = split(images)
    counts = np.bincount(list(found.values())) / len(images)
    assert np.abs(counts - [0.6, 0.2, 0.2]).max() < 0.01
    assert split(images[::-1]) == found


@pytest.mark.parametrize("size", range(1, 12))
def test_small_classes(size):
    for number in range(40):
        images = [b"c0/%d-%d.jpg" % (number, image) for image in range(size)]
        sides = list(split(images).values())
        assert sides.count(TRAIN) >= 1
        if size < MIN_CLASS:
            assert sides.count(TRAIN) == size
        else:
            assert sides.count(VALIDATION) >= 1 and sides.count(TEST) >= 1


def test_hashes_are_stable():
    assert hashes([b"cat/1.jpg"])[0] == pytest.approx(EXPECTED, abs=1e-12)


EXPECTED = 0.005963673488208795
