"""People and networks see the same pixels, whatever the file: upright, on white, deep pixels scaled, first frame."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from ofa.data.image_file import UnreadableImage, read_image


def scene(width: int, height: int, seed: int = 0) -> np.ndarray:
    """Colours that no turn or flip leaves alone, uint8 ``(height, width, 3)``."""
    rng = np.random.default_rng([seed, width, height])
    coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


def png(path: Path, levels: np.ndarray, *, colour: int, bits: int = 16, transparent: tuple[int, ...] = ()) -> None:
    """A PNG of ``(height, width, channels)`` levels; ``colour`` is the type that the standard numbers."""
    height, width = levels.shape[:2]
    rows = levels.astype(">u2" if bits == 16 else "u1")
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))]
    if transparent:
        parts.append((b"tRNS", struct.pack(f">{len(transparent)}H", *transparent)))
    parts += [(b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    chunks = (struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in parts)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


def tiff(path: Path, levels: np.ndarray, *, bits: int, kind: int = 1, photometric: int = 1) -> None:
    """A grey little-endian TIFF. ``kind`` 1 is unsigned, 2 signed, 3 float; 12 bits are packed, two levels a triple."""
    height, width = levels.shape
    if bits == 12:
        assert width % 2 == 0
        one, two = levels[:, ::2].astype(np.uint16), levels[:, 1::2].astype(np.uint16)
        data = np.stack([one >> 4, (one & 15) << 4 | two >> 8, two & 255], axis=-1).astype(np.uint8).tobytes()
    else:
        data = levels.astype({1: "<u", 2: "<i", 3: "<f"}[kind] + str(bits // 8)).tobytes()
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: height}
    tags |= {279: len(data), 339: kind}
    table = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in sorted(tags.items()))
    header = struct.pack("<2sHI", b"II", 42, 8 + len(data))
    path.write_bytes(header + data + struct.pack("<H", len(tags)) + table + bytes(4))


def oriented(path: Path, pixels: np.ndarray, orientation: int, *, how: str = "exif") -> None:
    """``pixels`` as they lie in the file, with the mark how to turn them: ``exif``, or ``xmp`` as some programs do."""
    exif = Image.Exif()
    exif[0x112] = orientation
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>' % orientation
    Image.fromarray(pixels).save(path, **FINE.get(path.suffix, {}), **{how: exif if how == "exif" else xmp})


# The options with which a format changes colours least.
FINE = {
    ".avif": {"quality": 100, "subsampling": "4:4:4"},
    ".jpg": {"quality": 100, "subsampling": 0},
    ".webp": {"lossless": True},
}
RGB = scene(14, 9)
GREY = np.asarray(Image.fromarray(RGB).convert("L"))
ALPHA = np.tile(np.linspace(0, 255, 14).astype(np.uint8), (9, 1))
DEEP = np.random.default_rng(0).integers(0, 65536, (9, 14), dtype=np.uint16)


def pixels(path, mode="RGB"):
    return np.asarray(read_image(path, mode)).astype(int)


def difference(found, expected):
    assert found.shape == expected.shape
    return np.abs(found - expected.astype(int)).max()


# -- upright ----------------------------------------------------------------------------------------------------------

UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a.swapaxes(0, 1)[::-1],
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize(
    ("suffix", "how"),
    [(".jpg", "exif"), (".png", "exif"), (".webp", "exif"), (".tif", "exif"), (".avif", "exif"), (".jpg", "xmp")],
)
def test_an_image_is_turned_as_its_file_says(tmp_path, orientation, suffix, how):
    path = tmp_path / f"photo{suffix}"
    oriented(path, RGB, orientation, how=how)
    with Image.open(path) as image:
        lossy = np.asarray(image.convert("RGB")) if suffix != ".tif" else RGB
    expected = UPRIGHT[orientation](RGB if suffix == ".avif" else lossy)
    assert difference(pixels(path), expected) <= (25 if suffix == ".avif" else 0)


def test_damaged_exif_leaves_the_pixels_as_they_lie(tmp_path):
    path = tmp_path / "photo.png"
    for exif in (b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01", b"Exif\0\0nonsense", b"Exif\0\0"):
        Image.fromarray(RGB).save(path, exif=exif)
        assert difference(pixels(path), RGB) == 0


# -- transparency -----------------------------------------------------------------------------------------------------


def on_white(colours, alpha):
    share = alpha[..., None] / 255
    return np.rint(colours * share + 255 * (1 - share))


def rgba():
    return Image.fromarray(np.dstack([RGB, ALPHA]))


def grey_alpha():
    return Image.merge("LA", (Image.fromarray(GREY), Image.fromarray(ALPHA)))


def palette():
    image = Image.fromarray(RGB).quantize(8)
    return image, np.asarray(image), np.asarray(image.convert("RGB"))


def partly(mask, colours):
    return np.where(mask[..., None], 255, colours)


def palette_case(path, how):
    image, index, colours = palette()
    if how == "one":
        image.save(path, transparency=3)
        return partly(index == 3, colours)
    alphas = np.array([0, 255, 128, 7, 200, 255, 90, 255], np.uint8)
    image.save(path, transparency=alphas.tobytes())
    return on_white(colours, alphas[index])


def flat_colour(mode):
    """An image of which the darkest pixel's colour is said to be transparent, and that pixel's place."""
    pixels = RGB if mode == "RGB" else GREY
    return Image.fromarray(pixels), tuple(map(int, RGB[2, 3])) if mode == "RGB" else int(GREY[2, 3])


def transparent_colour(path, mode):
    image, colour = flat_colour(mode)
    image.save(path, transparency=colour)
    shown = np.asarray(image.convert("RGB"))
    mask = (colour == RGB).all(axis=-1) if mode == "RGB" else colour == GREY
    return partly(mask, shown)


def deep_png(path, *, colour):
    if colour == "grey":
        png(path, DEEP, colour=0, transparent=(int(DEEP[1, 1]),))
        grey = np.where(DEEP[1, 1] == DEEP, 255, DEEP >> 8)
        return np.dstack([grey] * 3)
    levels = np.dstack([DEEP, DEEP.T.reshape(DEEP.shape), DEEP[::-1]])
    if colour == "rgb":
        png(path, levels, colour=2, transparent=tuple(map(int, levels[4, 4])))
        return partly((levels >> 8 == levels[4, 4] >> 8).all(axis=-1), levels >> 8)
    deep_alpha = ALPHA.astype(np.uint16) * 257
    if colour == "grey alpha":
        png(path, np.dstack([DEEP, deep_alpha]), colour=4)
        return on_white(np.dstack([DEEP >> 8] * 3), ALPHA)
    png(path, np.dstack([levels, deep_alpha]), colour=6)
    return on_white(levels >> 8, ALPHA)


def premultiplied_tiff(path):
    """Grey with premultiplied alpha: the mode "La", which few functions of Pillow know."""
    levels = np.dstack([(GREY * (ALPHA / 255)).astype(np.uint8), ALPHA])
    Image.fromarray(np.ascontiguousarray(levels), "LA").save(path)
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<HHIHH", 338, 3, 1, 2, 0), struct.pack("<HHIHH", 338, 3, 1, 1, 0)))
    with Image.open(path) as image:
        assert image.mode == "La"
    return on_white(np.dstack([GREY] * 3), ALPHA)


def saved(image, expected, **options):
    def write(path):
        image.save(path, **options)
        return expected

    return write


TRANSPARENT = {
    "rgba.png": saved(rgba(), on_white(RGB, ALPHA)),
    "rgba.tif": saved(rgba(), on_white(RGB, ALPHA)),
    "rgba.webp": saved(rgba(), on_white(RGB, ALPHA), lossless=True, exact=True),
    "rgba.tga": saved(rgba(), on_white(RGB, ALPHA)),
    "la.png": saved(grey_alpha(), on_white(np.dstack([GREY] * 3), ALPHA)),
    "premultiplied.tif": premultiplied_tiff,
    "palette.png": lambda path: palette_case(path, "one"),
    "palette.gif": lambda path: palette_case(path, "one"),
    "palette_alphas.png": lambda path: palette_case(path, "many"),
    "grey_colour.png": lambda path: transparent_colour(path, "L"),
    "rgb_colour.png": lambda path: transparent_colour(path, "RGB"),
    "deep_grey_colour.png": lambda path: deep_png(path, colour="grey"),
    "deep_rgb_colour.png": lambda path: deep_png(path, colour="rgb"),
    "deep_grey_alpha.png": lambda path: deep_png(path, colour="grey alpha"),
    "deep_rgba.png": lambda path: deep_png(path, colour="rgba"),
}


@pytest.mark.parametrize("name", TRANSPARENT)
def test_what_is_transparent_lies_on_white(tmp_path, name):
    expected = TRANSPARENT[name](tmp_path / name)
    assert difference(pixels(tmp_path / name), expected) <= (2 if "premultiplied" in name else 1)
    grey = np.asarray(Image.fromarray(expected.astype(np.uint8)).convert("L"))
    assert difference(pixels(tmp_path / name, "L"), grey) <= (2 if "premultiplied" in name else 1)


# -- deep pixels ------------------------------------------------------------------------------------------------------


def big_endian_tiff(path):
    tiff(path, DEEP, bits=16)
    header = struct.pack(">2sHI", b"MM", 42, 8 + DEEP.nbytes)
    tags = {256: 14, 257: 9, 258: 16, 259: 1, 262: 1, 273: 8, 277: 1, 278: 9, 279: DEEP.nbytes}
    table = b"".join(struct.pack(">HHIHH", tag, 3, 1, value, 0) for tag, value in tags.items())
    path.write_bytes(header + DEEP.astype(">u2").tobytes() + struct.pack(">H", len(tags)) + table + bytes(4))


def pgm(path, levels, white):
    path.write_bytes(b"P5 14 9 %d\n" % white + levels.astype(">u2").tobytes())


def pfm(path, levels):
    path.write_bytes(b"Pf\n14 9\n-1.0\n" + levels[::-1].astype("<f4").tobytes())


DEEP_FILES = {
    "grey.png": (lambda path: png(path, DEEP, colour=0), DEEP >> 8),
    "grey.tif": (lambda path: tiff(path, DEEP, bits=16), DEEP >> 8),
    "big_endian.tif": (big_endian_tiff, DEEP >> 8),
    "twelve_bits.tif": (lambda path: tiff(path, DEEP >> 4, bits=12), DEEP >> 8),
    "grey.jp2": (lambda path: Image.fromarray(DEEP).save(path), DEEP >> 8),
    "grey.pgm": (lambda path: pgm(path, DEEP, 65535), DEEP >> 8),
    "twelve_bits.pgm": (lambda path: pgm(path, DEEP >> 4, 4095), DEEP >> 8),
    "float.tif": (lambda path: tiff(path, DEEP / 65535, bits=32, kind=3), np.rint(DEEP / 257)),
    "float.pfm": (lambda path: pfm(path, DEEP / 65535), np.rint(DEEP / 257)),
}


@pytest.mark.parametrize("name", DEEP_FILES)
def test_deep_pixels_are_scaled_by_the_full_range_of_their_type(tmp_path, name):
    write, expected = DEEP_FILES[name]
    write(tmp_path / name)
    for mode in ("L", "RGB"):
        stacked = expected if mode == "L" else np.dstack([expected] * 3)
        assert difference(pixels(tmp_path / name, mode), stacked) <= (1 if "pgm" in name else 0)


def test_grey_of_16_bits_is_what_colour_of_16_bits_is(tmp_path):
    png(tmp_path / "grey.png", DEEP, colour=0)
    png(tmp_path / "colour.png", np.dstack([DEEP] * 3), colour=2)
    assert difference(pixels(tmp_path / "grey.png"), pixels(tmp_path / "colour.png")) == 0


UNKNOWN_WHITE = {
    "unsigned 32 bits": {"levels": DEEP, "bits": 32},
    "signed 32 bits": {"levels": DEEP.astype(np.int32) - 3000, "bits": 32, "kind": 2},
    "signed 16 bits": {"levels": (DEEP >> 1).astype(np.int16), "bits": 16, "kind": 2},
    "8 bits in 32": {"levels": DEEP >> 8, "bits": 32, "kind": 2},
    "floats up to 255": {"levels": DEEP >> 8, "bits": 32, "kind": 3},
    "floats below zero": {"levels": DEEP / 65535 - 0.5, "bits": 32, "kind": 3},
    "not a number": {"levels": np.where(DEEP[0, 0] == DEEP, np.nan, 0.5), "bits": 32, "kind": 3},
    "white as zero": {"levels": DEEP, "bits": 16, "photometric": 0},
}


@pytest.mark.parametrize("name", UNKNOWN_WHITE)
def test_numbers_without_a_known_white_are_refused(tmp_path, name):
    tiff(tmp_path / "deep.tif", **UNKNOWN_WHITE[name])
    with pytest.raises(UnreadableImage, match="white is unknown; save 8 or 16 bits"):
        read_image(tmp_path / "deep.tif", "L")


# -- colours and frames -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "suffix", "tolerance"),
    [
        ("1", ".png", 0),
        ("L", ".png", 0),
        ("P", ".png", 0),
        ("CMYK", ".tif", 0),
        ("CMYK", ".jpg", 30),
        ("YCbCr", ".tif", 3),
        ("LAB", ".tif", 16),
        ("L", ".bmp", 0),
        ("RGB", ".avif", 25),
        ("RGB", ".qoi", 0),
        ("P", ".pcx", 0),
        ("RGB", ".sgi", 0),
        ("RGB", ".dds", 0),
    ],
)
def test_every_colour_space_keeps_its_colours(tmp_path, mode, suffix, tolerance):
    image = Image.fromarray(RGB).convert(mode)
    image.save(tmp_path / f"image{suffix}", **FINE.get(suffix, {}))
    expected = RGB if mode in ("CMYK", "YCbCr", "LAB") else np.asarray(image.convert("RGB"))
    found = pixels(tmp_path / f"image{suffix}")
    assert difference(found, expected) <= tolerance
    grey = np.asarray(Image.fromarray(found.astype(np.uint8)).convert("L"))
    assert difference(pixels(tmp_path / f"image{suffix}", "L"), grey) == 0


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".tif", ".avif"])
def test_of_several_frames_the_first_is_read(tmp_path, suffix):
    path = tmp_path / f"film{suffix}"
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with Image.open(path) as film:
        assert len(list(ImageSequence.Iterator(film))) == 3
    assert difference(pixels(path), np.asarray(frames[0])) <= (2 if suffix in (".webp", ".avif") else 0)
