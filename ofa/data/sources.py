"""The sources of images: the embedded digits, idx files, or a folder of images. Their readers are in ``readers``.

Splits depend on the images' names alone, not on a run (``ofa.data.readers.splits``). So a test image never
becomes a training image because a run has another seed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ofa.data.readers.digits import digits_source
from ofa.data.readers.idx import idx_source
from ofa.data.readers.image_folder import folder_source
from ofa.data.readers.source import Source

if TYPE_CHECKING:
    from ofa.config.data import DataConfig


def open_source(config: DataConfig, *, resolution: int) -> Source:
    """The images that ``data:`` names; ``resolution`` is the size of the embedded digits.

    Raises ``UserError`` when they are missing, inconsistent or cannot be split.
    """
    if config.folder is not None:
        options = {"val_fraction": config.val_fraction, "test_fraction": config.test_fraction, "test": config.test}
        return folder_source(Path(config.folder), **options)
    if config.idx is not None:
        return idx_source(Path(config.idx), val_fraction=config.val_fraction, test_fraction=config.test_fraction)
    return digits_source(resolution)
