"""Problems of a run's images, which the run folder stores in ``data/images.json``.

This module imports no torch. The images that a run leaves out are part of the inputs of its stages, which
are compared before anything else is done.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ofa.errors import UserError
from ofa.supernet.files import read_json

FINDINGS = Path("data", "images.json")


@dataclass(frozen=True)
class Finding:
    """What is wrong with an image.

    Attributes:
        image: its path in the data's folder.
        unreadable: if not, the image is only worth a look.
        key: a hash of its name, size and time.
        content: a digest of an unreadable image's content.
    """

    split: str
    image: str
    reason: str
    unreadable: bool
    key: int = 0
    content: str = ""


def unreadable_images(folder: Path) -> dict[str, str]:
    """The images that a run leaves out, and the digest of each; none before the images were read.

    Raises ``UserError`` when the stored file is damaged.
    """
    try:
        return {finding.image: finding.content for finding in stored_findings(folder) if finding.unreadable}
    except ValueError as error:
        raise UserError(f"{error}; delete that file, and the images are checked again") from error


def stored_findings(folder: Path) -> list[Finding]:
    """All problems that a run has stored. Raises ``ValueError`` when the file is damaged."""
    path = folder / FINDINGS
    if not path.exists():
        return []
    try:
        return [Finding(**row) for row in read_json(path)["findings"]]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged: it is not what was written") from error
