"""Which files are images: whatever the installed Pillow decodes, by their endings."""

from __future__ import annotations

from functools import cache
from pathlib import PurePath

from PIL import Image

# Drawings, films and containers that Pillow registers, but draws with other programs or cannot decode at all.
NOT_PICTURES = frozenset({"BUFR", "EPS", "FLI", "GRIB", "HDF5", "MPEG", "PDF", "WMF"})
# What a plugin decodes, and where to get it.
PLUGINS = dict.fromkeys((".heic", ".heics", ".heif", ".heifs", ".hif"), "pip install pillow-heif")


@cache
def image_endings() -> frozenset[str]:
    """Endings in lower case, with their dot."""
    register_plugins()
    return frozenset(
        ending
        for ending, name in Image.registered_extensions().items()
        if name in Image.OPEN and name not in NOT_PICTURES
    )


@cache
def register_plugins() -> None:
    """Lets Pillow use pillow-heif where that is installed. To be called in every process that decodes."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return
    register_heif_opener()


def ending(name: str) -> str:
    """The ending of a file's name in lower case, with its dot; empty for none."""
    return PurePath(name).suffix.lower()
