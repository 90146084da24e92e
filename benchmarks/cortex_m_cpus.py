"""Compiles the C of microcontroller spaces for every Cortex-M, runs it under QEMU and compares its outputs with TFLM's.

``python benchmarks/cortex_m_cpus.py`` writes ``benchmarks/results/cortex_m_cpus.md``. For each preset the smallest, the
largest and random subnets are compiled without a warning (all warnings are errors, CMSIS-NN's sources included) and run
on the processors whose instructions QEMU has. Outputs must be the same bytes. Needs gcc-arm-none-eabi and
qemu-system-arm.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from ofa.export.microcontroller import build as tools
from ofa.export.microcontroller import export
from ofa.export.runtimes.cortex_m import convert_int8
from ofa.supernet.space import SearchSpace, Subnet
from ofa.supernet.supernet import Supernet

RESULTS = Path(__file__).parent / "results" / "cortex_m_cpus.md"
STRICT = ["CFLAGS=-O2 -Werror -Werror=implicit-function-declaration"]
IMAGES = 5


def models(preset: str, random: int) -> dict[str, tuple[Subnet, bytes]]:
    """int8 models of the smallest, the largest and ``random`` other subnets, with different outputs for each image."""
    space = SearchSpace.preset(preset)
    codes = space.sample(random, np.random.default_rng(0))
    subnets = {"smallest": space.smallest, "largest": space.largest}
    subnets |= {f"random {number}": space.decode(code) for number, code in enumerate(codes, 1)}
    torch.manual_seed(0)
    net, found = Supernet(space, num_classes=10, in_chans=1), {}
    for name, subnet in subnets.items():
        model = net.extract(subnet).eval()
        for norm in model.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.weight.data.uniform_(0.5, 1.5)
                norm.bias.data.normal_(0, 0.3)
        found[name] = subnet, convert_int8(model, (1, subnet.resolution, subnet.resolution))
    return found


def measured(folder: Path, cpu: str) -> list[str]:
    """Cells of one program: compiled, run, images, different bytes, instructions, flash, RAM."""
    try:
        program = tools.build(folder, cpu=cpu, options=STRICT)
    except ValueError as error:
        fits = "does not fit" not in str(error)
        return [
            f"no: {str(error).splitlines()[-1]}" if fits else f"does not fit {tools.PROCESSORS[cpu].machine}",
            *["-"] * 6,
        ]
    output, size = tools.run(folder, cpu=cpu), tools.sizes(program)
    ram = size.data + output.one("stack")
    numbers = [output.one(name) for name in ("images", "different_bytes", "instructions")]
    return ["yes", "yes", *(f"{number:,}" for number in (*numbers, size.flash, ram))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--random", type=int, default=1, help="random subnets of each preset")
    parser.add_argument("--presets", nargs="+", default=["mcu_32", "mcu"])
    options = parser.parse_args()
    rows, head = [], ["network", "compiled for", "QEMU", "compiled", "run", "images", "bytes different"]
    head += ["instructions", "flash", "RAM"]
    with tempfile.TemporaryDirectory() as scratch:
        for preset in options.presets:
            for name, (subnet, model) in models(preset, options.random).items():
                folder = Path(scratch) / f"{preset} {name}"  # with a space
                shape = (IMAGES, 1, subnet.resolution, subnet.resolution)
                images = np.random.default_rng(1).standard_normal(shape, dtype=np.float32)
                export.write_sources(model, folder, images=images, name=f"{preset}-{name}")
                for cpu, details in tqdm(tools.PROCESSORS.items(), desc=folder.name, disable=None):
                    emulated = details.machine + ("" if details.emulated == details.name else f" ({details.emulated})")
                    rows.append([f"{preset}, {name}", details.name, emulated, *measured(folder, cpu)])
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
    text = (
        "# C on every Cortex-M\n\n`python benchmarks/cortex_m_cpus.py`. The int8 program of subnets, compiled with "
        "`-std=c11 -Wall -Wextra -Werror` (CMSIS-NN's sources, too) and run under QEMU; each output byte is compared "
        "with TensorFlow Lite Micro's. QEMU has no board with Cortex-M0+, M23 or M85: their code runs there on the "
        "larger processor in brackets, whose instructions include theirs. Instructions are those of one image.\n\n"
    )
    RESULTS.write_text(text + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
