"""Measures time and memory of small files that decode to large images, each read in a process of its own.

python benchmarks/image_bombs.py [--out benchmarks/results/image_bombs.md]
"""

from __future__ import annotations

import argparse
import io
import json
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL
from PIL import Image

from ofa.data.image_file import MAX_PIXELS, UnreadableImage, read_image
from ofa.data.preprocess import middle

SIDE = int(MAX_PIXELS**0.5)


def png(width: int, height: int, channels: int, extra: bytes = b"") -> bytes:
    """A PNG of one colour, written row by row."""
    packer, row = zlib.compressobj(9), b"\0" + b"\x40" * (width * channels)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    colour = {1: 0, 3: 2, 4: 6}[channels]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def ico(inner: bytes) -> bytes:
    """An icon that claims 16 x 16 pixels and holds a PNG of any size."""
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(inner), 22) + inner


def icns(inner: bytes) -> bytes:
    return b"icns" + struct.pack(">I", 16 + len(inner)) + b"ic10" + struct.pack(">I", 8 + len(inner)) + inner


def saved(image: Image.Image, name: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def deep(value: float, kind: type) -> Image.Image:
    return Image.fromarray(np.full((SIDE, SIDE), value, kind))


def film() -> bytes:
    frames = [Image.new("P", (2000, 2000), number % 250) for number in range(301)]
    return saved(frames[0], "GIF", save_all=True, append_images=frames[1:])


CASES: dict[str, Callable[[], bytes]] = {
    f"PNG, grey, {SIDE} x {SIDE} (the limit)": lambda: png(SIDE, SIDE, 1),
    f"PNG, transparent, {SIDE} x {SIDE}": lambda: png(SIDE, SIDE, 4),
    f"TIFF, 16 bits, {SIDE} x {SIDE}": lambda: saved(deep(500, np.uint16), "TIFF", compression="tiff_lzw"),
    f"TIFF, floats, {SIDE} x {SIDE}": lambda: saved(deep(0.5, np.float32), "TIFF", compression="tiff_lzw"),
    f"AVIF, {SIDE} x {SIDE}": lambda: saved(Image.new("RGB", (SIDE, SIDE)), "AVIF", speed=10),
    f"JPEG 2000, {SIDE} x {SIDE}": lambda: saved(Image.new("RGB", (SIDE, SIDE)), "JPEG2000"),
    "PNG, 9,460 x 9,460": lambda: png(9460, 9460, 1),
    "PNG, 30,000 x 30,000": lambda: png(30_000, 30_000, 1),
    "WebP, 16,000 x 16,000": lambda: saved(Image.new("RGB", (16_000, 16_000)), "WEBP"),
    "icon that says 16 x 16 and holds 20,000 x 20,000": lambda: ico(png(20_000, 20_000, 1)),
    "Apple icon that holds 20,000 x 20,000": lambda: icns(png(20_000, 20_000, 1)),
    "PNG with 1 GB of text": lambda: png(4, 4, 1, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**9)))),
    "PNG with a colour profile of 1 GB": lambda: png(4, 4, 1, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(10**9)))),
    "GIF of 301 frames, 2,000 x 2,000": film,
    "strip of 20,000 x 1": lambda: png(20_000, 1, 3),
    "strip of 1 x 20,000": lambda: png(1, 20_000, 3),
    "strip of 60,000 x 1,400": lambda: saved(Image.new("RGB", (60_000, 1_400)), "JPEG"),
}


def measured(path: Path) -> dict[str, object]:
    """Reads ``path`` in this process; returns the outcome, CPU seconds and MB."""
    Path("/proc/self/clear_refs").write_text("5")
    before, began = _memory("VmRSS"), time.process_time()
    try:
        middle(read_image(path, "RGB"), 224, 0.875)
        outcome = "read"
    except UnreadableImage as error:
        outcome = f"refused: {error}"
    seconds = time.process_time() - began
    return {"outcome": outcome, "seconds": seconds, "megabytes": (_memory("VmHWM") - before) / 1024}


def _memory(key: str) -> int:
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if key in line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/image_bombs.md"))
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measured(options.one)))
        return
    lines = [
        "# Small files that unfold to much",
        "",
        f"Read and prepared for 224 pixels, each in a process of its own; Pillow {PIL.__version__}. At most "
        f"{MAX_PIXELS} pixels are read. Made by `python benchmarks/image_bombs.py`.",
        "",
        "| file | its KB | CPU s | MB | outcome |",
        "|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.jpg"
        for name, make in CASES.items():
            path.write_bytes(make())
            command = [sys.executable, __file__, "--one", str(path)]
            found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            size = path.stat().st_size / 1024
            row = f"{size:.0f} | {found['seconds']:.2f} | {found['megabytes']:.0f} | {found['outcome']}"
            lines.append(f"| {name} | {row} |")
            print(lines[-1], flush=True)
    options.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
