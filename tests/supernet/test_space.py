"""Search spaces: codes, subnets and sizes agree, and a wrong space is refused with the reason."""

import numpy as np
import pytest
from shared_spaces import by_hand_space

from ofa.supernet import families
from ofa.supernet.space import SearchSpace, Subnet

SMALL = [
    {"resolutions": [16, 20], "stages": [{"width": 8, "depths": [1, 2], "kernels": [3, 5], "expands": [2, 3]}]},
    {
        "resolutions": [24],
        "stages": [
            {"width": 8, "depths": [1, 3], "kernels": [3], "expands": [2, 4]},
            {"width": 16, "depths": [2], "kernels": [3, 5, 7], "expands": [3], "stride": 2},
        ],
    },
    {"resolutions": [16], "stages": [{"width": 8, "depths": [2], "kernels": [5], "expands": [1.5]}]},
]
STAGE = {"width": 8, "depths": [1, 2], "kernels": [3, 5], "expands": [2, 3]}
BASE = {"resolutions": [16, 20], "stages": [STAGE]}

NAMES = list(families.presets())
presets = pytest.mark.parametrize("space", [SearchSpace.preset(name) for name in NAMES], ids=NAMES)
spaces = pytest.mark.parametrize(
    "space",
    [SearchSpace.from_dict(values) for values in [*families.presets().values(), *SMALL]],
    ids=lambda space: f"{space.size}",
)


@spaces
def test_canonical_form_depends_on_what_runs_and_on_nothing_else(space):
    rng = np.random.default_rng(1)
    codes = space.sample(200, rng)
    assert codes.shape == (200, space.num_genes) and codes.dtype == np.int8
    assert np.array_equal(space.canonical(codes), codes)

    random = rng.integers(0, space.num_options, size=codes.shape).astype(np.int8)
    noisy = np.where(space.active_genes(codes), codes, random)
    before = noisy.copy()
    assert np.array_equal(space.canonical(noisy), codes)
    assert np.array_equal(noisy, before), "canonical changed its argument"
    assert [space.decode(code) for code in noisy] == [space.decode(code) for code in codes]

    changed, first = codes.copy(), next(number for number, gene in enumerate(space.genes) if gene.block is not None)
    changed[:, first] = (changed[:, first] + 1) % space.num_options[first]
    if space.num_options[first] > 1:  # the first block always runs
        assert (space.canonical(changed) != codes).any(axis=1).all()


@spaces
def test_one_hot_shows_the_live_genes_and_no_others(space):
    codes = space.sample(50, np.random.default_rng(2))
    hot = space.one_hot(codes)
    assert hot.dtype == np.float32 and hot.shape == (50, space.num_options.sum())
    live = space.active_genes(codes)
    for gene, columns in enumerate(np.split(hot, np.cumsum(space.num_options)[:-1], axis=1)):
        assert np.array_equal(columns.sum(axis=1), live[:, gene])
        assert np.array_equal(columns.argmax(axis=1)[live[:, gene]], codes[live[:, gene], gene])


@presets
def test_genes_are_active_with_their_blocks(space):
    codes = space.sample(50, np.random.default_rng(3))
    number = {(block.stage, block.index): number for number, block in enumerate(space.blocks)}
    active, live = space.active(codes), space.active_genes(codes)
    for column, gene in enumerate(space.genes):
        expected = True if gene.block is None else active[:, number[gene.stage, gene.block]]
        assert (live[:, column] == expected).all()


@presets
def test_active_blocks_are_the_first_of_their_stage(space):
    codes = space.sample(50, np.random.default_rng(3))
    for code, active in zip(codes, space.active(codes), strict=True):
        depths = space.decode(code).depths
        assert active.tolist() == [slot.index < depths[slot.stage] for slot in space.blocks]


