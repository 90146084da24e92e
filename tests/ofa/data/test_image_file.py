"""Files that are no images are refused before they are decoded; images of one colour are reported."""

import os
import re
import socket
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from ofa.data.image_file import MAX_PIXELS, Problem, UnreadableImage, problem_of, read_image

RGB = np.random.default_rng(1).integers(0, 256, (9, 14, 3), dtype=np.uint8)
DEEP = np.random.default_rng(0).integers(0, 65536, (9, 14), dtype=np.uint16)


# -- refused ----------------------------------------------------------------------------------------------------------


def bomb(width, height):
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    chunks = (struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def jpeg_half(path):
    Image.fromarray(np.tile(RGB, (20, 20, 1))).save(path)
    path.write_bytes(path.read_bytes()[:1500])


def listening(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def sparse(path):
    with path.open("wb") as file:
        file.truncate(2**33)


REFUSED = {
    "named pipe": (os.mkfifo, "a named pipe, not a file"),
    "socket": (listening, "a socket, not a file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "a device, not a file"),
    "folder": (lambda path: path.mkdir(), "a folder, not a file"),
    "nothing": (lambda path: None, "No such file"),
    "dead link": (lambda path: path.symlink_to("nowhere"), "No such file"),
    "circle of links": (lambda path: path.symlink_to(path), "symbolic links"),
    "empty": (lambda path: path.touch(), "an empty file"),
    "text": (lambda path: path.write_text("<html>not found</html>"), "not an image"),
    "unknown kind": (lambda path: path.write_bytes(b"II*\0" + bytes(40)), "a damaged TIFF image, or one of a kind"),
    "huge file": (sparse, r"8\.0 GiB are too many"),
    "half a file": (jpeg_half, "truncated"),
    "large": (lambda path: path.write_bytes(bomb(9460, 9460)), "9460 x 9460 pixels are too many; .*89 million"),
    "bomb": (lambda path: path.write_bytes(bomb(50_000, 50_000)), "more pixels than Pillow decodes; .*89 million"),
    "program": (lambda path: Image.fromarray(RGB).save(path, "EPS"), "not an image"),
    "no pixels": (lambda path: path.write_bytes(b"P5 0 4 255\n"), "a damaged PPM image, or|0 x 4 pixels"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_image_is_refused_at_once_with_a_reason(tmp_path, name, monkeypatch):
    make, reason = REFUSED[name]
    path = tmp_path / "x.jpg"
    make(path)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # whatever other code wants
    began = time.process_time()
    with pytest.raises(UnreadableImage, match=reason) as refused:
        read_image(path, "RGB")
    assert time.process_time() - began < 1
    assert "\n" not in str(refused.value) and ImageFile.LOAD_TRUNCATED_IMAGES
    assert problem_of(path) == Problem(True, str(refused.value))


def test_the_largest_image_has_as_many_pixels_as_pillow_allows_without_a_warning():
    assert MAX_PIXELS == Image.MAX_IMAGE_PIXELS


FORMATS = {
    "JPEG": {},
    "PNG": {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"},
    "WEBP": {"lossless": True},
    "GIF": {"save_all": True, "append_images": [Image.new("RGB", (14, 9))]},
    "TIFF": {"compression": "tiff_lzw"},
    "BMP": {},
    "AVIF": {},
    "PPM": {},
    "JPEG2000": {},
    "ICO": {"sizes": [(14, 9)]},
}


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_images_are_read_or_refused_with_a_reason(tmp_path, name):
    """``benchmarks/fuzz_images.py`` tries more of them, in processes of their own."""
    path = tmp_path / "image"
    Image.fromarray(RGB).save(path, name, **FORMATS[name])
    sound, rng = path.read_bytes(), np.random.default_rng(len(name))
    assert sorted(read_image(path, "RGB").size) == [9, 14]
    outcomes = {True: 0, False: 0}
    began = time.process_time()
    for number in range(60):
        data = np.frombuffer(sound, np.uint8).copy()
        if number % 3 == 0:
            data = data[: rng.integers(len(data))]
        else:
            places = rng.integers(0, len(data) if number % 3 == 1 else 64, 4) % len(data)
            data[places] = rng.choice([0, 1, 0x7F, 0x80, 0xFF], 4)
        path.write_bytes(data.tobytes())
        try:
            image = read_image(path, "L")
        except UnreadableImage as error:
            assert str(error) and "\n" not in str(error)
            outcomes[False] += 1
        else:
            assert image.mode == "L" and image.width * image.height <= MAX_PIXELS
            outcomes[True] += 1
    assert outcomes[False] and time.process_time() - began < 10


# -- named ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda path: Image.fromarray(RGB).save(path), None),
        (lambda path: Image.new("RGB", (4, 5), "#12ab00").save(path), "one colour, #12ab00"),
        (lambda path: Image.new("RGBA", (4, 5)).save(path), "one colour, #ffffff"),
        (lambda path: Image.new("L", (1, 1), 7).save(path), "one colour, #070707"),
        (lambda path: Image.fromarray(DEEP >> 4).save(path), "levels end at 15 of 255"),
        (lambda path: Image.fromarray(DEEP >> 3).save(path), None),
    ],
)
def test_images_that_show_nothing_are_named(tmp_path, write, reason):
    path = tmp_path / "image.png"
    write(path)
    found = problem_of(path)
    if reason is None:
        assert found is None
    else:
        assert not found.unreadable and re.search(reason, found.reason)
