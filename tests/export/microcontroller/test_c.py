"""The C that is written: no warning in C11 and C++17, every source compiled at once, several models in one program."""

import re
import shutil
import subprocess
import tempfile

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("tflite_micro", reason="pip install 'once-for-all[mcu]'")
pytest.importorskip("bakenn", reason="pip install 'once-for-all[mcu]'")
pytest.importorskip("ai_edge_quantizer", reason="pip install 'once-for-all[tflite]'")

from ofa.export.microcontroller import build, export
from ofa.export.microcontroller.names import distinct, names_of
from ofa.export.runtimes import cortex_m, tflm
from ofa.export.runtimes.cortex_m import convert_int8
from ofa.supernet.space import SearchSpace
from ofa.supernet.supernet import Supernet

STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror", "-fsyntax-only"]
C11 = ["-std=c11", *STRICT, "-Werror=implicit-function-declaration", "-Wstrict-prototypes", "-Wmissing-prototypes"]
CPP17 = ["-std=c++17", *STRICT, "-x", "c++"]
ARM = ["-mthumb", "-mfloat-abi=soft"]
COMPILERS = {
    "gcc": ["gcc", *C11],
    "clang": ["clang", *C11],
    "g++": ["g++", *CPP17],
    "clang++": ["clang++", *CPP17],
    "gcc, CMSIS-NN": ["gcc", "-DOFA_CMSIS_NN=1", *C11],
    "clang++, CMSIS-NN": ["clang++", "-DOFA_CMSIS_NN=1", *CPP17],
    "arm gcc, no DSP": ["arm-none-eabi-gcc", "-mcpu=cortex-m0plus", *ARM, *C11],
    "arm gcc": ["arm-none-eabi-gcc", "-mcpu=cortex-m4", *ARM, *C11],
    "arm g++, vectors": ["arm-none-eabi-g++", "-mcpu=cortex-m55", "-mthumb", "-mfloat-abi=hard", *CPP17],
}
SUBNETS = {"mcu_32_ir smallest": "smallest", "mcu_32_ir largest": "largest"}
emulator = pytest.mark.skipif(build.missing_tools() is not None, reason=str(build.missing_tools()))


class Broadcast(nn.Module):
    """What the spaces do not have: an addition of a map and one pixel, and a linear layer of several."""

    def __init__(self):
        super().__init__()
        self.first, self.scale = nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.Conv2d(8, 8, 1)
        self.flatten, self.last = nn.Flatten(), nn.Linear(8, 3)

    def forward(self, x):
        x = self.first(x)
        x = x + self.scale(x.mean((2, 3), keepdim=True))
        return self.last(self.flatten(x.mean((2, 3), keepdim=True)))


def small(seed):
    torch.manual_seed(seed)
    return convert_int8(
        nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU6(), nn.Conv2d(8, 4, 4), nn.Flatten()).eval(), (1, 8, 8)
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """By name the C of a model; the smallest subnet of ``mcu_32_ir`` has no addition."""
    place, space, made = tmp_path_factory.mktemp("c"), SearchSpace.preset("mcu_32_ir"), {}
    torch.manual_seed(0)
    net = Supernet(space, num_classes=3, in_chans=1)
    for name, which in SUBNETS.items():
        subnet = getattr(space, which)
        shape = (1, subnet.resolution, subnet.resolution)
        made[name] = (convert_int8(net.extract(subnet).eval(), shape), shape)
    made["broadcast"] = (convert_int8(Broadcast().eval(), (1, 8, 8)), (1, 8, 8))
    for name, (model, shape) in made.items():
        export.write_sources(model, place / name, images=np.zeros((1, *shape), np.float32), name=name)
    return {name: place / name for name in made}


@pytest.mark.parametrize("compiler", COMPILERS)
def test_no_compiler_has_a_warning(folders, compiler):
    command = COMPILERS[compiler]
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    for name, folder in folders.items():
        sources = [path.relative_to(folder) for path in (*folder.glob("*.c"), *folder.glob("src/*.c"))]
        done = subprocess.run([*command, *map(str, sources)], cwd=folder, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), f"{name}: {done.stderr}"


def test_a_network_without_an_addition_has_no_addition(folders):
    assert not list(folders["mcu_32_ir smallest"].glob("src/*_add.*"))
    assert list(folders["mcu_32_ir largest"].glob("src/*_add.*"))
    for folder in folders.values():
        sources = [path for path in folder.rglob("*.[ch]") if path.parent.name != "cmsis_nn"]
        assert not [path for path in sources if re.search(r'#include ".*\.c"', path.read_text())]


def images_of(seed):
    return np.random.default_rng(seed).standard_normal((3, 1, 8, 8), dtype=np.float32)


def table(name, rows):
    values = ",".join("{" + ",".join(map(str, row)) + "}" for row in rows.tolist())
    return f"static const int8_t {name}[{rows.shape[0]}][{rows.shape[1]}] = {{{values}}};\n"


