"""The endings of image files: those of all formats that the installed Pillow decodes."""

from __future__ import annotations

from functools import cache
from pathlib import PurePath

from PIL import Image

# Vector graphics, films and containers: Pillow registers them, but needs other programs or cannot decode
# them at all.
NOT_PICTURES = frozenset({"BUFR", "EPS", "FLI", "GRIB", "HDF5", "MPEG", "PDF", "WMF"})
# Endings that need a plugin, with the command that installs it.
PLUGINS = dict.fromkeys((".heic", ".heics", ".heif", ".heifs", ".hif"), "pip install pillow-heif")


@cache
def image_endings() -> frozenset[str]:
    """The endings of image files, in lower case and with their dot."""
    register_plugins()
    return frozenset(
        ending
        for ending, name in Image.registered_extensions().items()
        if name in Image.OPEN and name not in NOT_PICTURES
    )


@cache
def register_plugins() -> None:
    """Registers pillow-heif, if it is installed. Every process that decodes has to call this."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return
    register_heif_opener()


def ending(name: str) -> str:
    """The ending of a file's name in lower case, with its dot; empty for none."""
    return PurePath(name).suffix.lower()
