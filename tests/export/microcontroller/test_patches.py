"""Programs that compute their first operators in patches: TensorFlow Lite Micro's bytes, and the windows by hand."""

import shutil
import subprocess

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("tflite_micro", reason="pip install 'once-for-all[mcu]'")
pytest.importorskip("bakenn", reason="pip install 'once-for-all[mcu]'")
pytest.importorskip("ai_edge_quantizer", reason="pip install 'once-for-all[tflite]'")

from ofa.export.microcontroller import build, export
from ofa.export.microcontroller.patches import Patches, can_be_patched, tiles, windows_of
from ofa.export.runtimes.cortex_m import convert_int8
from ofa.supernet.operators import Builder, Operator

emulator = pytest.mark.skipif(build.missing_tools() is not None, reason=str(build.missing_tools()))
SHAPE = (2, 29, 29)


class Residual(nn.Module):
    """An inverted residual; the addition reads the middle of a window that the expansion reads whole."""

    def __init__(self, channels, kernel):
        super().__init__()
        self.expand = nn.Conv2d(channels, 3 * channels, 1)
        self.middle = nn.Conv2d(3 * channels, 3 * channels, kernel, 1, kernel // 2, groups=3 * channels)
        self.project = nn.Conv2d(3 * channels, channels, 1)
        self.act = nn.ReLU6()

    def forward(self, x):
        return x + self.project(self.act(self.middle(self.act(self.expand(x)))))


class Net(nn.Module):
    """Strides, kernels and additions; ``CUTS`` are its cuts and the operators before them."""

    def __init__(self):
        super().__init__()
        self.stem, self.act = nn.Conv2d(2, 6, 5, 2, 2), nn.ReLU6()
        self.first, self.narrow = Residual(6, 7), nn.Conv2d(6, 6, 3, 2, 1, groups=6)
        self.wide, self.second = nn.Conv2d(6, 10, 1), Residual(10, 3)
        self.flatten, self.last = nn.Flatten(), nn.Linear(10, 4)

    def forward(self, x):
        x = self.act(self.narrow(self.first(self.act(self.stem(x)))))
        x = self.second(self.act(self.wide(x)))
        return self.last(self.flatten(x.mean((2, 3), keepdim=True)))


CUTS = {"stem": 1, "residual": 5, "stride": 6, "wide": 7, "second residual": 11}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return convert_int8(Net().eval(), SHAPE)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).standard_normal((3, *SHAPE), dtype=np.float32)


@pytest.mark.parametrize("cut, grid, in_place", [("stem", 4, True), ("stride", 3, False), ("second residual", 2, True)])
def test_the_host_gives_tflms_bytes(model, images, cut, grid, in_place, tmp_path):
    if not shutil.which("gcc"):
        pytest.skip("gcc is not installed")
    place = tmp_path / "c"
    export.write_sources(model, place, images=images, in_place=in_place, patches=Patches(CUTS[cut], grid))
    sources = [str(path.relative_to(place)) for path in (*place.glob("*.c"), *place.glob("src/*.c"))]
    sources = [name for name in sources if "board_qemu" not in name]
    checks = ["-fsanitize=address,undefined", "-fno-sanitize-recover"]
    made = subprocess.run(["gcc", *checks, "-I.", *sources, "-o", "host"], cwd=place, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    done = subprocess.run([place / "host"], capture_output=True, text=True, check=False)
    assert "images 3\ndifferent_bytes 0\n" in done.stdout, done.stderr


@emulator
@pytest.mark.parametrize("cpu, cut, grid", [("cortex_m4", "second residual", 3), ("cortex_m55", "wide", 4)])
def test_processors_give_tflms_bytes(model, images, cpu, cut, grid, tmp_path):
    export.write_sources(model, tmp_path / "c", images=images, patches=Patches(CUTS[cut], grid))
    build.build(tmp_path / "c", cpu=cpu)
    found = build.run(tmp_path / "c", cpu=cpu)
    assert (found.one("images"), found.one("different_bytes")) == (3, 0)


def test_patches_need_less_memory(model, images, tmp_path):
    made = {
        grid: export.write_sources(
            model, tmp_path / str(grid), images=images, patches=Patches(5, grid) if grid else None
        )
        for grid in (0, 2, 3)
    }
    sizes = [variants["cortex-m4"].arena for variants in made.values()]
    assert sizes[0] > 1.4 * sizes[1] > sizes[1] > sizes[2]


@pytest.mark.parametrize(
    "patches, message",
    [
        (Patches(2, 2), "more than their last output is read"),
        (Patches(12, 2), "are not all convolutions and additions"),
        (Patches(5, 40), "cannot be computed in 40x40 patches"),
        (Patches(0, 2), "are not all convolutions and additions"),
    ],
)
def test_what_cannot_be_patched_is_refused(model, images, patches, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        export.write_sources(model, tmp_path / "c", images=images, patches=patches)


def positions_read(part, sides, wanted):
    """By tensor, the positions along one axis that ``wanted`` positions of the output depend on, one by one."""
    found = [set() for _ in sides]
    found[-1] = set(wanted)
    for number in range(len(part), 0, -1):
        operator = part.operators[number - 1]
        for tensor in operator.inputs:
            if operator.kind == "add":
                found[tensor] |= found[number]
                continue
            first = {y * operator.stride - operator.padding for y in found[number]}
            read = {y + position for y in first for position in range(operator.kernel)}
            found[tensor] |= {y for y in read if 0 <= y < sides[tensor]}
    return found


def part_with(kernels, strides):
    made = Builder(3)
    x = made.conv(0, 4, kernel=5, stride=2)
    for kernel, stride in zip(kernels, strides, strict=True):
        y = made.conv(made.depthwise(made.conv(x, 8), 8, kernel=kernel, stride=stride, act="relu6"), 4)
        x = made.add(Operator("add", (y, x), 4)) if stride == 1 else y
    return made.done()


@pytest.mark.parametrize("side", [16, 23])
@pytest.mark.parametrize("kernels, strides", [((7,), (1,)), ((3, 5, 7), (1, 2, 1)), ((1, 7), (2, 1))])
@pytest.mark.parametrize("grid", [2, 3])
def test_windows_hold_what_the_patches_depend_on(side, kernels, strides, grid):
    part = part_with(kernels, strides)
    sides = [shape.side for shape in part.shapes(side)]
    given = tiles(sides[-1], grid)
    windows = windows_of(part, sides, given)
    assert can_be_patched(part, first=True)
    for patch in range(grid):
        wanted = range(given.start[patch], given.stop[patch])
        for window, positions in zip(windows, positions_read(part, sides, wanted), strict=True):
            assert (window.start[patch], window.stop[patch]) == (min(positions), max(positions) + 1)
    assert given.start[0] == 0 and given.stop[-1] == sides[-1] and (given.stop[:-1] == given.start[1:]).all()


def test_windows_that_an_operator_would_read_in_part_are_none():
    made = Builder(3)
    x = made.conv(0, 4, kernel=3)
    made.add(Operator("add", (made.conv(x, 4, kernel=3), made.conv(x, 4)), 4))
    part = made.done()
    assert windows_of(part, [8] * 5, tiles(8, 2)) is None
