"""Reads thousands of damaged images, each in a process of its own, to find crashes, hangs and excessive memory.

    python benchmarks/fuzz_images.py [--mutants 150] [--out benchmarks/results/fuzz_images.md]

Seeds are small images in every format and mode that Pillow writes. Mutants are seeds with flipped bits, extreme
numbers, or pieces cut out, doubled, exchanged or appended. PNG checksums are corrected, so that the parser behind them
is reached. Each mutant is read as in training and prepared for a network. The same ``--seed`` gives the same mutants.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import resource
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, features

from ofa.data.image_file import UnreadableImage, problem_of, read_image
from ofa.data.preprocess import middle
from ofa.data.readers.formats import NOT_PICTURES

MODES = ("1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "I;16", "F")
OPTIONS = {
    "JPEG": [
        {"progressive": True},
        {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"},
    ],
    "PNG": [{"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"}, {"transparency": 3}],
    "TIFF": [
        {"compression": name} for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "group4", "zstd")
    ],
    "WEBP": [{"lossless": True}],
    "JPEG2000": [{"irreversible": True}],
}
ANIMATED = ("GIF", "PNG", "TIFF", "WEBP", "AVIF", "MPO")
EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 20_000, 9_000)
SECONDS, MEGABYTES = 10, 4096  # a mutant that takes more is killed


# -- seeds and mutants ------------------------------------------------------------------------------------------------


def seeds() -> Iterator[tuple[str, bytes]]:
    """Name and content of each undamaged file."""
    Image.init()
    rng = np.random.default_rng(0)
    colour = Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)).resize((29, 23))
    grey = np.asarray(colour.convert("L"))
    made = {"I;16": Image.fromarray(grey.astype(np.uint16) * 257), "F": Image.fromarray(grey / np.float32(255))}
    images = {mode: made.get(mode) or colour.convert(mode) for mode in MODES}
    for name in sorted(Image.SAVE):
        for mode, image in images.items():
            for number, options in enumerate([{}, *OPTIONS.get(name, [])]):
                if content := _saved(image, name, options):
                    yield f"{name} {mode} {number}", content
    for name in ANIMATED:
        frames = [images["RGB"].rotate(angle) for angle in (90, 180)]
        if content := _saved(images["RGB"], name, {"save_all": True, "append_images": frames}):
            yield f"{name} film", content


def _saved(image: Image.Image, name: str, options: dict) -> bytes | None:
    file = io.BytesIO()
    try:
        image.save(file, name, **options)
    except Exception:  # this format does not take this mode
        return None
    return file.getvalue()


def _flip(data: bytearray, rng: np.random.Generator) -> None:
    for place in rng.integers(0, len(data), rng.integers(1, 9)):
        data[place] ^= 1 << rng.integers(0, 8)


def _number(data: bytearray, rng: np.random.Generator) -> None:
    """Writes extreme numbers, mostly into the header."""
    for _ in range(rng.integers(1, 4)):
        size, order = int(rng.choice([1, 2, 4])), rng.choice(["little", "big"])
        place = int(rng.integers(0, min(len(data), 80) if rng.random() < 0.7 else len(data)))
        value = int(rng.choice(EXTREMES)) % 256**size
        data[place : place + size] = value.to_bytes(size, str(order))


def _cut_off(data: bytearray, rng: np.random.Generator) -> None:
    del data[int(rng.integers(0, len(data))) :]


def _take_out(data: bytearray, rng: np.random.Generator) -> None:
    start = int(rng.integers(0, len(data)))
    del data[start : start + int(rng.integers(1, 64))]


def _double(data: bytearray, rng: np.random.Generator) -> None:
    start = int(rng.integers(0, len(data)))
    piece = data[start : start + int(rng.integers(1, 256))]
    data[start:start] = piece * int(rng.integers(1, 20))


def _exchange(data: bytearray, rng: np.random.Generator) -> None:
    one, two = (int(place) for place in rng.integers(0, len(data), 2))
    size = int(rng.integers(1, 32))
    data[one : one + size], data[two : two + size] = data[two : two + size], data[one : one + size]


def _append(data: bytearray, rng: np.random.Generator) -> None:
    data += rng.bytes(int(rng.integers(1, 2000)))


MUTATIONS: tuple[Callable[[bytearray, np.random.Generator], None], ...] = (
    _flip,
    _flip,
    _number,
    _number,
    _cut_off,
    _take_out,
    _double,
    _exchange,
    _append,
)


def mutant(content: bytes, rng: np.random.Generator) -> bytes:
    data = bytearray(content)
    for _ in range(rng.integers(1, 3)):
        MUTATIONS[rng.integers(len(MUTATIONS))](data, rng)
        if not data:
            break
    return _png_checksums(bytes(data)) if rng.random() < 0.8 else bytes(data)


def _png_checksums(data: bytes) -> bytes:
    """The same data with correct checksums, if it is a PNG."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    place, result = 8, bytearray(data)
    while place + 12 <= len(data):
        size = struct.unpack_from(">I", data, place)[0]
        if place + 12 + size > len(data):
            break
        struct.pack_into(">I", result, place + 8 + size, zlib.crc32(data[place + 4 : place + 8 + size]))
        place += 12 + size
    return bytes(result)


