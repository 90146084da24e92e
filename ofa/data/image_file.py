"""Reads a user's image file safely, for training, evaluation and checks alike.

Files that are no images or need too much memory are refused, with a reason, before their pixels are
decoded. Colour profiles (ICC) and gain maps (HDR) are ignored. Of several frames or pages the first is
used.
"""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageFile

from ofa.data.preprocess import as_seen
from ofa.data.readers.formats import NOT_PICTURES, register_plugins

# Pillow's own limit for decompression bombs: a quarter of a GB as 8-bit RGB.
MAX_PIXELS = 89_478_485
MAX_BYTES = 2**30
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
# Images without a level above 15 of 255 are often 12-bit images stored in 16-bit files.
_NEARLY_BLACK = 15


class UnreadableImage(Exception):
    """An image cannot be read; the message says why, in a few words and without the path."""


@dataclass(frozen=True)
class Problem:
    """What is wrong with an image. If it is not ``unreadable``, it can be used and is only worth a look."""

    unreadable: bool
    reason: str


def read_image(path: Path, mode: str) -> Image.Image:
    """The image as people see it (``as_seen``), in PIL's ``mode``, "RGB" or "L".

    Raises ``UnreadableImage`` and nothing else.
    """
    try:
        with _strict_and_quiet(), _regular_file(path) as file, _opened(file) as image:
            seen = _decoded(image)
            # Copied if need be: closing the file frees its own image's pixels.
            return seen.convert(mode) if seen is image or seen.mode != mode else seen
    except UnreadableImage:
        raise
    except Image.DecompressionBombError as error:
        raise UnreadableImage(
            f"more pixels than Pillow decodes; make it smaller than {MAX_PIXELS / 1e6:.0f} million"
        ) from error
    except Exception as error:  # a damaged file makes PIL raise nearly anything
        raise UnreadableImage(getattr(error, "strerror", None) or str(error) or type(error).__name__) from error


def problem_of(path: Path) -> Problem | None:
    """Decodes the image at ``path`` and says what is wrong with it: unreadable, of one colour, or nearly black."""
    try:
        image = read_image(path, "RGB")
    except UnreadableImage as error:
        return Problem(True, str(error))
    lightest = max(high for _, high in image.getextrema())
    if all(low == high for low, high in image.getextrema()):
        return Problem(False, "all its pixels have one colour, #{:02x}{:02x}{:02x}".format(*image.getpixel((0, 0))))
    if lightest <= _NEARLY_BLACK:
        return Problem(
            False, f"nearly black: its levels end at {lightest} of 255; scale 16-bit files to their full range"
        )
    return None


def _decoded(image: Image.Image) -> Image.Image:
    """The image as people see it, if it is not too large to decode."""
    width, height = image.size
    if width < 1 or height < 1:
        raise UnreadableImage(f"it has {width} x {height} pixels")
    if width * height > MAX_PIXELS:
        raise UnreadableImage(
            f"{width} x {height} pixels are too many; make it smaller than {MAX_PIXELS / 1e6:.0f} million"
        )
    return as_seen(image)


@contextmanager
def _regular_file(path: Path) -> Iterator[BinaryIO]:
    """The open file. Does not wait for the other end of a pipe, and opens no device."""
    _check_status(path.stat())
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    with os.fdopen(os.open(path, flags), "rb") as file:
        _check_status(os.fstat(file.fileno()))  # it may have been replaced since
        yield file


def _check_status(status: os.stat_result) -> None:
    """Raises ``UnreadableImage`` for all but regular files of a sensible size."""
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableImage(f"{_KINDS.get(stat.S_IFMT(status.st_mode), 'no regular file')}, not a file")
    if status.st_size == 0:
        raise UnreadableImage("an empty file")
    if status.st_size > MAX_BYTES:
        raise UnreadableImage(
            f"{status.st_size / 2**30:.1f} GiB are too many; at most {MAX_BYTES // 2**30} GiB is read"
        )


def _opened(file: BinaryIO) -> Image.Image:
    """The image with its header read, but not its pixels, in any format that the installed Pillow and plugins decode.

    Formats without pixels are excluded. So is EPS, because another program would draw it, and EPS files are
    programs.
    """
    Image.preinit()
    Image.init()
    register_plugins()
    formats = [name for name in Image.ID if name not in NOT_PICTURES]
    try:
        return Image.open(file, formats=formats)
    except Image.UnidentifiedImageError as error:
        file.seek(0)
        start = file.read(16).ljust(16, b"\0")
        known = [name for name in formats if Image.OPEN[name][1] and Image.OPEN[name][1](start) is True]
        if known:
            raise UnreadableImage(f"a damaged {known[0]} image, or one of a kind that Pillow does not read") from error
        raise UnreadableImage("not an image") from error


@contextmanager
def _strict_and_quiet() -> Iterator[None]:
    """Refuses truncated files, whatever other code of this process has set in Pillow, and ignores its warnings."""
    lenient, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = lenient
