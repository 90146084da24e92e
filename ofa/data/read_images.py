"""Reads every image once before training, so that problems of the data are reported first.

An image that cannot be read is left out of its split in all stages. Refused are more than a tenth of a
split, a split that would be empty, and a class without an image to train on.

A run folder stores which images were read (``data/read.npz``) and their problems (``data/images.json``), so
that only new and changed images are read again.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ofa.data.decode import block_sigint, identity_collate, ignore_interrupt
from ofa.data.identity import image_digest
from ofa.data.image_file import problem_of
from ofa.data.image_findings import FINDINGS, Finding, stored_findings
from ofa.data.readers.layout import shown
from ofa.data.readers.source import Source, Split, without
from ofa.errors import UserError
from ofa.supernet.files import write_atomic, write_json

MAX_LEFT_OUT = 0.1  # fraction of a split
MAX_SHOWN = 20
MAX_CHECKED = 20_000  # images that `ofa check` reads
_CHUNK = 32
_SAVE_SECONDS = 20
_READ = Path("data", "read.npz")


def read_images(source: Source, *, workers: int, folder: Path | None = None, limit: int | None = None) -> list[Finding]:
    """Reads the images of a folder and returns what is wrong with them.

    Args:
        workers: processes that read.
        folder: a run folder that stores the results.
        limit: at most so many images of each split are read, evenly spread.

    Sources without files have nothing to read.
    """
    if source.kind != "folder":
        return []

    # Only images that no earlier call has read.
    store = _ReadStore(folder)
    unread: dict[str, np.ndarray] = {}
    for name, split in source.splits.items():
        rows = np.arange(len(split))
        if limit is not None and len(rows) > limit:
            rows = np.unique(np.linspace(0, len(rows) - 1, limit).astype(int))
        unread[name] = store.unread(name, split, rows)

    total = sum(map(len, unread.values()))
    with tqdm(total=total, desc="reading all images", unit="img", delay=2, leave=False, disable=None) as bar:
        for name, rows in unread.items():
            for count, keys, findings in _read(name, source.splits[name], rows, workers=workers):
                store.add(keys, findings)
                bar.update(count)
    store.save()
    return store.findings


def finding_lines(findings: list[Finding], folder: Path | None = None) -> list[str]:
    """A line for each image with what is wrong with it, the unreadable ones first; at most a screen of them."""
    ordered = sorted(findings, key=lambda finding: (not finding.unreadable, finding.split, finding.image))
    lines = []
    for finding in ordered[:MAX_SHOWN]:
        kind = "cannot be read" if finding.unreadable else "worth a look"
        lines.append(f"{kind}: {finding.split} image {shown(finding.image)}: {finding.reason}")
    if len(ordered) > MAX_SHOWN:
        all_of_them = f"; {folder / FINDINGS} lists all" if folder else ""
        lines.append(f"and {len(ordered) - MAX_SHOWN} more{all_of_them}")
    return lines


def check_readable(source: Source, findings: list[Finding]) -> None:
    """Raises ``UserError`` when more images cannot be read than may be left out."""
    readable = without(source, [finding.image for finding in findings if finding.unreadable])
    remedy = "replace or delete them"
    for name, split in source.splits.items():
        bad = len(split) - len(readable.splits[name])
        if bad and (bad > max(1, MAX_LEFT_OUT * len(split)) or bad == len(split)):
            first = next(finding for finding in findings if finding.unreadable and finding.split == name)
            raise UserError(
                f"{bad} of {len(split)} {name} images cannot be read, such as {shown(first.image)} ({first.reason}); "
                f"{remedy}"
            )
    all_labels, readable_labels = (np.unique(part.splits["train"].labels) for part in (source, readable))
    if len(lost := np.setdiff1d(all_labels, readable_labels)):
        raise UserError(f"no training image of class {source.classes[lost[0]]!r} can be read; {remedy}")


class _ReadStore:
    """Keys of readable images and the problems found, of earlier calls and this one; stored in a run folder, if any."""

    def __init__(self, folder: Path | None) -> None:
        self._folder, self._saved, self._changed = folder, time.monotonic(), False
        self._good: set[int] = set()
        self._old: dict[int, Finding] = {}
        self.findings: list[Finding] = []
        if folder is None:
            return
        try:
            self._old = {finding.key: finding for finding in stored_findings(folder) if not finding.unreadable}
            with np.load(folder / _READ, allow_pickle=False) as stored:
                self._good = set(stored["good"].tolist())
        except (OSError, ValueError, KeyError, EOFError):
            self._good, self._old = set(), {}  # missing or damaged: all images are read again

    def unread(self, name: str, split: Split, rows: np.ndarray) -> np.ndarray:
        """Those of ``rows`` whose images must be read."""
        if not self._good:
            return rows
        keys = [_key(split.path(row), split.images[row]) for row in rows]
        self.findings += [self._old[key] for key in keys if key in self._old]
        return rows[[key not in self._good for key in keys]]

    def add(self, keys: list[int], findings: list[Finding]) -> None:
        """Adds the ``keys`` of readable images, and ``findings``; stores them now and then."""
        self._changed = True
        self._good.update(keys)
        self.findings += findings
        if time.monotonic() - self._saved > _SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        if self._folder is None or not (self._changed or not (self._folder / FINDINGS).exists()):
            return
        write_json(self._folder / FINDINGS, {"findings": [asdict(finding) for finding in self.findings]})
        good = np.array(sorted(self._good), np.uint64)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, good=good)
        write_atomic(self._folder / _READ, buffer.getvalue())
        self._saved, self._changed = time.monotonic(), False


class _Reader(Dataset):
    """Maps some rows of a split to their number, the keys of the readable images, and the problems found."""

    def __init__(self, name: str, split: Split) -> None:
        self.name, self.split = name, split

    def __getitem__(self, rows: np.ndarray) -> tuple[int, list[int], list[Finding]]:
        keys, findings = [], []
        for row in rows:
            path = self.split.path(row)
            key = _key(path, self.split.images[row])
            problem = problem_of(path)
            if problem:
                image = os.fsdecode(self.split.images[row])
                content = image_digest(os.fsencode(path)) if problem.unreadable and path.is_file() else ""
                findings.append(Finding(self.name, image, problem.reason, problem.unreadable, key, content))
            if not (problem and problem.unreadable):
                keys.append(key)
        return len(rows), keys, findings


def _read(name: str, split: Split, rows: np.ndarray, *, workers: int) -> Iterator[tuple[int, list[int], list[Finding]]]:
    """Reads the images of ``rows`` in chunks, by ``workers`` processes."""
    chunks = [rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)]
    loader = DataLoader(
        _Reader(name, split),
        batch_size=None,
        sampler=chunks,
        collate_fn=identity_collate,
        num_workers=min(workers, len(chunks)) if len(chunks) > 1 else 0,
        worker_init_fn=ignore_interrupt,
        generator=torch.Generator(),  # the loader would draw from the global one
    )
    with block_sigint():
        results = iter(loader)
    yield from results


def _key(path: Path, name: bytes) -> int:
    """A hash of the image's name, size and time: when one of them changes, it is read again."""
    try:
        status = path.stat()
        content = b"%s\0%d\0%d" % (name, status.st_size, status.st_mtime_ns)
    except OSError:
        content = name
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "big")
