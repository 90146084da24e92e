"""What a run folder holds: which stages are finished, made from what, and what their files were."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ofa.pipeline.run_folder import inside, quarantine
from ofa.supernet.files import read_json, write_json

NAME, COPY = "run.json", "run.copy.json"
_DIGEST = "digest"  # the key beside the stages
Inputs = dict[str, Any]


def digest(values: Any) -> str:
    """Of JSON values: equal for equal values, whatever the order of keys."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


class RunManifest:
    """``run.json`` of a run folder: per stage what it was made from, and the digest of each file when it is finished.

    It is written twice and carries its own digest: when ``run.json`` is damaged or missing, the copy is read. Reading
    changes nothing on disk; the first write moves a damaged one aside.

    Attributes:
        problem: what is wrong with ``run.json``, or None.
        lost: that there is no whole copy either, so nothing is known of the files in the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / NAME
        self._stages: dict[str, dict[str, Any]] = {}
        self.problem: str | None = None
        found = []
        for name in (NAME, COPY):
            try:
                found.append(_entries(folder, folder / name))
                break
            except FileNotFoundError:
                problem = f"{folder / name} is missing"
            except (OSError, ValueError) as error:
                problem = str(error)
            self.problem = self.problem or problem
        self.lost = not found
        if found:
            self._stages = found[0]

    def start(self, stage: str, inputs: Inputs) -> None:
        self._write(stage, {"inputs": inputs})

    def finish(
        self, stage: str, inputs: Inputs, files: Iterable[Path], *, seconds: float, logs: Iterable[Path] = ()
    ) -> None:
        """``logs`` are written by the stage and read by nobody but the report: a damaged one makes nothing anew."""
        digests = {path.relative_to(self.folder).as_posix(): file_digest(path) for path in files}
        entry = {"inputs": inputs, "files": digests, "seconds": round(seconds, 1)}
        written = {path.relative_to(self.folder).as_posix(): file_digest(path) for path in logs if path.is_file()}
        self._write(stage, entry | ({"logs": written} if written else {}))

    def finished(self, stage: str) -> bool:
        return "files" in self._stages.get(stage, {})

    def inputs(self, stage: str) -> Inputs | str | None:
        """What the stage was last started with; a digest of it when an older version of ofa wrote the entry."""
        return self._stages.get(stage, {}).get("inputs")

    def seconds(self, stage: str) -> float:
        """How long a finished stage took when it last ran; 0 when that is not known."""
        seconds = self._stages.get(stage, {}).get("seconds")
        return float(seconds) if isinstance(seconds, int | float) else 0.0

    def outputs(self, stage: str) -> dict[str, str]:
        """The files of a finished stage and their digests."""
        return self._stages[stage]["files"]

    def broken(self, stage: str) -> list[Path]:
        """Files of a finished stage that are gone or are not what it wrote."""
        return self._broken(stage, "files")

    def broken_logs(self, stage: str) -> list[Path]:
        """Logs of a finished stage that are there and are not what it wrote."""
        return [path for path in self._broken(stage, "logs") if path.exists()]

    def allow(self, stages: Iterable[str]) -> None:
        """The user said ``--update``: these stages may discard what they made, now or in a later call."""
        known = [stage for stage in stages if stage in self._stages]
        for stage in known:
            self._stages[stage]["update"] = True
        if known:
            self._save()

    def allowed(self, stage: str) -> bool:
        return bool(self._stages.get(stage, {}).get("update"))

    def settle(self, stage: str) -> None:
        """A stage that need not run again: what the user once allowed is over."""
        if self._stages[stage].pop("update", None):
            self._save()

    def mend(self) -> str | None:
        """Writes a damaged or missing ``run.json`` anew; says what it did, or None when there was nothing to do."""
        problem, there = self.problem, os.path.lexists(self.path)
        if not problem and not _same(self.path, self.folder / COPY):
            self._save()
        if not problem or (self.lost and not there):
            return None  # a new folder has none
        aside = f"moved to {self._put_aside().name}" if there else "gone"
        instead = "all stages run again" if self.lost else f"{COPY} is taken instead"
        self._save()
        return f"{problem}: {aside}, {instead}"

    def _put_aside(self) -> Path:
        return quarantine(self.path, "damaged")

    def forget(self, stages: Iterable[str]) -> None:
        """As if they had never been started."""
        for stage in stages:
            del self._stages[stage]
        self._save()

    def _broken(self, stage: str, key: str) -> list[Path]:
        names = self._stages[stage].get(key, {})
        paths = {inside(self.folder, name): wanted for name, wanted in names.items()}
        return [path for path, wanted in paths.items() if not path.is_file() or file_digest(path) != wanted]

    def _write(self, stage: str, entry: dict[str, Any]) -> None:
        self._stages[stage] = entry
        self._save()

    def _save(self) -> None:
        if self.problem and os.path.lexists(self.path):
            self._put_aside()
        self.problem, self.lost = None, False
        values = {**self._stages, _DIGEST: digest(self._stages)}
        write_json(self.path, values)
        write_json(self.folder / COPY, values)


def _same(path: Path, copy: Path) -> bool:
    try:
        return path.read_bytes() == copy.read_bytes()
    except OSError:
        return False


def _entries(folder: Path, path: Path) -> dict[str, dict[str, Any]]:
    """Raises ``ValueError`` when it is not what ``RunManifest`` writes."""
    stages = read_json(path)
    wanted = stages.pop(_DIGEST, None) if isinstance(stages, dict) else None
    whole = isinstance(stages, dict) and all(_is_entry(entry) for entry in stages.values())
    if not whole or (wanted is not None and wanted != digest(stages)):
        raise ValueError(f"{path} is damaged: it is not what was written")
    for entry in stages.values():
        for name in (*entry.get("files", {}), *entry.get("logs", {})):
            inside(folder, name)
    return stages


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("inputs"), dict | str)
        and all(
            isinstance(files, dict) and all(isinstance(one, str) for one in files.values())
            for files in (entry.get("files", {}), entry.get("logs", {}))
        )
    )


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        sha = hashlib.sha256()
        while chunk := file.read(1 << 20):
            sha.update(chunk)
        return sha.hexdigest()
