"""RAM, flash and instructions of Cortex-M programs with and without in-place operators and patches.

``python benchmarks/microcontroller_memory.py`` writes ``benchmarks/results/microcontroller_memory.md``. For subnets of
the presets ``mcu`` and ``mcu_32`` and for MobileNetV2-0.35, int8 programs are built in four ways and run under QEMU;
each output byte is compared with TensorFlow Lite Micro's. Finished rows are kept in ``--store`` and not run again.
Needs gcc-arm-none-eabi and qemu-system-arm.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ofa.export.microcontroller import build as tools
from ofa.export.microcontroller.export import write_sources
from ofa.export.microcontroller.memory import Memory
from ofa.predictors.costs.microcontroller import patched_table
from ofa.predictors.costs.microcontroller.instructions import int8_program
from ofa.supernet.space import SearchSpace, Subnet

RESULTS = Path(__file__).parent / "results" / "microcontroller_memory.md"
WAYS = {
    "neither": Memory(in_place=False, patches=False),
    "in place": Memory(patches=False),
    "patches": Memory(in_place=False),
    "both": Memory(),
}
IMAGES = 1
HEAD = (
    "# Memory of microcontroller programs\n\n`python benchmarks/microcontroller_memory.py`. Random int8 weights. RAM "
    "is that of the ELF: arena, image, logits, other static data, and the deepest stack. `table says` what a search "
    "sees before any program is built. Each output byte is compared with TensorFlow Lite Micro's.\n\n"
)


def mobilenetv2(width: float, resolution: int) -> SearchSpace:
    """MobileNetV2 (https://arxiv.org/abs/1801.04381) of one width and resolution, as a space of one network.

    Its widths are multiples of eight; it has no second layer after the pool here, as the space's head has.
    """

    def channels(number: int) -> int:
        return max(8, int(number * width + 4) // 8 * 8)

    stages = [(24, 2, 2), (32, 2, 3), (64, 2, 4), (96, 1, 3), (160, 2, 3), (320, 1, 1)]
    return SearchSpace.from_dict(
        {
            "family": "mobilenetv3",
            "resolutions": [resolution],
            "act": "relu6",
            "stem": {"width": channels(32), "first_width": channels(16), "first_act": "relu6"},
            "stages": [
                {
                    **{"width": channels(out), "stride": stride, "depths": [depth], "act": "relu6"},
                    **{"expands": [6], "kernels": [3]},
                }
                for out, stride, depth in stages
            ],
            "head": {"width": 1280, "features": 64},
        }
    )


def networks() -> Iterator[tuple[str, SearchSpace, Subnet, int]]:
    """Name, space, subnet and channels of the image."""
    for preset, in_chans, seeds in (("mcu_32", 1, (1, 2)), ("mcu", 3, (1, 4))):
        space = SearchSpace.preset(preset)
        yield f"{preset}, smallest", space, space.smallest, in_chans
        for seed in seeds:
            subnet = space.decode(space.sample(1, np.random.default_rng(seed))[0])
            yield f"{preset}, random {seed}", space, subnet, in_chans
        yield f"{preset}, largest", space, space.largest, in_chans
    for resolution in (96, 160):
        space = mobilenetv2(0.35, resolution)
        yield "MobileNetV2-0.35", space, space.largest, 3


def measured(
    space: SearchSpace, subnet: Subnet, in_chans: int, model: bytes, memory: Memory, cpu: str
) -> dict[str, Any]:
    """What the tables say of a program and what it takes."""
    head = {"num_classes": 10, "in_chans": in_chans}
    table = patched_table.ram(space, **head, cpu=cpu, memory=memory)
    patches = patched_table.patches_of(table, subnet)
    shape = (IMAGES, in_chans, subnet.resolution, subnet.resolution)
    images = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    with tempfile.TemporaryDirectory() as scratch:
        folder, names = Path(scratch) / "c", [tools.PROCESSORS[cpu].variant]
        how = {"in_place": memory.in_place, "patches": patches}
        made = write_sources(model, folder, images=images, names=names, **how)
        size, output = tools.sizes(tools.build(folder, cpu=cpu)), tools.run(folder, cpu=cpu)
    return {
        "patches": None if patches is None else [patches.operators, patches.grid],
        "table": int(table.predict(space.encode(subnet)[None])[0]),
        "ram": size.data + output.one("stack"),
        "arena": made[names[0]].arena,
        "flash": size.flash,
        "instructions": output.one("instructions"),
        "different": output.one("different_bytes"),
    }


def markdown(rows: dict[str, dict[str, Any]]) -> str:
    head = ["network", "px", "CPU", "way", "patches", "RAM, KB", "table says", "arena, KB", "flash, KB"]
    head += ["instructions, M", "bytes different"]
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join(["---"] * len(head)) + " |"]
    for key, row in rows.items():
        kb = [f"{row[name] / 1024:.1f}" for name in ("ram", "table", "arena", "flash")]
        grid = f"{row['patches'][1]}x{row['patches'][1]}, {row['patches'][0]} operators" if row["patches"] else ""
        cells = [*key.split("|"), grid, *kb, f"{row['instructions'] / 1e6:.2f}", str(row["different"])]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("microcontroller_memory.json"))
    parser.add_argument("--cpus", nargs="+", default=["cortex_m4", "cortex_m55"])
    options = parser.parse_args()
    rows = json.loads(options.store.read_text()) if options.store.exists() else {}
    keys = []
    for name, space, subnet, in_chans in tqdm(list(networks())):
        wanted = {
            f"{name}|{subnet.resolution}|{cpu}|{way}": (memory, cpu)
            for cpu in options.cpus
            for way, memory in WAYS.items()
        }
        keys += wanted
        if set(wanted) <= set(rows):
            continue
        model = int8_program(space, subnet, num_classes=10, in_chans=in_chans)
        for key in set(wanted) - set(rows):
            rows[key] = measured(space, subnet, in_chans, model, *wanted[key])
            options.store.write_text(json.dumps(rows))
            RESULTS.write_text(HEAD + markdown({each: rows[each] for each in keys if each in rows}))


if __name__ == "__main__":
    main()
