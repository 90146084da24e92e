"""The pixels that evaluation takes: timm's, bounded for strips, and the same that cards tell users to take."""

import numpy as np
import pytest
from PIL import Image
from timm.data import create_transform

from ofa.data.decode import evaluation_pixels
from ofa.data.preprocess import middle


def scene(width: int, height: int, seed: int = 0) -> np.ndarray:
    """Colours that no turn or flip leaves alone, uint8 ``(height, width, 3)``."""
    rng = np.random.default_rng([seed, width, height])
    coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


# -- the square in the middle -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("resolution", "crop_pct"), [(32, 0.875), (31, 1.0), (20, 0.9)])
def test_evaluation_shows_what_timm_s_evaluation_shows(channels, resolution, crop_pct):
    reference = create_transform(resolution, crop_pct=crop_pct, interpolation="bilinear", normalize=False)
    rng = np.random.default_rng(resolution)
    for width, height in [*rng.integers(1, 200, (40, 2)), (7, 50), (1, 7), (64, 64)]:
        if max(width, height) >= 8 * min(width, height):
            continue
        image = Image.fromarray(scene(int(width), int(height))).convert("L" if channels == 1 else "RGB")
        found = evaluation_pixels(image, resolution=resolution, crop_pct=crop_pct)
        assert found.shape == (channels, resolution, resolution)
        assert np.array_equal(found, reference(image)), image.size


@pytest.mark.parametrize("size", [(400, 9), (9, 400), (601, 2), (3, 1000), (8, 64), (999, 1)])
def test_of_strips_the_same_within_a_grey_level(size):
    image = Image.fromarray(scene(*size))
    for resolution, crop_pct in ((32, 0.875), (31, 1.0)):
        reference = create_transform(resolution, crop_pct=crop_pct, interpolation="bilinear", normalize=False)(image)
        found = evaluation_pixels(image, resolution=resolution, crop_pct=crop_pct)
        assert (found.int() - reference.int()).abs().max() <= 1


@pytest.mark.parametrize("size", [(20_000, 1), (1, 20_000), (65_000, 3)])
@pytest.mark.parametrize("training", [False, True])
def test_a_strip_costs_no_more_than_a_photo(size, training, monkeypatch):
    made = []
    resize = Image.Image.resize

    def spied(self, target, *args, **options):
        made.append(int(np.prod(target)))
        return resize(self, target, *args, **options)

    monkeypatch.setattr(Image.Image, "resize", spied)
    image = Image.new("RGB", size)
    if training:
        create_transform(224, is_training=True, scale=(0.08, 1), interpolation="bilinear", normalize=False)(image)
    else:
        middle(image, 224, 0.875)
    assert made and max(made) <= 8 * 256**2
