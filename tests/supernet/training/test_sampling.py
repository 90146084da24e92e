"""Sampling: only open options, one resolution, repeatable; sandwiches have their ends; attentive sampling chooses."""

import numpy as np
import pytest

from ofa.supernet import families
from ofa.supernet.genome import DTYPE
from ofa.supernet.space import SearchSpace
from ofa.supernet.training.phases import (
    Phase,
    all_open,
    min_options,
    progressive_shrinking,
    sample_subnets,
)
from ofa.supernet.training.sampling import SAMPLERS, CandidateScorer, sample_resolution

SPACES = {name: SearchSpace.preset(name) for name in families.presets()}
SPACES["mixed"] = SearchSpace.from_dict(
    {
        "resolutions": [16, 24],
        "stages": [
            {"width": 8, "depths": [1, 2, 3], "kernels": [3], "expands": [2, 4]},
            {"width": 16, "depths": [2], "kernels": [3, 5, 7], "expands": [2, 3, 4, 6]},
        ],
    }
)
TINY = SPACES["tiny_mbv3"]
ATTENTIVE = ("best_up", "worst_up")


def refuse(codes):
    raise AssertionError("only attentive sampling may ask")


def size(codes):
    """Stands for MACs at one resolution: depths count most, then widths and kernels."""
    space = next(space for space in SPACES.values() if space.num_genes == codes.shape[1])
    weights = np.ones(space.num_genes, int)
    weights[space.genes_of("depth")] = 10
    return codes[:, 1:] @ weights[1:]


def hashed(codes):
    """Stands for a loss: a number per code that has nothing to do with its size."""
    return np.sin(codes.astype(float) @ np.arange(1, codes.shape[1] + 1) * 12.9898) % 1


SCORER = CandidateScorer(macs=size, loss=hashed)


def phase_of(space, sampling, subnets=4, **opened):
    return Phase("p", 1, 1, subnets, **(opened or all_open(space)), sampling=sampling)


def draw(space, phase, seed, resolution=0, scorer=SCORER):
    rng = np.random.default_rng([0, seed])
    return sample_subnets(space, phase, rng=rng, resolution=resolution, scorer=scorer)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_codes_are_canonical_of_one_resolution_and_open(space, name):
    for schedule in progressive_shrinking(space, epochs=1, lr=1):
        opened = {"kernel": schedule.kernel, "depth": schedule.depth, "expand": schedule.expand}
        lowest = min_options(space, schedule)
        for subnets in (SAMPLERS[name].min_subnets, 5):
            for resolution in (0, len(space.resolutions) - 1):
                codes = draw(space, phase_of(space, name, subnets, **opened), subnets, resolution)
                assert codes.shape == (subnets, space.num_genes) and codes.dtype == DTYPE
                assert np.array_equal(codes, space.canonical(codes))
                assert (codes[:, 0] == resolution).all() and (codes < space.num_options).all()
                assert (codes >= np.where(space.active_genes(codes), lowest, 0))[:, 1:].all()


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_in_time_every_open_option_is_drawn(space, name):
    for schedule in progressive_shrinking(space, epochs=1, lr=1)[-2:]:
        opened = {"kernel": schedule.kernel, "depth": schedule.depth, "expand": schedule.expand}
        codes = np.concatenate([draw(space, phase_of(space, name, 4, **opened), seed) for seed in range(80)])
        lowest = min_options(space, schedule)
        always = space.active_genes(np.zeros((1, space.num_genes), DTYPE))[0]
        for gene in np.flatnonzero(always)[1:]:
            assert set(codes[:, gene]) == set(range(lowest[gene], space.num_options[gene])), gene


@pytest.mark.parametrize("name", SAMPLERS)
def test_sampling_is_a_function_of_its_generator(name):
    phase = phase_of(TINY, name)
    np.random.seed(1)  # noqa: NPY002  global state must not matter
    first = [draw(TINY, phase, seed) for seed in range(20)]
    np.random.seed(2)  # noqa: NPY002
    for seed, codes in reversed([*enumerate(first)]):
        assert np.array_equal(draw(TINY, phase, seed), codes)
    assert len({codes.tobytes() for codes in first}) == len(first)


def test_uniform_opens_each_option_equally_often():
    phase = phase_of(TINY, "uniform", 2000)
    codes = draw(TINY, phase, 0, scorer=CandidateScorer(refuse, refuse))
    for gene in TINY.genes_of("depth"):
        assert abs((codes[:, gene] == 1).mean() - 0.5) < 0.05


