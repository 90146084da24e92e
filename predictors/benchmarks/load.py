"""``ofa.load_benchmark``: the table of readers, and which of them a file is for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ofa.predictors.benchmarks import cells_csv, choices_csv, macro_json, nas_bench_101, nas_bench_301, subnet_rows
from ofa.predictors.benchmarks.benchmark import Benchmark
from ofa.predictors.benchmarks.refused import reason
from ofa.predictors.benchmarks.tfrecord import is_tfrecord

_HEAD = 4096  # bytes that tell what a file is


class Reader(NamedTuple):
    """How files of one kind are known by their first bytes, and read."""

    about: str
    knows: Callable[[bytes], bool]
    read: Callable[[Path], Benchmark]


def _header(head: bytes) -> list[str]:
    """The columns of a CSV file; none for bytes that are no text."""
    line = head.lstrip(b"\xef\xbb\xbf").partition(b"\n")[0]
    return line.decode("ascii", "replace").strip().split(",") if b"\0" not in head and b"," in line else []


# Asked from the first to the last, so that the most particular ones come first.
READERS: dict[str, Reader] = {
    "nas_bench_101": Reader("NAS-Bench-101's TFRecord", is_tfrecord, nas_bench_101.read),
    "macro_json": Reader(
        "JSON of NAS-Bench-Macro and MacroNASBenchmark", lambda head: head.lstrip()[:1] == b"{", macro_json.read
    ),
    "help_npz": Reader(
        "NPZ of HELP's latencies", lambda head: head.startswith(b"PK") and b".npy" in head, subnet_rows.read_npz
    ),
    "cells_csv": Reader("CSV of NAS-Bench-201's cells", cells_csv.knows, cells_csv.read),
    "subnet_rows": Reader(
        "CSV of Once-for-All subnets",
        lambda head: {"resolution", *subnet_rows.LISTS} <= set(_header(head)),
        subnet_rows.read_csv,
    ),
    "choices_csv": Reader("CSV with a column a choice", lambda head: len(_header(head)) > 1, choices_csv.read),
}


def load_benchmark(path: str | Path) -> Benchmark:
    """The networks of a published table, known by its content: see ``READERS``.

    Of a network that the file has twice the first row counts.

    Raises ``ValueError`` naming the file when it is a pickle (which is never opened), of an unknown kind or version,
    cut short or damaged.
    """
    path = Path(path)
    if path.is_dir():
        return nas_bench_301.read(path).distinct()
    if not path.is_file():
        raise ValueError(f"{path} is no file; give a published table of networks ({_known()})")
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if why := reason(head):
        raise ValueError(f"{path} {why}")
    reader = next((reader for reader in READERS.values() if reader.knows(head)), None)
    if reader is None:
        raise ValueError(f"{path} is no table of networks that is known: {_known()}")
    return reader.read(path).distinct()


def _known() -> str:
    return "; ".join([*(reader.about for reader in READERS.values()), "a folder of NAS-Bench-301's results"])
