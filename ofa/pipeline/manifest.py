"""What a run folder holds: which stages are finished, made from what, and what their files were."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ofa.errors import UserError
from ofa.pipeline.artefacts.run import Inputs, StageEntry
from ofa.pipeline.run_folder import inside, quarantine
from ofa.supernet.files import read_json, write_json

NAME, COPY = "run.json", "run.copy.json"
FORMAT = 1  # which has no key that says it
_DIGEST = "digest"  # the key beside the stages


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
        self._stages: dict[str, StageEntry] = {}
        self.problem: str | None = None
        self.lost = True
        for name in (NAME, COPY):
            try:
                self._stages, self.lost = _entries(folder, folder / name), False
                break
            except FileNotFoundError:
                problem = f"{folder / name} is missing"
            except (OSError, ValueError) as error:
                problem = str(error)
            self.problem = self.problem or problem

    def start(self, stage: str, inputs: Inputs) -> None:
        self._write(stage, StageEntry(inputs=inputs))

    def finish(
        self, stage: str, inputs: Inputs, files: Iterable[Path], *, seconds: float, logs: Iterable[Path] = ()
    ) -> None:
        """``logs`` are written by the stage and read by nobody but the report: a damaged one makes nothing anew."""
        entry = StageEntry(
            inputs=inputs,
            files={path.relative_to(self.folder).as_posix(): file_digest(path) for path in files},
            logs={path.relative_to(self.folder).as_posix(): file_digest(path) for path in logs if path.is_file()},
            seconds=round(seconds, 1),
        )
        self._write(stage, entry)

    def finished(self, stage: str) -> bool:
        return stage in self._stages and self._stages[stage].files is not None

    def inputs(self, stage: str) -> Inputs | str | None:
        """What the stage was last started with; a digest of it when an older version of ofa wrote the entry."""
        return self._stages[stage].inputs if stage in self._stages else None

    def seconds(self, stage: str) -> float:
        """How long a finished stage took when it last ran; 0 when that is not known."""
        return (self._stages[stage].seconds or 0.0) if stage in self._stages else 0.0

    def outputs(self, stage: str) -> dict[str, str]:
        """The files of a finished stage and their digests."""
        return self._stages[stage].files

    def broken(self, stage: str) -> list[Path]:
        """Files of a finished stage that are gone or are not what it wrote."""
        return self._broken(self._stages[stage].files)

    def broken_logs(self, stage: str) -> list[Path]:
        """Logs of a finished stage that are there and are not what it wrote."""
        return [path for path in self._broken(self._stages[stage].logs) if path.exists()]

    def allow(self, stages: Iterable[str]) -> None:
        """The user said ``--update``: these stages may discard what they made, now or in a later call."""
        known = [stage for stage in stages if stage in self._stages]
        for stage in known:
            self._stages[stage] = self._stages[stage].model_copy(update={"update": True})
        if known:
            self._save()

    def allowed(self, stage: str) -> bool:
        return stage in self._stages and self._stages[stage].update

    def settle(self, stage: str) -> None:
        """A stage that need not run again: what the user once allowed is over."""
        if self._stages[stage].update:
            self._stages[stage] = self._stages[stage].model_copy(update={"update": False})
            self._save()

    def repair(self) -> str | None:
        """Writes a damaged or missing ``run.json`` anew; says what it did, or None when there was nothing to do."""
        problem, there = self.problem, os.path.lexists(self.path)
        if not problem and not _same(self.path, self.folder / COPY):
            self._save()
        if not problem or (self.lost and not there):
            return None  # a new folder has none
        aside = f"moved to {self._quarantine().name}" if there else "gone"
        instead = "all stages run again" if self.lost else f"{COPY} is taken instead"
        self._save()
        return f"{problem}: {aside}, {instead}"

    def _quarantine(self) -> Path:
        return quarantine(self.path, "damaged")

    def forget(self, stages: Iterable[str]) -> None:
        """As if they had never been started."""
        for stage in stages:
            del self._stages[stage]
        self._save()

    def _broken(self, digests: dict[str, str]) -> list[Path]:
        paths = {inside(self.folder, name): expected for name, expected in digests.items()}
        return [path for path, expected in paths.items() if not path.is_file() or file_digest(path) != expected]

    def _write(self, stage: str, entry: StageEntry) -> None:
        self._stages[stage] = entry
        self._save()

    def _save(self) -> None:
        if self.problem and os.path.lexists(self.path):
            self._quarantine()
        self.problem, self.lost = None, False
        stages = {name: entry.to_dict() for name, entry in self._stages.items()}
        values = {**stages, _DIGEST: digest(stages)}
        write_json(self.path, values)
        write_json(self.folder / COPY, values)


def _same(path: Path, copy: Path) -> bool:
    try:
        return path.read_bytes() == copy.read_bytes()
    except OSError:
        return False


def _entries(folder: Path, path: Path) -> dict[str, StageEntry]:
    """Raises ``ValueError`` when it is not what ``RunManifest`` writes, ``UserError`` when a newer version wrote it."""
    values = read_json(path)
    damaged = f"{path} is damaged: it is not what was written"
    if not isinstance(values, dict):
        raise ValueError(damaged)
    if isinstance(number := values.pop("format", FORMAT), int) and number > FORMAT:
        raise UserError(
            f"{path} is of format {number}, which a newer version of once-for-all writes (this one reads up to "
            f"{FORMAT}); go on with that version"
        )
    expected = values.pop(_DIGEST, None)
    if expected is not None and expected != digest(values):
        raise ValueError(damaged)
    try:
        stages = {name: StageEntry.model_validate(entry) for name, entry in values.items()}
    except ValidationError as error:
        raise ValueError(damaged) from error
    for entry in stages.values():
        for name in (*(entry.files or {}), *entry.logs):
            inside(folder, name)
    return stages


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        sha = hashlib.sha256()
        while chunk := file.read(1 << 20):
            sha.update(chunk)
        return sha.hexdigest()
