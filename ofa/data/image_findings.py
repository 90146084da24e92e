"""What is known to be wrong with the images of a run, as ``data/images.json`` of its folder tells.

This module imports no torch: which images a run leaves out is part of what its stages are made from.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ofa.errors import UserError
from ofa.supernet.files import read_json

FINDINGS = Path("data", "images.json")


@dataclass(frozen=True)
class Finding:
    """What is wrong with an image: it is ``unreadable``, or only worth a look. ``image`` is its path in the data's
    folder, ``key`` stands for its name, size and time, ``content`` is a digest of an unreadable one."""

    split: str
    image: str
    reason: str
    unreadable: bool
    key: int = 0
    content: str = ""


def unreadable_images(folder: Path) -> dict[str, str]:
    """The images that a run leaves out, and the digest of each; none before they were read.

    Raises ``UserError`` when that is damaged.
    """
    try:
        return {finding.image: finding.content for finding in stored_findings(folder) if finding.unreadable}
    except ValueError as error:
        raise UserError(f"{error}; delete that file, and the images are checked again") from error


def stored_findings(folder: Path) -> list[Finding]:
    """Raises ``ValueError`` when the file is not what was written."""
    path = folder / FINDINGS
    if not path.exists():
        return []
    try:
        return [Finding(**row) for row in read_json(path)["findings"]]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged: it is not what was written") from error
