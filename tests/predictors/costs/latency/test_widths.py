"""Latency tables of spaces with elastic widths: what is timed, and that times between follow, on made-up clocks."""

from itertools import product

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ofa.predictors.costs.cost_table import CostTable
from ofa.predictors.costs.latency.parts import Models, add_parts, covering_codes
from ofa.predictors.costs.latency.widths import MAX_CHOICES, MAX_WIDTHS, along_macs, timed_options
from ofa.predictors.costs.part_genes import distinct
from ofa.supernet import families
from ofa.supernet.space import SearchSpace

HEAD = {"num_classes": 5, "in_chans": 3}
MANY = {
    "family": "wide",
    "resolutions": [8, 16, 24, 32],
    "stem": [8, 12, 16],
    "stages": [[8, 16, 20, 24, 32], [16, 24, 32, 40, 48, 64, 72, 80]],
    "head": [32, 40, 48, 64],
    "depths": [1, 3],
}


@pytest.fixture
def many(wide_family):
    return SearchSpace.from_dict(MANY)


def work(module, shape):
    """Stands for a runtime's model: multiply-accumulates and convolutions of a module, or of an empty one."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.zeros(1, *shape))
    return counter.get_total_flops() // 2, sum(isinstance(one, nn.Conv2d) for one in module.modules())


def timer_of(milliseconds):
    """A clock that tells ``milliseconds(macs, convolutions)`` of each model, and 0.05 of each call."""

    def timer(models, *, rounds, cold=(), **_):
        return np.array([[0.05 + milliseconds(*model) for model, _ in models]] * rounds)

    return timer


def all_choices(space, options):
    """For stem, head and each block the columns that it depends on, and every choice of their ``options``."""
    columns = space.part_columns
    for of_part in (columns.stem, columns.head, *columns.blocks):
        genes = distinct(of_part)
        yield genes, set(product(*(options[gene] for gene in genes)))


@pytest.mark.parametrize("name", ["wide_small", "many"])
def test_few_networks_have_every_timed_choice_of_every_part(name, wide_family):
    space = SearchSpace.preset(name) if name == "wide_small" else SearchSpace.from_dict(MANY)
    codes, most = covering_codes(space), 0
    assert all(space.decode(code).depths == space.largest.depths for code in codes)
    for genes, choices in all_choices(space, timed_options(space)):
        assert {tuple(code[list(genes)].tolist()) for code in codes} == choices
        most = max(most, len(choices))
    assert most <= len(codes) <= 1.2 * most


def test_few_widths_are_timed(many):
    timed = timed_options(many)
    assert [timed[gene] for gene in many.genes_of("width")] == [(0, 1, 2), (0, 2, 4), (0, 4, 7), (0, 2, 3)]
    own = [gene for gene in range(many.num_genes) if gene not in many.genes_of("width")]
    assert all(timed[gene] == tuple(range(many.num_options[gene])) for gene in own)


def test_measuring_a_large_space_is_bounded(wide_family):
    """As of a ResNet-18: three widths in each of five axes, three middles, two blocks in each of four stages."""
    stages = [[width * share // 4 for share in (2, 3, 4)] for width in (64, 128, 256, 512)]
    values = {"stem": [32, 48, 64], "stages": stages, "head": [256, 384, 512], "expands": [0.5, 0.75, 1]}
    space = SearchSpace.from_dict({"family": "wide", "resolutions": [64, 96, 128, 160, 192], **values})
    parts = sum(len(choices) for _, choices in all_choices(space, timed_options(space)))
    assert parts == 3 + 9 + 4 * (27 + 9), "stem, head, the first block of a stage and the other"
    assert len(covering_codes(space)) <= 30
    wider = {**values, "stages": [list(range(width // 2, width + 1, width // 32)) for width in (64, 128, 256, 512)]}
    space = SearchSpace.from_dict({**space.to_dict(), **wider})
    assert max(space.num_options) == 17 and max(map(len, timed_options(space))) == 5
    assert {len(timed_options(space)[gene]) for gene in space.genes_of("width")} == {MAX_WIDTHS}
    assert sum(len(choices) for _, choices in all_choices(space, timed_options(space))) == parts

    # With more choices of their own, blocks are timed at two widths.
    space = SearchSpace.from_dict({**space.to_dict(), "expands": [0.5, 0.6, 0.7, 0.8, 0.9, 1]})
    assert max(len(timed_options(space)[gene]) for gene in space.genes_of("width")) == 2
    parts = sum(len(choices) for _, choices in all_choices(space, timed_options(space)))
    assert parts == 2 + 4 + 4 * (2 * 2 * 6 + 2 * 6) <= MAX_CHOICES


@pytest.mark.parametrize("seed", range(3))
def test_times_between_follow_the_macs(seed):
    """Of one resolution, a gene that is timed whole, and two that are not: times linear in MACs are found exactly."""
    rng = np.random.default_rng(seed)
    timed = ((0,), (0, 1), (0, 3, 6), (0, 1, 2, 3, 4))
    macs = np.cumsum(rng.uniform(1, 5, (1, 2, 7, 5)), axis=2)
    times = 0.3 + 2 * macs
    timed_too = ((0,), (0, 1), (0, 3, 6), (0, 2, 4))
    for options in (timed, timed_too):
        few = times.take(options[2], axis=2).take(options[3], axis=3)
        assert along_macs(few, macs, (1, 2, 3), options) == pytest.approx(times)
    other = rng.random((1, 2, 3, 3))
    found = along_macs(other, macs, (1, 2, 3), timed_too)
    assert np.array_equal(found[:, :, ::3, ::2], other), "exact where timed"


def test_where_macs_are_equal_the_place_counts():
    found = along_macs(np.array([[1.0, 3.0, 4.0]]), np.full((1, 5), 7.0), (0,), ((0, 2, 4),))
    assert found.tolist() == [[1.0, 2.0, 3.0, 3.5, 4.0]]


def test_a_clock_that_counts_macs_is_predicted_exactly(many):
    table = CostTable.latency(
        many, **HEAD, part=work, timer=timer_of(lambda macs, convs: macs / 1e5 + 0.01 * convs), rounds=2, progress=False
    )
    assert table.info["quality"]["mape"] < 1e-9
    codes = many.sample(300, np.random.default_rng(5))
    macs = CostTable.macs(many, **HEAD).predict(codes)
    convs = 2 + 2 * many.active(codes).sum(axis=1) + 2  # stem and head, blocks, shortcuts
    assert table.predict(codes) == pytest.approx(0.05 + macs / 1e5 + 0.01 * convs)


def test_a_clock_with_steps_is_predicted_well(many):
    """Time grows with the square root of work as well, so widths between the timed ones are off, but little."""
    clock = timer_of(lambda macs, convs: macs / 1e5 + np.sqrt(macs) / 2e3 + 0.01 * convs)
    table = CostTable.latency(many, **HEAD, part=work, timer=clock, rounds=2, progress=False)
    quality = table.info["quality"]
    assert quality["mape"] < 0.02 and quality["kendall_tau"] > 0.99


class Tokens(nn.Module):
    """A module of maps, which reads and writes sequences: a class token, then the positions of a map."""

    def __init__(self, module, *, reads=True, writes=True):
        super().__init__()
        self.module, self.reads, self.writes = module, reads, writes

    def forward(self, x):
        if self.reads:
            side = round((x.shape[1] - 1) ** 0.5)
            x = x[:, 1:].transpose(1, 2).unflatten(2, (side, side))
        x = self.module(x)
        return nn.functional.pad(x.flatten(2).transpose(1, 2), (0, 0, 1, 0)) if self.writes else x


def test_blocks_that_read_sequences_are_timed_on_them(wide_family, monkeypatch):
    """A family whose blocks hand on sequences with a class token, as transformers do."""
    space, family = SearchSpace.preset("wide_small"), families.model("wide")
    cut = family.parts

    def parts(model):
        stem, stages, head = cut(model)
        stages = [nn.Sequential(*map(Tokens, stage)) for stage in stages]
        return Tokens(stem, reads=False), stages, Tokens(head, writes=False)

    maps, sequences = Models(work), Models(work)
    layout = add_parts(maps, space, HEAD, progress=False)
    monkeypatch.setattr(family, "parts", parts)
    assert add_parts(sequences, space, HEAD, progress=False) == layout
    for (_, shape), (_, sequence) in zip(maps.timed, sequences.timed, strict=True):
        channels, side, _ = shape
        assert sequence == (shape if channels == HEAD["in_chans"] else (1 + side * side, channels))