@presets
def test_sampling_is_uniform_keyed_and_bounded_below(space):
    codes = space.sample(3000, np.random.default_rng(4))
    assert np.array_equal(codes, space.sample(3000, np.random.default_rng(4)))
    assert not np.array_equal(codes, space.sample(3000, np.random.default_rng(5)))
    active = space.active_genes(codes)
    columns = {gene: codes[active[:, gene], gene] for gene in range(space.num_genes)}
    for gene, drawn in columns.items():
        share, count = np.bincount(drawn, minlength=space.num_options[gene]) / len(drawn), space.num_options[gene]
        assert np.abs(share - 1 / count).max() < 5 * np.sqrt(1 / count / len(drawn)), f"gene {gene}: {share}"

    lowest = np.random.default_rng(6).integers(0, space.num_options)
    codes = space.sample(3000, np.random.default_rng(7), min_options=lowest)
    active = space.active_genes(codes)
    for gene in range(space.num_genes):
        on = active[:, gene]
        assert set(codes[on, gene]) == set(range(lowest[gene], space.num_options[gene])) or not on.any()


@by_hand_space
def test_smallest_and_largest(space):
    small, large = space.smallest, space.largest
    assert (small.resolution, large.resolution) == (space.resolutions[0], space.resolutions[-1])
    assert large.depths == tuple(stage.depths[-1] for stage in space.stages)
    assert small.depths == tuple(stage.depths[0] for stage in space.stages)
    for role, chosen in (("kernel", large.kernels), ("expand", large.expands), ("width", large.widths)):
        assert chosen == tuple(gene.options[-1] for gene in space.genes if gene.role == role)


@spaces
def test_subnet_survives_json(space):
    for code in space.sample(20, np.random.default_rng(8)):
        subnet = space.decode(code)
        again = Subnet.from_json(subnet.to_json())
        assert again == subnet and hash(again) == hash(subnet) and again.id == subnet.id


def test_id_is_the_same_on_every_machine():
    assert Subnet(24, (1, 2), (3, 5, 3, 7), (2, 3, 2, 4)).id == "f808e26b0d"


@pytest.mark.parametrize(
    "subnet, words",
    [
        (Subnet(18, (1,), (3, 3), (2, 2)), "resolution is 18; this space allows [16, 20]"),
        (Subnet(16, (3,), (3, 3), (2, 2)), "depths[0] is 3; this space allows [1, 2]"),
        (Subnet(16, (2,), (3, 7), (2, 2)), "kernels[1] is 7; this space allows [3, 5]"),
        (Subnet(16, (2,), (3, 3), (2.5, 2)), "expands[0] is 2.5; this space allows [2, 3]"),
        (Subnet(16, (2, 1), (3, 3), (2, 2)), "depths has 2 values; this space has 1"),
        (Subnet(16, (2,), (3,), (2, 2)), "kernels has 1 values; this space has 2"),
        (Subnet(16, (2,), (3, 3), ()), "expands has 0 values; this space has 2"),
        (Subnet(16, (2,), (3, 3), (2, 2), widths=(8,)), "widths has 1 values; this space has 0"),
    ],
)
def test_subnet_of_another_space_is_refused(subnet, words):
    with pytest.raises(ValueError) as caught:
        SearchSpace.from_dict(BASE).encode(subnet)
    assert str(caught.value) == words


@pytest.mark.parametrize("changes, wrong", [({"depths": None}, "depths"), ({"heights": [1]}, "heights")])
def test_subnet_with_wrong_keys_is_refused(changes, wrong):
    values = {**SearchSpace.from_dict(BASE).smallest.to_dict(), **changes}
    values = {key: value for key, value in values.items() if value is not None}
    with pytest.raises(ValueError, match=rf"missing or unknown: \['{wrong}'\]"):
        Subnet.from_dict(values)


def test_unknown_preset_names_the_known_ones():
    with pytest.raises(KeyError, match=r"'ofa_mbv4'; there are .*ofa_mbv3, ofa_mbv3_w1\.2, tiny_mbv3"):
        SearchSpace.preset("ofa_mbv4")
