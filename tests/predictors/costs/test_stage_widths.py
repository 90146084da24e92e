"""Costs of a space with elastic widths of stem, stages and head: every table, beside networks built and counted."""

import csv
import zlib

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ofa.predictors.costs import memory
from ofa.predictors.costs.cost_table import CostTable
from ofa.predictors.costs.counts import at_each_side, fold_table
from ofa.predictors.costs.imported import table_from_csv
from ofa.predictors.costs.microcontroller import instructions, program
from ofa.predictors.costs.part_genes import end_genes, ends_alike, part_genes
from ofa.supernet import families
from ofa.supernet.families.operators import parts_of_subnet
from ofa.supernet.operators import peak_activation
from ofa.supernet.space import SearchSpace

HEAD = {"num_classes": 5, "in_chans": 3}


@pytest.fixture
def space(wide_family):
    return SearchSpace.preset("wide_small")


def some_codes(space, n=12):
    ends = [space.encode(space.smallest), space.encode(space.largest)]
    return np.concatenate([ends, space.sample(n, np.random.default_rng(0))])


def test_counts_are_those_of_networks(space):
    codes, family = some_codes(space), families.model("wide")
    macs, params = (make(space, **HEAD).predict(codes) for make in (CostTable.macs, CostTable.params))
    for code, expected_macs, expected_params in zip(codes, macs, params, strict=True):
        subnet = space.decode(code)
        model = family.build(family.describe(space, subnet, **HEAD)).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(torch.zeros(1, 3, subnet.resolution, subnet.resolution))
        assert expected_macs == counter.get_total_flops() // 2
        assert expected_params == sum(parameter.numel() for parameter in model.parameters())


def test_memory_is_that_of_the_parts(space):
    codes = some_codes(space)
    peaks = CostTable.peak_memory(space, **HEAD, bits=8).predict(codes)
    tables = {cpu: program.ram(space, **HEAD, cpu=cpu).predict(codes) for cpu in program.STACK}
    for row, subnet in enumerate(map(space.decode, codes)):
        stem, *blocks, head = parts_of_subnet(space, subnet, **HEAD)
        assert peaks[row] == max(peak_activation(*part) for part in (stem, *blocks, head))
        for cpu, ram in tables.items():
            vectors = cpu == "cortex_m55"
            arenas = [program.arena(*part, vectors=vectors) for part in blocks]
            arenas.append(program.arena(*stem, vectors=vectors, outside=[0]))
            arenas.append(program.arena(*head, vectors=vectors, outside=[len(head[0])]))
            image = -(-3 * subnet.resolution**2 // 4) * 4
            assert ram[row] == max(arenas) + image + 8 + program.STACK[cpu]


def test_any_fold_is_the_sum_or_maximum_of_its_parts(space):
    """Numbers that differ for each choice of each part, so that an axis in another's place would show."""

    def fold(part, side):
        return zlib.crc32(f"{part} {side}".encode()) % 1000

    codes = some_codes(space, 40)
    for combine, merge in (("sum", sum), ("max", max)):
        table = fold_table(space, "own", "", at_each_side(fold), **HEAD, combine=combine)
        expected = [merge(fold(*part) for part in parts_of_subnet(space, space.decode(code), **HEAD)) for code in codes]
        assert table.predict(codes).tolist() == expected


def test_an_operator_that_no_program_has_is_named(space):
    loops = {("conv", 1): 14, ("conv", 3): 8, ("pool", 0): 5, ("add", 0): 5, ("linear", 0): 5}
    model = instructions.Model({kind: np.ones(count) for kind, count in loops.items()})
    with pytest.raises(ValueError, match="no instruction count is known for avg_pool"):
        instructions.table(space, model, **HEAD)


def test_tables_are_kept(space, tmp_path):
    table, codes = CostTable.macs(space, **HEAD), space.sample(500, np.random.default_rng(0))
    table.save(tmp_path / "table.json")
    assert np.array_equal(CostTable.load(tmp_path / "table.json").predict(codes), table.predict(codes))


def test_each_part_depends_on_its_widths(space):
    names = [f"{gene.key} {gene.stage}" for gene in space.genes]
    ends, first, second, *_ = [[names[gene] for gene in row.genes] for row in part_genes(space)]
    assert ends == ["resolution None", "stem None", "head None", "width 1"]
    assert first == ["resolution None", "stem None", "width 0", "expand 0"]
    assert second == ["resolution None", "width 0", "expand 0"]
    stem, head = (
        np.random.default_rng(0).random(tuple(space.num_options[list(row.genes)])) for row in end_genes(space)
    )
    together = [np.broadcast_to(one, (3, 2, 3, 3)) for one in (stem[:, :, None, None], head[:, None])]
    assert all(map(np.array_equal, ends_alike(space, stem, head), together))


def test_ends_that_share_a_width_have_it_once(space, monkeypatch):
    """As embeddings of a transformer: one width of all parts; the head knows it by another key."""
    shared = type(space.part_columns)({"width": 3}, space.part_columns.blocks, {"features": 5, "width": 3, "again": 3})
    monkeypatch.setitem(space.__dict__, "part_columns", shared)
    assert part_genes(space)[0].genes == (0, 3, 5)
    stem, head = np.random.default_rng(0).random((3, 2)), np.random.default_rng(1).random((3, 3, 2))
    alike = ends_alike(space, stem, head)
    assert np.array_equal(alike[0][:, :, 1], stem) and np.array_equal(alike[1], head.transpose(0, 2, 1))


def test_the_expected_cost_follows_the_widths(space):
    table = CostTable.macs(space, **HEAD)
    counts = space.num_options.tolist()
    uniform = [torch.full((count,), 1 / count, dtype=torch.float64, requires_grad=True) for count in counts]
    every = np.stack(np.meshgrid(*map(np.arange, counts), indexing="ij"), axis=-1).reshape(-1, len(counts))
    expected = table.expected(uniform)
    assert expected.item() == pytest.approx(table.predict(every.astype(np.int8)).mean(), rel=1e-12)
    expected.backward()
    for column in space.genes_of("width"):
        rates = uniform[column].grad
        assert (rates.diff() > 0).all(), "a wider stem, stage or head costs more"
    one = some_codes(space)[-1]
    certain = [torch.eye(count, dtype=torch.float64)[index] for count, index in zip(counts, one, strict=True)]
    assert table.expected(certain).item() == table.predict(one[None])[0]


def test_a_csv_of_measured_networks_names_their_widths(space, tmp_path):
    codes = space.sample(300, np.random.default_rng(1))
    macs, params = (make(space, **HEAD).predict(codes) for make in (CostTable.macs, CostTable.params))
    truth, path = 0.2 + macs / 4e5 + params / 1e4, tmp_path / "costs.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["resolution", "depths", "expands", "widths", "latency"])
        for code, cost in zip(codes[:200], truth, strict=False):
            subnet = space.decode(code)
            lists = ["-".join(map(str, values)) for values in (subnet.depths, subnet.expands, subnet.widths)]
            writer.writerow([subnet.resolution, *lists, cost])
    predicted = table_from_csv(space, path).predict(codes[200:])
    assert np.mean(np.abs(predicted - truth[200:]) / truth[200:]) < 0.02
    path.write_text(path.read_text().replace("widths", "width"))
    with pytest.raises(ValueError, match="the columns widths are missing"):
        table_from_csv(space, path)


def test_a_planner_of_microcontrollers_sees_the_widths(space):
    arena = memory.peak_memory(space, **HEAD, bits=8, planner="tflm").predict(some_codes(space))
    assert arena[0] < arena[1] and arena[0] == arena.min() and arena[1] == arena.max()
