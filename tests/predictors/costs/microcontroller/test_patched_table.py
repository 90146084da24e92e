"""Tables of programs with patches: what every cut of whole networks gives, and what programs measure."""

import time

import numpy as np
import pytest
import torch

pytest.importorskip("tflite_micro", reason="pip install 'once-for-all[mcu]'")
pytest.importorskip("bakenn", reason="pip install 'once-for-all[mcu]'")
pytest.importorskip("ai_edge_quantizer", reason="pip install 'once-for-all[tflite]'")

from ofa.export.microcontroller.build import CPUS, missing_tools
from ofa.export.microcontroller.export import write_sources
from ofa.export.microcontroller.memory import Memory, arena_moments
from ofa.export.microcontroller.patches import GRIDS, Patches, tiles, window_moments, windows_of
from ofa.export.runtimes import cortex_m4
from ofa.predictors.costs.cost_table import CostTable
from ofa.predictors.costs.microcontroller import counting, program
from ofa.predictors.costs.microcontroller.instructions import int8_program
from ofa.predictors.costs.microcontroller.patched_table import PatchedTable, patches_of, ram
from ofa.predictors.costs.microcontroller.tables import costs_of_model
from ofa.supernet.families.operators import parts_of_subnet
from ofa.supernet.integers import round_up
from ofa.supernet.operators import Operators, macs
from ofa.supernet.space import SearchSpace

HEAD = {"num_classes": 5, "in_chans": 2}
SPACES = {name: SearchSpace.preset(name) for name in ("mcu", "mcu_32")}


def joined(parts):
    """Several parts as one list of operators."""
    operators = []
    for part, _ in parts:
        before = len(operators)
        operators += [one._replace(inputs=tuple(tensor + before for tensor in one.inputs)) for one in part]
    return Operators(parts[0][0].in_channels, tuple(operators))


def whole_arena(part, side, *, outside, in_place, vectors):
    shapes = part.shapes(side)
    sizes, sides = [shape.size for shape in shapes], [shape.side for shape in shapes]
    return max(arena_moments(part, sizes, sides, in_place=in_place, vectors=vectors, outside=outside))


def best_by_hand(space, subnet, *, cpu, memory):
    """Arena and patches of the best cut and grid, each from whole lists of operators."""
    parts = parts_of_subnet(space, subnet, **HEAD)
    options = {"in_place": memory.in_place, "vectors": cpu == "cortex_m55"}
    network = joined(parts)
    outside = (0, len(network))
    total = sum(macs(part, side) for part, side in parts)
    found = [(round_up(whole_arena(network, parts[0][1], outside=outside, **options), 16), total, None)]
    last = sum(depth for depth in subnet.depths[:-1])
    for cut in range(last + 1):
        before, after, side = joined(parts[: cut + 1]), joined(parts[cut + 1 :]), parts[cut + 1][1]
        sides = [shape.side for shape in before.shapes(parts[0][1])]
        for grid in GRIDS:
            windows = windows_of(before, sides, tiles(side, grid)) if side >= grid else None
            if windows is None:
                continue
            map_bytes = round_up(before.operators[-1].channels * side**2, 4)
            arena = max(window_moments(before, windows, first=True, **options)) + map_bytes
            rest = whole_arena(after, side, outside=(len(after),), **options)
            run = sum(macs(part, side) for part, side in parts[cut + 1 :])
            for number, operator in enumerate(before, 1):
                weights = before.read_channels(operator) // operator.groups * operator.kernel**2 * operator.channels
                if operator.kind != "add":
                    run += weights * int(windows[number].size.sum()) ** 2
            if run <= (1 + memory.overhead) * total:
                found.append((round_up(int(max(arena, rest)), 16), run, Patches(len(before), grid)))
    return min(found, key=lambda entry: entry[:2])


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("cpu", CPUS)
@pytest.mark.parametrize("memory", [Memory(), Memory(in_place=False, overhead=0.6)])
def test_the_table_finds_the_best_cut(name, cpu, memory):
    space = SPACES[name]
    table = ram(space, **HEAD, cpu=cpu, memory=memory)
    codes = space.sample(15, np.random.default_rng(0))
    always = program.always(space, **HEAD, cpu=cpu)
    for code, predicted in zip(codes, table.predict(codes), strict=True):
        subnet = space.decode(code)
        arena, _, patches = best_by_hand(space, subnet, cpu=cpu, memory=memory)
        assert predicted - always[space.resolutions.index(subnet.resolution)] == arena
        assert patches_of(table, subnet) == patches


