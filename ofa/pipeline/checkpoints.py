"""The last few checkpoints of a training run, on disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from ofa.config.train import CheckpointConfig
from ofa.pipeline import distributed
from ofa.pipeline.run_folder import quarantine
from ofa.supernet.training.checkpoint import Checkpoint, from_bytes, read_checkpoint, to_bytes, write_checkpoint

KEPT = 3
PATTERN = "checkpoint-*.safetensors"


def newest(folder: Path) -> Checkpoint | None:
    """The newest whole checkpoint. A damaged one is moved aside, named, and the one before it is taken."""
    paths = sorted(folder.glob(PATTERN), reverse=True)
    for number, path in enumerate(paths):
        try:
            return read_checkpoint(path)
        except (ValueError, IsADirectoryError) as error:
            aside = quarantine(path, "damaged")
            rest = f"training goes on from {paths[number + 1].name}" if paths[number + 1 :] else "training starts anew"
            print(f"{error}: moved to {aside.name}, {rest}", flush=True)
    return None


def newest_on_every_rank(folder: Path) -> Checkpoint | None:
    """Rank 0's newest whole checkpoint; every rank must call it."""
    found = newest(folder) if distributed.rank() == 0 else None
    if distributed.world_size() == 1:
        return found
    content = distributed.broadcast_bytes(to_bytes(found) if found else None)
    return from_bytes(content) if content else None


def write(folder: Path, checkpoint: Checkpoint) -> None:
    """Atomically; then removes all but the last few."""
    write_checkpoint(folder / f"checkpoint-{checkpoint.global_step:09d}.safetensors", checkpoint)
    for old in sorted(folder.glob(PATTERN))[:-KEPT]:
        old.unlink()


def writing(folder: Path, config: CheckpointConfig) -> tuple[Callable[[Checkpoint], None], Callable[[int], bool]]:
    """What writes a checkpoint, and whether one is due after a step."""
    timer = Timer(steps=config.steps, minutes=config.minutes)

    def save(checkpoint: Checkpoint) -> None:
        write(folder, checkpoint)
        timer.written()

    return save, timer.due


class Timer:
    """When the next checkpoint between two epochs is due: after so many steps, or minutes."""

    def __init__(self, *, steps: int | None, minutes: float | None) -> None:
        self._steps, self._seconds, self._last = steps, None if minutes is None else 60 * minutes, time.monotonic()

    def due(self, step: int) -> bool:
        if self._steps and step % self._steps == 0:
            return True
        return self._seconds is not None and time.monotonic() - self._last >= self._seconds

    def written(self) -> None:
        self._last = time.monotonic()
