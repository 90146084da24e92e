"""Cortex-M under QEMU: the same bytes as TensorFlow Lite Micro, counts that repeat, memory that holds."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("tflite_micro", reason="pip install 'once-for-all[mcu]'")
pytest.importorskip("bakenn", reason="pip install 'once-for-all[mcu]'")
pytest.importorskip("ai_edge_quantizer", reason="pip install 'once-for-all[tflite]'")

from ofa.export.microcontroller import build, export
from ofa.export.runtimes import cortex_m, cortex_m4, cortex_m55, tflm
from ofa.supernet.space import SearchSpace
from ofa.supernet.supernet import Supernet

pytestmark = pytest.mark.skipif(build.missing_tools() is not None, reason=str(build.missing_tools()))
SPACE = SearchSpace.preset("mcu_32_ir")
cpus = pytest.mark.parametrize("cpu", cortex_m.NAMES)


def int8(subnet, *, seed=0):
    torch.manual_seed(seed)
    model = Supernet(SPACE, num_classes=7, in_chans=1).extract(subnet)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):  # a fresh network's outputs hardly differ between images
            norm.weight.data.uniform_(0.5, 1.5)
            norm.bias.data.normal_(0, 0.3)
            norm.running_mean.normal_(0, 0.2)
            norm.running_var.uniform_(0.3, 1.3)
    return cortex_m.convert_int8(model.eval(), (1, subnet.resolution, subnet.resolution))


@pytest.fixture(scope="module")
def subnet():
    # Even and odd maps, every kernel, strides, residuals.
    return dataclasses.replace(
        SPACE.smallest, resolution=28, depths=(2, 2, 2, 1), kernels=(3, 5, 7, 3, 3, 5, 7, 3, 3, 3)
    )


@pytest.fixture(scope="module")
def model(subnet):
    return int8(subnet)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).standard_normal((20, 1, 28, 28), dtype=np.float32)


@pytest.fixture(scope="module")
def sessions(model):
    return {cpu: cortex_m.load(model, cpu=cpu) for cpu in cortex_m.NAMES}


@cpus
def test_outputs_equal_those_of_tflm(sessions, model, images, cpu):
    found = cortex_m.run(sessions[cpu], images)
    assert np.array_equal(found, tflm.run(tflm.load(model), images))
    assert len(np.unique(found)) > 20
    assert found.dtype == np.float32


@cpus
def test_the_largest_scratch_memory_is_enough(cpu):
    """7x7 kernels on the widest blocks: on a Cortex-M55 far more than bakenn reserves. Nothing beyond is written."""
    model = int8(dataclasses.replace(SPACE.largest, resolution=24, depths=(1, 1, 1, 2)))
    data = np.random.default_rng(2).standard_normal((3, 1, 24, 24), dtype=np.float32)
    session = cortex_m.load(model, cpu=cpu)
    main = session.folder / "main.c"
    source = main.read_text()
    for old, new in {
        "arena[MODEL_ARENA_SIZE]": "arena[MODEL_ARENA_SIZE + 32768]",
        "board_paint_stack();": "for (int i = 0; i < 32768; ++i) beyond[i] = 90; board_paint_stack();",
        'print_number("images"': "for (int i = 0; i < 32768; ++i) overrun += beyond[i] != 90;\n"
        '    print_number("overrun", overrun); print_number("images"',
        "int main(void) {": "int main(void) { int32_t overrun = 0; uint8_t *beyond = arena + MODEL_ARENA_SIZE;",
    }.items():
        assert old in source
        source = source.replace(old, new)
    main.write_text(source)
    assert np.array_equal(cortex_m.run(session, data), tflm.run(tflm.load(model), data))
    build.build(session.folder, cpu=cpu)
    assert build.run(session.folder, cpu=cpu).numbers["overrun"] == [0]


@cpus
def test_counts_are_the_same_in_every_run_and_the_operators_sum_up(sessions, model, cpu):
    first = cortex_m.figures(sessions[cpu])
    operators = cortex_m.operators(sessions[cpu])
    assert cortex_m.figures(cortex_m.load(model, cpu=cpu)) == first
    total = sum(operator.instructions for operator in operators)
    assert abs(total - first.instructions) < 20 * len(operators)
    assert min(operator.instructions for operator in operators) > 100
    assert [operator.kind for operator in operators[:2]] == ["conv2d_s8", "by_channel"]
    assert (operators[0].input, operators[0].output, operators[0].stride) == ((28, 28, 1), (14, 14, 8), 2)


def test_no_convolution_falls_back_to_slow_kernels(sessions):
    per_value = {
        operator: operator.instructions / (np.prod(operator.output) * np.prod(operator.kernel[:2]))
        for operator in cortex_m.operators(sessions["cortex_m4"])
        if operator.kind == "by_channel"
    }
    assert max(per_value.values()) < 14
    assert {operator.stride for operator in per_value} == {1, 2}


@cpus
def test_a_loop_of_known_length_is_counted_exactly(sessions, cpu, tmp_path):
    folder = shutil.copytree(sessions[cpu].folder, tmp_path / "copy", ignore=shutil.ignore_patterns("build-*"))
    source = (folder / "main.c").read_text()
    loop = '{ uint32_t n = 12345; __asm volatile("1: subs %0, #1\\n bne 1b" : "+l"(n) : : "cc"); }'
    counts = []
    for extra in ("", loop):
        (folder / "main.c").write_text(source.replace("uint32_t after", extra + " uint32_t after"))
        build.build(folder, cpu=cpu)
        counts.append(build.run(folder, cpu=cpu).one("instructions"))
    assert 0 <= counts[1] - counts[0] - 2 * 12345 <= 5  # the number is loaded, too


@cpus
def test_memory_is_what_the_program_has(sessions, cpu):
    session = sessions[cpu]
    found = cortex_m.figures(session)
    header = (session.folder / "src" / "model_infer.h").read_text()
    (arena,) = (
        int(line.split()[-1][:-1]) for line in header.splitlines() if line.startswith("#define MODEL_ARENA_SIZE")
    )
    assert 0 <= found.ram - (arena + 28 * 28 + 7 + found.stack) < 64
    assert 300 < found.stack < 2000
    weights = (session.folder / "src" / "model_weights.c").read_text().count(",")
    assert weights < found.flash < weights * 4


def test_export_measures_and_verifies(model, images, tmp_path):
    export.export_c(model, tmp_path / "c", images=images)
    for cpu, entry in json.loads((tmp_path / "c" / "figures.json").read_text())["cpus"].items():
        assert (entry["verified"], entry["images"], entry["different_bytes"]) == (True, 20, 0), (cpu, entry)
        assert entry["instructions"] > 1e5
    assert not list((tmp_path / "c").glob("build-*"))


def test_the_modules_of_one_processor(model):
    assert (cortex_m4.NAME, cortex_m55.NAME) == cortex_m.NAMES
    assert cortex_m55.environment(threads=1)["runtime"] == "cortex_m55"
    assert cortex_m55.load(model).cpu == "cortex_m55"


def test_more_images_than_one_program_holds(sessions, model, images, monkeypatch):
    monkeypatch.setattr(cortex_m, "_MAX_BYTES", 3 * 28 * 28)
    assert np.array_equal(cortex_m.run(sessions["cortex_m4"], images[:7]), tflm.run(tflm.load(model), images[:7]))


def test_bad_input(sessions, model, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"threads is 2"):
        cortex_m.load(model, threads=2)
    with pytest.raises(ValueError, match=r"cpu is 'z80'; it must be one of cortex_m4, cortex_m55, cortex_m0plus"):
        cortex_m.load(model, cpu="z80")
    (tmp_path / "m.tflite").write_bytes(b"nothing" * 9)
    for file in ("m.tflite", "none.tflite"):
        with pytest.raises(ValueError, match=file):
            cortex_m.load(tmp_path / file)
    with pytest.raises(ValueError, match=r"\(27, 28, 1\) .*\(28, 28, 1\)"):
        cortex_m.run(sessions["cortex_m4"], np.zeros((1, 1, 27, 28), np.float32))
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match=r"qemu-system-arm not found: apt-get install"):
        cortex_m.load(model)


def broken(session, folder, old, new):
    copy = shutil.copytree(session.folder, folder, ignore=shutil.ignore_patterns("build-*"))
    source = (copy / "main.c").read_text()
    assert old in source
    (copy / "main.c").write_text(source.replace(old, new))
    return copy


def test_a_compiler_error_shows_the_compilers_words(sessions, tmp_path):
    folder = broken(sessions["cortex_m4"], tmp_path / "c", "int main(void) {", "int main(void) { nonsense")
    with pytest.raises(ValueError, match=r"(?s)building .* failed; .*nonsense"):
        build.build(folder, cpu="cortex_m4")


def test_a_program_too_large_for_the_board_says_so(sessions, tmp_path):
    folder = broken(sessions["cortex_m4"], tmp_path / "c", "static int8_t input[", "static int8_t input[(8 << 20) + ")
    with pytest.raises(ValueError, match=r"does not fit the memory of mps2-an386: .*overflowed by .*smaller subnet"):
        build.build(folder, cpu="cortex_m4")


@pytest.mark.parametrize(
    "body, message",
    [("for (;;) {}", "took longer than 2 seconds"), ('__asm("udf #0");', "stopped before its end.*fault")],
)
def test_a_program_that_hangs_or_faults_is_ended(sessions, tmp_path, body, message):
    folder = broken(sessions["cortex_m4"], tmp_path / "c", "int main(void) {", f"int main(void) {{ {body}")
    build.build(folder, cpu="cortex_m4")
    with pytest.raises(ValueError, match=message):
        build.run(folder, cpu="cortex_m4", timeout=2)
