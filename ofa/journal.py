"""What a run folder holds: which stages are finished, made from what, and what their files were."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ofa.supernet.files import read_json, write_json


def digest(values: Any) -> str:
    """Of JSON values: equal for equal values, whatever the order of keys."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


class Journal:
    """``run.json`` of a run folder: per stage the digest of its inputs, and of each file when it is finished.

    A damaged one is moved aside, and ``moved`` is its new path.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self._path = folder, folder / "run.json"
        self._stages: dict[str, dict[str, Any]] = {}
        self.moved: Path | None = None
        if self._path.exists():
            try:
                self._stages = _entries(self._path)
            except ValueError:
                self.moved = move_aside(self._path, "damaged")

    def start(self, stage: str, inputs: str) -> None:
        self._write(stage, {"inputs": inputs})

    def finish(self, stage: str, inputs: str, files: Iterable[Path], *, seconds: float) -> None:
        digests = {str(path.relative_to(self.folder)): file_digest(path) for path in files}
        self._write(stage, {"inputs": inputs, "files": digests, "seconds": round(seconds, 1)})

    def finished(self, stage: str) -> bool:
        return "files" in self._stages.get(stage, {})

    def inputs(self, stage: str) -> str | None:
        """The digest of what the stage was last started with."""
        return self._stages.get(stage, {}).get("inputs")

    def outputs(self, stage: str) -> dict[str, str]:
        """The files of a finished stage and their digests."""
        return self._stages[stage]["files"]

    def broken(self, stage: str) -> list[Path]:
        """Files of a finished stage that are gone or are not what it wrote."""
        paths = {self.folder / name: wanted for name, wanted in self.outputs(stage).items()}
        return [path for path, wanted in paths.items() if not path.is_file() or file_digest(path) != wanted]

    def _write(self, stage: str, entry: dict[str, Any]) -> None:
        self._stages[stage] = entry
        write_json(self._path, self._stages)


def _entries(path: Path) -> dict[str, dict[str, Any]]:
    """Raises ``ValueError`` when it is not what ``Journal`` writes."""
    stages = read_json(path)
    whole = isinstance(stages, dict) and all(
        isinstance(entry, dict) and isinstance(entry.get("inputs"), str) and isinstance(entry.get("files", {}), dict)
        for entry in stages.values()
    )
    if not whole:
        raise ValueError(f"{path} is not a journal")
    return stages


def move_aside(path: Path, reason: str) -> Path:
    """Renames a file to ``NAME.reason`` (over an older one of that name); returns the new path."""
    return path.replace(path.with_name(f"{path.name}.{reason}"))


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        sha = hashlib.sha256()
        while chunk := file.read(1 << 20):
            sha.update(chunk)
        return sha.hexdigest()