@pytest.mark.parametrize("name, cpu", [("mcu", "cortex_m4"), ("mcu_32", "cortex_m55")])
def test_arenas_are_those_that_programs_get(name, cpu, tmp_path):
    space, images = SPACES[name], {}
    table = ram(space, **HEAD, cpu=cpu, memory=Memory(overhead=0.5))
    for number, code in enumerate(space.sample(3, np.random.default_rng(1))):
        subnet = space.decode(code)
        patches = patches_of(table, subnet)
        image = np.zeros((1, HEAD["in_chans"], subnet.resolution, subnet.resolution), np.float32)
        names, model = [CPUS[cpu].variant], int8_program(space, subnet, **HEAD)
        made = write_sources(model, tmp_path / str(number), images=image, names=names, patches=patches)
        always = program.always(space, **HEAD, cpu=cpu)[space.resolutions.index(subnet.resolution)]
        assert table.predict(code[None])[0] - always == made[CPUS[cpu].variant].arena
        images[number] = patches
    assert any(images.values())


def test_no_network_needs_more_and_patches_may_be_switched_off():
    space = SPACES["mcu"]
    codes = space.sample(2000, np.random.default_rng(0))
    plain = program.ram(space, **HEAD).predict(codes)
    table = ram(space, **HEAD, cpu="cortex_m4", memory=Memory())
    assert (table.predict(codes) <= plain).all()
    assert table.predict(codes).mean() < 0.6 * plain.mean()
    without = ram(space, **HEAD, cpu="cortex_m4", memory=Memory(patches=False))
    assert np.array_equal(without.predict(codes), plain)
    assert patches_of(without, space.largest) is None


def test_costs_that_jump_between_patches_have_no_gradient():
    space = SPACES["mcu"]
    alike = [torch.full((int(count),), 1 / int(count)) for count in space.num_options]
    with pytest.raises(ValueError, match=r"^ram of programs with patches is a cost table without gradient; limit"):
        ram(space, **HEAD, cpu="cortex_m4", memory=Memory()).expected(alike)
    assert ram(space, **HEAD, cpu="cortex_m4", memory=Memory(patches=False)).expected(alike) > 0


def test_more_overhead_allows_less_memory():
    space = SPACES["mcu_32"]
    codes = space.sample(500, np.random.default_rng(0))
    needed = [
        ram(space, **HEAD, cpu="cortex_m4", memory=Memory(overhead=overhead)).predict(codes).mean()
        for overhead in (0.0, 0.1, 0.4)
    ]
    assert needed[0] > needed[1] > needed[2]


def test_a_population_is_fast():
    space = SPACES["mcu"]
    table, codes = ram(space, **HEAD, cpu="cortex_m4", memory=Memory()), space.sample(20_000, np.random.default_rng(0))
    table.predict(codes[:1])
    started = time.process_time()
    table.predict(codes)
    assert time.process_time() - started < 1


@pytest.mark.skipif(missing_tools() is not None, reason=str(missing_tools()))
def test_programs_measure_what_the_tables_say(tmp_path):
    space, head = SPACES["mcu_32"], {"num_classes": 5, "in_chans": 1}
    counted = counting.measure(space, **head, fit_subnets=4, test_subnets=0, progress=False)
    sram = ram(space, **head, cpu="cortex_m4", memory=Memory())
    subnets = map(space.decode, space.sample(30, np.random.default_rng(3)))
    subnet, patches = next((each, found) for each in subnets if (found := patches_of(sram, each)))
    found = costs_of_model(cortex_m4, int8_program(space, subnet, **head), patches=patches)
    code = space.encode(subnet)[None]
    assert 0 <= sram.predict(code)[0] - found["sram"] < 80
    assert counted.predict(code)[0] == pytest.approx(found["instructions"], rel=0.03)

    # Patches cost instructions, and a saved table knows them.
    plain = costs_of_model(cortex_m4, int8_program(space, subnet, **head))
    assert plain["instructions"] < found["instructions"] and plain["sram"] > found["sram"]
    counted.save(tmp_path / "costs.json")
    codes = space.sample(200, np.random.default_rng(0))
    loaded = CostTable.load(tmp_path / "costs.json")
    assert isinstance(loaded, PatchedTable)
    assert np.array_equal(loaded.predict(codes), counted.predict(codes))