@pytest.fixture(scope="module")
def firmware(tmp_path_factory):
    """A folder with two models and a program that runs both by turns; prints how many bytes differ from TFLM's."""
    place = tmp_path_factory.mktemp("two")
    code = [
        '#include "door-bell/board.h"\n#include "cam_2/src/cam_2_infer.h"\n#include "door-bell/src/door_bell_infer.h"\n'
    ]
    calls = []
    for seed, name in enumerate(("door-bell", "cam_2")):
        model, images, prefix = small(seed), images_of(seed), names_of(name).prefix
        export.write_sources(model, place / name, images=images, name=name)
        examples = export.examples_of(model, images)
        code += [table(f"{prefix}_given", examples.inputs), table(f"{prefix}_wanted", examples.outputs)]
        code.append(f"OFA_ALIGNED(16) static uint8_t {prefix}_arena[{prefix.upper()}_ARENA_SIZE];\n")
        calls.append(
            f"{prefix}_infer({prefix}_arena, {prefix}_given[i], output);\n"
            f"for (int k = 0; k < 4; ++k) different += output[k] != {prefix}_wanted[i][k];\n"
        )
    code.append("int main(void) { int different = 0; int8_t output[4]; for (int i = 0; i < 3; ++i) {\n")
    code += [*calls, '} board_print(different ? "wrong\\n" : "equal\\n"); return different; }\n']
    (place / "main.c").write_text("".join(code))
    return place


def linked(place, compiler, *options, board):
    sources = [path for name in ("door-bell", "cam_2") for path in (place / name / "src").rglob("*.c")]
    command = [*compiler, "main.c", f"door-bell/{board}", *map(str, sources), *options, "-o", f"{compiler[0]}.out"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return place / f"{compiler[0]}.out"


@pytest.mark.parametrize("options", [["gcc", "-DOFA_CMSIS_NN=1"], ["g++", "-x", "c++"]])
def test_two_models_in_one_program(firmware, options):
    if not shutil.which(options[0]):
        pytest.skip(f"{options[0]} is not installed")
    program = linked(firmware, options, board="board_host.c")
    assert subprocess.run([program], capture_output=True, text=True, check=True).stdout == "equal\n"


@emulator
def test_two_models_in_one_firmware(firmware):
    compiler = ["arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb", "-O1", "-nostartfiles", "-specs=nano.specs"]
    program = linked(firmware, compiler, "-Tdoor-bell/mps2.ld", "-Wl,--gc-sections", board="board_qemu.c")
    qemu = "qemu-system-arm -display none -monitor none -serial none -semihosting-config enable=on,target=native"
    command = [*qemu.split(), "-machine", "mps2-an386", "-kernel", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "equal" in done.stdout + done.stderr
    symbols = subprocess.run(["arm-none-eabi-nm", program], capture_output=True, text=True, check=True).stdout
    assert symbols.count("_convolve_s8\n") == 1  # of CMSIS-NN there is one copy
    shared = "board_|ofa_cmsis_nn_|door_bell_|cam_2_"
    own = [name for kind, name in re.findall(r" ([TRDBW]) (\w*(?:conv|nn_|model|bknn)\w*)$", symbols, re.MULTILINE)]
    assert own and all(re.match(shared, name) for name in own)


@emulator
@pytest.mark.parametrize("cpu", [cpu for cpu in build.PROCESSORS if cpu not in cortex_m.NAMES])
def test_other_processors_give_the_same_bytes(cpu, tmp_path):
    export.write_sources(small(0), tmp_path / "c", images=images_of(0))
    build.build(tmp_path / "c", cpu=cpu, options=["CFLAGS=-O1"])
    found = build.run(tmp_path / "c", cpu=cpu)
    assert (found.one("images"), found.one("different_bytes")) == (3, 0)
    assert found.one("instructions") > 1000


@emulator
def test_any_path_and_any_variable_of_the_shell(tmp_path, monkeypatch):
    place = tmp_path / 'a b\'s $HOME "q" (ü) #1 %s'
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    monkeypatch.setenv("TMPDIR", str(place))
    for name in ("CFLAGS", "LDFLAGS", "CPU", "OUT", "MAKEFLAGS"):  # conda's, or those of a make around us
        monkeypatch.setenv(name, "--nonsense")
    build._shared_library.cache_clear()
    session = cortex_m.load(small(0))
    build._shared_library.cache_clear()
    assert str(place) in str(session.folder)
    assert np.array_equal(cortex_m.run(session, images_of(0)), tflm.run(tflm.load(small(0)), images_of(0)))
    assert cortex_m.figures(session).flash > 1000


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        *[("m4", "m4"), ("M4", "m4"), ("door-bell", "door_bell"), ("96-px", "model_96_px"), ("_x__y_", "x_y")],
        *[("", "model"), ("é", "model"), ("int", "int"), ("bknn", "model_bknn"), ("a b/../c", "a_b_c")],
    ],
)
def test_a_name_becomes_an_identifier(name, prefix):
    assert names_of(name).prefix == prefix


def test_names_that_make_one_identifier_stay_apart():
    models = ["a-b", "a_b", "a--b", "a_b_v2", "c"]
    prefixes = [distinct(model, models) for model in models]
    assert len(set(prefixes)) == len(models)
    assert prefixes[0] == "a_b" and prefixes[-1] == "c"
