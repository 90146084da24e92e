"""Atomic files: written under a temporary name, flushed to disk, then renamed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

MAX_JSON_BYTES = 64 * 2**20  # a report of a long run has one or two


def write_atomic(path: Path, content: bytes | str) -> None:
    """Writes ``content`` to ``path``, which holds either the old or the new content, whatever stops this.

    Raises ``OSError`` (for example, when the disk is full); the old file is then unchanged, and no
    temporary file is left.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, values: Any) -> None:
    """``values`` as indented JSON, atomically."""
    write_atomic(path, json.dumps(values, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises ``ValueError`` naming it when it is no JSON, too large or too deep."""
    path = Path(path)
    if (size := path.stat().st_size) > MAX_JSON_BYTES:
        raise ValueError(f"{path} is damaged: it has {size} bytes, more than {MAX_JSON_BYTES}")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # also UnicodeDecodeError, and a number of thousands of digits
        raise ValueError(f"{path} is damaged: {error}") from error
    except RecursionError:
        raise ValueError(f"{path} is damaged: it is nested too deep") from None
