"""scikit-learn's handwritten digits, the data of a recipe without ``data:``."""

from __future__ import annotations

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from ofa.data.readers.source import Source, Split
from ofa.data.readers.splits import SPLITS, numbered_split


def digits_source(resolution: int) -> Source:
    """1,797 images of 8x8 pixels, enlarged to ``resolution`` (bicubic), split 60/20/20."""
    digits = load_digits()
    small = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    size = (resolution, resolution)
    images = np.stack([Image.fromarray(image).resize(size, Image.Resampling.BICUBIC) for image in small])
    labels = digits.target.astype(np.int64)
    split_of_image = numbered_split(small, labels, validation=0.2, test=0.2)
    all_images = Split(images, labels)
    classes = tuple(str(digit) for digit in range(10))
    splits = {name: all_images[np.flatnonzero(split_of_image == index)] for index, name in enumerate(SPLITS)}
    return Source("digits", classes, splits)
