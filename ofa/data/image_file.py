"""A user's image file, read safely: the one decoder of training, evaluation and checks.

What is no image, or would take too much of the machine, is refused with a reason before its pixels are decoded.
Colour profiles (ICC) and gain maps (HDR) are left alone; of several frames or pages the first is taken.
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

# Beyond it Pillow, too, speaks of decompression bombs: a quarter of a GB as 8-bit RGB.
MAX_PIXELS = 89_478_485
MAX_BYTES = 2**30
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
# Grey levels of 0..15 of 255: a 12-bit camera's numbers in a 16-bit file that does not say so.
_NEARLY_BLACK = 15


class UnreadableImage(Exception):
    """Why an image cannot be read, in a few words without the path."""


@dataclass(frozen=True)
class Problem:
    """What is wrong with an image. One that is ``unreadable`` cannot be used; others are only worth a look."""

    unreadable: bool
    reason: str


def read_image(path: Path, mode: str) -> Image.Image:
    """The image as people see it (``as_seen``), in PIL's ``mode``, "RGB" or "L".

    Raises ``UnreadableImage`` and nothing else.
    """
    try:
        with _strict_and_quiet(), _regular_file(path) as file, _opened(file) as image:
            seen = _decoded(image)
            # A copy where need be: the file's own pixels go with it.
            return seen.convert(mode) if seen is image or seen.mode != mode else seen
    except UnreadableImage:
        raise
    except Exception as error:  # a damaged file makes PIL raise nearly anything
        raise UnreadableImage(_reason(error)) from error


def problem_of(path: Path) -> Problem | None:
    """What is wrong with the image at ``path``: it cannot be read, or it shows nothing. Costs one decoding."""
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
    """The open file. Never waits for a pipe's other end, nor opens a device."""
    _accept(path.stat())
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    with os.fdopen(os.open(path, flags), "rb") as file:
        _accept(os.fstat(file.fileno()))  # it may have been exchanged
        yield file


def _accept(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise UnreadableImage(f"{_KINDS.get(stat.S_IFMT(found.st_mode), 'no regular file')}, not a file")
    if found.st_size == 0:
        raise UnreadableImage("an empty file")
    if found.st_size > MAX_BYTES:
        raise UnreadableImage(f"{found.st_size / 2**30:.1f} GiB are too many; at most {MAX_BYTES // 2**30} GiB is read")


def _opened(file: BinaryIO) -> Image.Image:
    """With its header read, not its pixels. Formats are those that Pillow reads here, plugins included.

    What holds no pixels is left out, and EPS: another program would draw it, at the command of the file's author.
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
    """Half a file is no image, whatever other code of this process asks of Pillow. Its warnings are judged here."""
    lenient, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = lenient


def _reason(error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError):
        return f"more pixels than Pillow decodes; make it smaller than {MAX_PIXELS / 1e6:.0f} million"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