def test_the_full_phase_runs_the_full_network():
    for space in SPACES.values():
        (code,) = draw(space, Phase("full", epochs=1, lr=1), 0, resolution=len(space.resolutions) - 1)
        assert space.decode(code) == space.largest


@pytest.mark.parametrize("name", [name for name, one in SAMPLERS.items() if one.largest_first])
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_ends_of_the_sandwich(space, name):
    codes = draw(space, phase_of(space, name), 3, resolution=len(space.resolutions) - 1)
    assert space.decode(codes[0]) == space.largest
    smallest = space.encode(space.smallest)
    assert np.array_equal(codes[1, 1:], smallest[1:])

    partly = phase_of(space, name, kernel=1, depth=2, expand=1)
    between = draw(space, partly, 3)[1]
    lowest = space.canonical(min_options(space, partly).astype(DTYPE)[None])[0]
    assert np.array_equal(between, lowest) and between[1:].any()


def test_a_sandwich_asks_nothing_and_is_filled_uniformly():
    silent = CandidateScorer(refuse, refuse)
    drawn = [draw(TINY, phase_of(TINY, "sandwich"), seed, scorer=silent) for seed in range(20)]
    assert all(len({row.tobytes() for row in codes}) == 4 for codes in drawn)
    assert draw(TINY, phase_of(TINY, "sandwich", 2), 0, scorer=silent).shape == (2, TINY.num_genes)


@pytest.mark.parametrize("name, best", [("best_up", True), ("worst_up", False)])
def test_attentive_keeps_the_best_or_worst_of_three_of_one_size(name, best):
    asked = []

    def loss(codes):
        asked.append(codes)
        return hashed(codes)

    for seed in range(30):
        codes = draw(TINY, phase_of(TINY, name, 5), seed, scorer=CandidateScorer(size, loss))
        candidates = asked.pop().reshape(3, 3, TINY.num_genes)  # asked once, three for each of three rows
        assert not asked
        for row, of_row in zip(codes[2:], candidates, strict=True):
            assert len({one.tobytes() for one in of_row}) == 3, "three different networks"
            losses = hashed(of_row)
            assert np.array_equal(row, of_row[losses.argmin() if best else losses.argmax()])
            assert np.ptp(size(of_row)) <= 6, "of nearly one size; all sizes span more than 50"


def test_attentive_sampling_covers_small_and_large_alike():
    """A third of the draws in each third of the sizes, where uniform codes leave the outer ones nearly empty."""
    space = SPACES["ofa_mbv3"]
    # What a pool of 256 spans, on average.
    low, high = np.quantile(size(space.sample(20000, np.random.default_rng(1))), [1 / 256, 255 / 256])

    def thirds(name):
        codes = np.concatenate([draw(space, phase_of(space, name, 12), seed)[2:] for seed in range(60)])
        edges = [-np.inf, low + (high - low) / 3, high - (high - low) / 3, np.inf]
        return np.histogram(size(codes), edges)[0] / len(codes)

    assert thirds("sandwich")[1] > 0.5
    for name in ATTENTIVE:
        assert all(0.26 < share < 0.42 for share in thirds(name)), thirds(name)


@pytest.mark.parametrize("name", ATTENTIVE)
@pytest.mark.parametrize("expands", [[2], [2, 4]])
def test_a_space_with_fewer_than_three_networks(name, expands):
    stage = {"width": 8, "depths": [1], "kernels": [3], "expands": expands}
    space = SearchSpace.from_dict({"resolutions": [16], "stages": [stage]})
    codes = draw(
        space,
        phase_of(space, name),
        0,
        scorer=CandidateScorer(lambda codes: codes.sum(axis=1), lambda codes: codes[:, -1]),
    )
    chosen = 0 if name == "best_up" else len(expands) - 1
    assert codes[:, -1].tolist() == [len(expands) - 1, 0, chosen, chosen]


def test_resolution_is_drawn_evenly_from_its_generator():
    drawn = [sample_resolution(TINY, np.random.default_rng([0, step])) for step in range(500)]
    assert drawn == [sample_resolution(TINY, np.random.default_rng([0, step])) for step in range(500)]
    assert all(isinstance(index, int) for index in drawn)
    counts = np.bincount(drawn)
    assert len(counts) == len(TINY.resolutions) and counts.min() > 60