# -- reading them -----------------------------------------------------------------------------------------------------


def work(first: int, mutants: int, seed: int) -> None:
    """Reads every mutant from index ``first`` on; prints a line of JSON before and after each."""
    resource.setrlimit(resource.RLIMIT_AS, (MEGABYTES * 2**20, MEGABYTES * 2**20))
    sound = list(seeds())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.jpg"
        for number in range(first, len(sound) * mutants):
            name, content = sound[number // mutants]
            rng = np.random.default_rng([seed, number])
            path.write_bytes(content if number % mutants == 0 else mutant(content, rng))
            print(json.dumps({"number": number, "name": name}), flush=True)
            resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + SECONDS + 1, resource.RLIM_INFINITY))
            before, began = _resident(), time.process_time()
            _forget_peak()
            outcome = _read(path)
            seconds, grown = time.process_time() - began, _peak() - before
            print(json.dumps({"outcome": outcome, "seconds": seconds, "megabytes": grown / 1024}), flush=True)


def _read(path: Path) -> str:
    try:
        problem = problem_of(path)
        if problem is None or not problem.unreadable:
            middle(read_image(path, "L"), 32, 0.875)
            return "read"
    except UnreadableImage as error:
        return f"read as RGB, not as grey: {error}"
    except Exception as error:
        return f"traceback: {type(error).__name__}: {error}"
    return f"refused: {problem.reason}"


def _status(key: str) -> int:
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if key in line)


def _resident() -> int:
    return _status("VmRSS")


def _peak() -> int:
    return _status("VmHWM")


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def results(mutants: int, seed: int) -> Iterator[dict]:
    """A result for each mutant: "crash" for the one that a process was reading when it died."""
    count, done = len(list(seeds())) * mutants, 0
    while done < count:
        command = [sys.executable, __file__, "--worker", str(done), "--mutants", str(mutants), "--seed", str(seed)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            reading = None
            for line in process.stdout:
                found = json.loads(line)
                if "number" in found:
                    reading = found
                else:
                    yield reading | found
                    done, reading = reading["number"] + 1, None
        if reading is not None:
            yield reading | {"outcome": f"crash: exit {process.returncode}", "seconds": np.nan, "megabytes": np.nan}
            done = reading["number"] + 1
        elif done < count:
            raise SystemExit(f"the worker ended with {process.returncode} before mutant {done}")


# -- the table --------------------------------------------------------------------------------------------------------


def table(found: list[dict], options: argparse.Namespace, minutes: float) -> str:
    groups = defaultdict(list)
    for result in found:
        groups[result["name"].split()[0]].append(result)
    lines = [
        "# Damaged images",
        "",
        f"{len(found)} images made from {len({one['name'] for one in found})} sound ones, seed {options.seed}, in "
        f"{minutes:.1f} minutes; Pillow {PIL.__version__} (libjpeg-turbo {features.version('jpg')}, libtiff "
        f"{features.version('libtiff')}, libwebp {features.version('webp')}, libavif {features.version('avif')}), "
        f"{platform.system()}. Made by `python benchmarks/fuzz_images.py`. A process may take {SECONDS} s of CPU and "
        f"{MEGABYTES} MB of addresses; {', '.join(sorted(NOT_PICTURES))} are refused whatever they hold.",
        "",
        "| format | images | read | refused, with reason | tracebacks | crashes, hangs | most CPU s | most MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, some in [*sorted(groups.items()), ("all", found)]:
        kinds = Counter(result["outcome"].split(":")[0] for result in some)
        other = kinds["traceback"] + kinds["read as RGB, not as grey"]
        slowest, largest = (np.nanmax([result[key] for result in some]) for key in ("seconds", "megabytes"))
        lines.append(
            f"| {name} | {len(some)} | {kinds['read']} | {kinds['refused']} | {other} | {kinds['crash']} "
            f"| {slowest:.2f} | {largest:.0f} |"
        )
    reasons = Counter(result["outcome"] for result in found if result["outcome"].startswith("refused"))
    lines += ["", "The most frequent reasons:", ""]
    lines += [f"- {count}: {reason.removeprefix('refused: ')}" for reason, count in reasons.most_common(12)]
    bad = [result for result in found if not result["outcome"].startswith(("read", "refused"))]
    if bad:
        lines += [
            "",
            "What went wrong:",
            "",
            *(f"- {r['name']}, number {r['number']}: {r['outcome']}" for r in bad[:50]),
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=150, help="of each sound image, itself included")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/fuzz_images.md"))
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker is not None:
        work(options.worker, options.mutants, options.seed)
        return
    began = time.perf_counter()
    found = list(results(options.mutants, options.seed))
    text = table(found, options, (time.perf_counter() - began) / 60)
    options.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
