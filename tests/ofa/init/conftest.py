"""Folders of generated images."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def make_images(tmp_path_factory):
    """``make_images(side=, count=, classes=, grey=)``: a folder with ``count`` images of noise in each class."""

    def make(*, side: int = 24, count: int = 20, classes: int = 3, grey: bool = False) -> Path:
        root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
        for number in range(classes):
            folder = root / f"class{number}"
            folder.mkdir()
            for index in range(count):
                shape = (side, side) if grey else (side, side, 3)
                Image.fromarray(rng.integers(60 * number, 255, shape).astype(np.uint8)).save(folder / f"{index}.png")
        return root

    return make


@pytest.fixture(scope="session")
def tiny(make_images) -> Path:
    """60 images of 24 pixels in three classes."""
    return make_images()
