"""RAM and flash tables compared with the arenas and the measured sizes of programs."""

import dataclasses

import numpy as np
import pytest

pytest.importorskip("tflite_micro", reason="pip install 'once-for-all[mcu]'")
pytest.importorskip("bakenn", reason="pip install 'once-for-all[mcu]'")
pytest.importorskip("ai_edge_quantizer", reason="pip install 'once-for-all[tflite]'")

from ofa.export.microcontroller.build import CPUS, missing_tools
from ofa.export.microcontroller.export import write_sources
from ofa.export.runtimes import cortex_m
from ofa.export.runtimes.cortex_m import convert_int8
from ofa.predictors.costs.microcontroller.program import STACK, flash, ram
from ofa.supernet import families
from ofa.supernet.integers import round_up
from ofa.supernet.space import SearchSpace, Subnet

# Residuals in the first block, maps of odd sizes, expand ratios below one, an untypical head.
ODD = {
    "resolutions": [17, 33],
    "stem": {"width": 8, "first_width": 8, "stride": 1, "first_act": "relu6"},
    "stages": [
        {"width": 48, "stride": 2, "depths": [1, 3], "kernels": [1, 3], "expands": [0.5, 2], "act": "relu6"},
        {"width": 20, "depths": [2], "kernels": [5], "expands": [1, 2.5, 6], "act": "relu6"},
    ],
    "head": {"width": 500, "features": 40},
    "act": "relu6",
}
SPACES = {name: SearchSpace.preset(name) for name in ("mcu", "mcu_32", "mcu_32_ir")} | {
    "odd": SearchSpace.from_dict(ODD)
}


def module_of(space, subnet, head):
    family = families.model(space.family)
    return family.build(family.describe(space, subnet, **head)).eval()


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize(
    "name, in_chans", [("mcu", 3), ("mcu_32", 1), ("mcu_32", 3), ("mcu_32_ir", 1), ("mcu_32_ir", 3), ("odd", 2)]
)
def test_arenas_are_those_that_programs_get(name, in_chans, in_place, tmp_path):
    space, head = SPACES[name], {"num_classes": 5, "in_chans": in_chans}
    codes = space.sample(3, np.random.default_rng(4))
    small = np.concatenate([codes, [space.encode(space.smallest)]])
    for number, code in enumerate(small):
        subnet = space.decode(code)
        shape = (in_chans, subnet.resolution, subnet.resolution)
        module = module_of(space, subnet, head)
        names = [details.variant for details in CPUS.values()]
        image = np.zeros((1, *shape), np.float32)
        model, folder = convert_int8(module, shape), tmp_path / f"{number}"
        made = write_sources(model, folder, images=image, names=names, in_place=in_place)
        for cpu, details in CPUS.items():
            table = ram(space, **head, cpu=cpu, in_place=in_place)
            arena = table.predict(code[None])[0] - STACK[cpu] - round_up(int(np.prod(shape)), 4) - 8
            assert arena == made[details.variant].arena, (cpu, subnet)


def wider(space, codes):
    codes = codes.copy()
    codes[:, space.genes_of("kernel")] = 2
    return space.canonical(codes)


def test_larger_kernels_need_more_and_in_place_hardly():
    space = SPACES["mcu_32_ir"]
    plain, table = (ram(space, num_classes=10, in_chans=1, in_place=in_place) for in_place in (False, True))
    codes = space.sample(200, np.random.default_rng(0))
    more = plain.predict(wider(space, codes)) - plain.predict(codes)
    assert (more >= 0).all() and more.max() > 10_000
    more = table.predict(wider(space, codes)) - table.predict(codes)
    assert (more >= 0).all() and more.max() < 500


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("cpu", CPUS)
def test_no_network_needs_more_memory_in_place(name, cpu):
    space = SPACES[name]
    plain, table = (ram(space, num_classes=10, in_chans=1, cpu=cpu, in_place=in_place) for in_place in (False, True))
    codes = space.sample(500, np.random.default_rng(0))
    ring = 7 * 2 * 40  # a few rows of one channel, where a tiny map's copy would have been smaller
    assert (table.predict(codes) <= plain.predict(codes) + ring).all()
    assert table.predict(codes).mean() < 0.95 * plain.predict(codes).mean()


def test_some_subnets_fit_in_22_kilobytes():
    space = SPACES["mcu_32_ir"]
    share = np.mean(
        ram(space, num_classes=10, in_chans=1, in_place=False).predict(space.sample(500, np.random.default_rng(0)))
        <= 22528
    )
    assert 0.3 < share < 0.95


def test_the_smallest_map_decides_when_its_scratch_is_large():
    """A late 7x7 depthwise convolution works in more memory than early maps take."""
    space = SPACES["mcu_32_ir"]
    small = dataclasses.replace(space.smallest, kernels=(3,) * 9 + (7,), expands=(2,) * 9 + (6,), depths=(1, 1, 1, 2))
    codes = np.stack([space.encode(space.smallest), space.encode(small)])
    low, high = ram(space, num_classes=10, in_chans=1, in_place=False).predict(codes)
    assert high > low + 2 * 240 * 49 - 8000
    assert high > 2 * 240 * 49


@pytest.mark.skipif(missing_tools() is not None, reason=str(missing_tools()))
@pytest.mark.parametrize("name, in_chans, cpu", [("mcu_32_ir", 1, "cortex_m4"), ("mcu_32_ir", 3, "cortex_m55")])
def test_programs_need_what_the_tables_say_or_a_little_less(name, in_chans, cpu):
    space, head = SPACES[name], {"num_classes": 5, "in_chans": in_chans}
    code = space.sample(1, np.random.default_rng(6))
    subnet = space.decode(code[0])
    module = module_of(space, subnet, head)
    session = cortex_m.load(convert_int8(module, (in_chans, subnet.resolution, subnet.resolution)), cpu=cpu)
    found = cortex_m.figures(session)
    assert 0 <= ram(space, **head, cpu=cpu).predict(code)[0] - found.ram < 80
    assert 0 <= flash(space, **head, cpu=cpu, patches=False).predict(code)[0] - found.flash < 3000


@pytest.mark.skipif(missing_tools() is not None, reason=str(missing_tools()))
@pytest.mark.parametrize("in_chans, cpu", [(1, "cortex_m4"), (3, "cortex_m55")])
def test_programs_of_a_network_made_by_hand(in_chans, cpu):
    """Of 22 KB on a Cortex-M4. There is no addition in it, whose code the table counts."""
    space, head = SPACES["mcu_32"], {"num_classes": 10, "in_chans": in_chans}
    subnet = Subnet(32, (2, 1, 1), (7, *[3] * 6), widths=(40, 160, 160, 160), strides=(2, 1, 1))
    found = cortex_m.figures(cortex_m.load(convert_int8(module_of(space, subnet, head), (in_chans, 32, 32)), cpu=cpu))
    code = space.encode(subnet)[None]
    assert 0 <= ram(space, **head, cpu=cpu).predict(code)[0] - found.ram < 80
    assert 0 <= flash(space, **head, cpu=cpu, patches=False).predict(code)[0] - found.flash < 6000


@pytest.mark.parametrize("table", [ram, flash])
def test_another_cpu_is_refused(table):
    with pytest.raises(ValueError, match="cpu is 'cortex_m0'; it must be one of cortex_m4, cortex_m55"):
        table(SPACES["mcu"], num_classes=2, cpu="cortex_m0")
