"""From a decoded image to the pixels that a network is given. Cards print these two functions as they stand here.

They therefore use numpy and Pillow only, and names that ``IMPORTS`` brings in.
"""

from __future__ import annotations

import math
from contextlib import suppress

import numpy as np
from PIL import Image, ImageOps

IMPORTS = """import math
from contextlib import suppress

import numpy as np
from PIL import Image, ImageOps
"""

# What the metadata of a model file says beside mean, std, interpolation and crop_pct, for those who read no card.
METADATA = {
    "pixels": "0..1, RGB or grey of 8 bits / 255, then minus mean, over std",
    "depth": "of 12 or 16 bits the upper 8; floats of 0..1 times 255, rounded",
    "background": [255, 255, 255],
    "orientation": "upright, as EXIF says",
    "resize": "shorter side to floor(resolution / crop_pct), longer side in proportion, truncated; antialiased",
    "crop_mode": "center",
}


def as_seen(image: Image.Image) -> Image.Image:
    """8-bit RGB as people see it: upright, on white where transparent, deep pixels by the full range of their type."""
    image.load()
    with suppress(Exception):  # damaged EXIF: the pixels as they lie
        ImageOps.exif_transpose(image, in_place=True)
    hidden, tags = image.info.get("transparency", -1), getattr(image, "tag_v2", {})
    if image.mode[0] in "IF":
        levels, bits = np.array(image), tags.get(258, (16,))[0]  # a TIFF says 12, 16 or 32
        white = 1 if image.mode == "F" else 2**bits - 1
        known = image.format in ("PNG", "PPM") or (image.mode != "I" and tags.get(262) != 0)
        if not (known and levels.min() >= 0 and levels.max() <= white):
            raise ValueError(f"{image.mode} {levels.min():g} to {levels.max():g}: white is unknown; save 8 or 16 bits")
        levels[levels == hidden] = white
        image = Image.fromarray((np.rint(levels * 255) if white == 1 else levels >> bits - 8).astype(np.uint8))
    elif image.has_transparency_data:
        if isinstance(hidden, tuple) and max(hidden) > 255:  # of 16 bits, as the pixels were in the file
            image.info["transparency"] = tuple(value >> 8 for value in hidden)
        if image.mode != "RGBA":
            image = image.convert(image.mode.upper()).convert("RGBA")  # "La" by way of "LA"
        ground = Image.new("RGB", image.size, "white")
        ground.paste(image, mask=image)
        return ground
    return image if image.mode == "RGB" else image.convert("RGB")


def middle(image: Image.Image, resolution: int, crop_pct: float) -> Image.Image:
    """The square in the middle, as timm's evaluation takes it."""
    width, height = image.size
    short, size = min(width, height), math.floor(resolution / crop_pct)
    cut = max(0, max(width, height) // short // 4 - 1) * 2 * short  # the far ends of strips of 8:1 and longer
    x, y = (cut, 0) if width > height else (0, cut)
    image = image.crop((x, y, width - x, height - y))
    image = image.resize([int(size * side / short) for side in image.size], Image.Resampling.BILINEAR)
    left, top = (round((side - resolution) / 2) for side in image.size)
    return image.crop((left, top, left + resolution, top + resolution))
