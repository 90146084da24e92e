"""The C on a card, compiled as printed with the sources that it names, as C and as C++, gives TFLM's classes."""

import re
import shutil
import subprocess

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("tflite_micro", reason="pip install 'once-for-all[mcu]'")
pytest.importorskip("bakenn", reason="pip install 'once-for-all[mcu]'")
pytest.importorskip("ai_edge_quantizer", reason="pip install 'once-for-all[tflite]'")

from ofa.export.microcontroller import export
from ofa.export.microcontroller.names import names_of
from ofa.export.runtimes.cortex_m import convert_int8
from ofa.report.card_snippets import snippets

GIVEN = {"resolution": 8, "channels": 3, "mean": [0.48, 0.4, 1.0], "std": [0.2, 1e-05, 1.0], "crop_pct": 1.0}
_MAIN = """
#include <stdio.h>
int main(void) {{
    static uint8_t pixels[{values}];
    for (int image = 0; image < {images}; ++image) {{
        if (fread(pixels, 1, sizeof pixels, stdin) != sizeof pixels) return 2;
        printf("%d", {prefix}_classify(pixels));
        for (int label = 0; label < {classes}; ++label) printf(" %d", output[label]);
        printf("\\n");
    }}
    return 0;
}}
"""


@pytest.mark.parametrize("compiler", ["gcc -std=c11", "clang -std=c11", "g++ -std=c++17", "clang++ -std=c++17"])
def test_it_links_and_classifies(compiler, tmp_path):
    if not shutil.which(compiler.split()[0]):
        pytest.skip(f"{compiler.split()[0]} is not installed")
    torch.manual_seed(0)
    model = convert_int8(
        nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU6(), nn.Conv2d(8, 6, 4), nn.Flatten()).eval(), (3, 8, 8)
    )
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
    data = (pixels.astype(np.float32) / 255 - np.array(GIVEN["mean"], np.float32)) / np.array(GIVEN["std"], np.float32)
    images = data.transpose(0, 3, 1, 2)
    prefix = names_of("4th-board").prefix
    export.export_c(model, tmp_path / "c", images=images, name=prefix, measure=False)
    wanted = export.examples_of(model, images).outputs
    language, code = snippets("model.int8.tflite", GIVEN, runtime="cortex_m4", classes=6, prefix=prefix)["C"]
    suffix = ".cpp" if "++" in compiler else ".c"
    (tmp_path / f"card{suffix}").write_text(code + _MAIN.format(prefix=prefix, values=192, images=5, classes=6))
    # The sources and options are those that the card's own comment names.
    assert language == "c"
    folders = re.findall(r"every (?:\.c file|one) in (c/[a-z_/]+)", code)
    options = ["-I", *re.findall(r"-I (c/\w+)", code)]
    sources = [str(path.relative_to(tmp_path)) for place in folders for path in (tmp_path / place).glob("*.c")]
    assert len(sources) > 10
    command = [*compiler.split(), "-Wall", "-Wextra", "-Werror", *options, f"card{suffix}", *sources, "-lm"]
    if "++" in compiler:  # the sources are C, and C++ as well
        command = [word for part in command for word in (["-x", "c++", part] if part == f"card{suffix}" else [part])]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=120)
    done = subprocess.run(["./a.out"], cwd=tmp_path, input=pixels.tobytes(), capture_output=True, check=True)
    found = np.array([line.split() for line in done.stdout.decode().splitlines()], int)
    assert np.array_equal(found[:, 1:], wanted)
    assert np.array_equal(found[:, 0], wanted.argmax(1))
