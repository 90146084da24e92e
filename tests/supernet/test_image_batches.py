"""Calibration data in every form that users pass; data that cannot be normalised images is refused."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ofa.supernet.calibration import calibrate
from ofa.supernet.image_batches import UNCHANGED, Normalisation, image_batches

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGENET = Normalisation(MEAN, STD)
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (12, 3, 8, 8), np.uint8)
IMAGES = ((PIXELS / 255 - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))).astype(np.float32)
LABELS = torch.arange(12)


def joined(data, **options):
    return torch.cat([batch.float() for batch in image_batches(data, **options)])


READABLE = {
    "one array": IMAGES,
    "one tensor": torch.from_numpy(IMAGES),
    "batches": [IMAGES[:5], IMAGES[5:]],
    "a generator": (IMAGES[start : start + 4] for start in (0, 4, 8)),
    "an empty one between": [IMAGES[:5], IMAGES[:0], IMAGES[5:]],
    "a loader of pairs": DataLoader(TensorDataset(torch.from_numpy(IMAGES), LABELS), batch_size=5),
    "pairs": [(IMAGES[:5], LABELS[:5]), (IMAGES[5:], LABELS[5:])],
    "batches of batches": IMAGES.reshape(2, 6, 3, 8, 8),
    "float64": IMAGES.astype(np.float64),
    "big-endian": IMAGES.astype(">f4"),
    "from behind": IMAGES[::-1][::-1],
    "with a gradient": [torch.from_numpy(IMAGES).requires_grad_()],
}


@pytest.mark.parametrize("name", READABLE)
def test_every_form_gives_its_images(name):
    assert np.allclose(joined(READABLE[name], shape=(3, 8, 8), normalisation=IMAGENET).numpy(), IMAGES, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    assert np.allclose(joined(torch.from_numpy(IMAGES).to(dtype)).numpy(), IMAGES, atol=2e-2)


SCALED = (PIXELS / 255).astype(np.float32)
REFUSED = {
    "bytes": (PIXELS, "holds uint8 values, as raw pixels are"),
    "whole numbers": (PIXELS.astype(np.int64), "holds int64 values"),
    "booleans": ([PIXELS > 100], "holds bool values"),
    "complex": ([IMAGES.astype(np.complex64)], "holds values of type complex64"),
    "text": ([np.array([["a"]])], "holds values of type <U1"),
    "raw pixels as floats": (PIXELS.astype(np.float32), "from 0 to 255, .*; give normalised images"),
    "raw, of one batch": ([IMAGES, PIXELS.astype(np.float32)], "give normalised images"),
    "raw, resized": (PIXELS * np.float32(0.9), "give normalised images"),
    "dark raw": (np.minimum(PIXELS, 60).astype(np.float32), "give normalised images"),
    "centred, not scaled": (PIXELS - np.float32(127.5), "from -127.5 to 127.5, more than any normalised image"),
    "not finite": ([np.full((1, 3, 8, 8), np.nan)], "not finite"),
    "infinite": ([np.full((1, 3, 8, 8), -np.inf)], "not finite"),
    "one image": (IMAGES[0], r"calibration batch 0 has shape \(3, 8, 8\); it must be \(n, channels, height, width\)"),
    "images one by one": (list(IMAGES), r"calibration batch 0 has shape \(3, 8, 8\)"),
    "channels last": (IMAGES.transpose(0, 2, 3, 1), "its channels come last, move them before the height"),
    "another size": (
        [IMAGES, IMAGES[..., :6]],
        r"calibration batch 1 has shape \(12, 3, 8, 6\); it must be .* \(3, 8, 8\)",
    ),
    "dictionaries": ([{"image": IMAGES, "label": LABELS}], "batch 0 is a dict with the keys image, label"),
    "a path": ("images/", "calibration data is a str; give an array"),
    "nothing": (None, "calibration data is a NoneType"),
    "lists of numbers": ([[[0.5]]], "calibration batch 0 is a list"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_data_that_cannot_be_normalised_images_is_refused(name):
    data, words = REFUSED[name]
    with pytest.raises(ValueError, match=words):
        joined(data, shape=(3, 8, 8))


KNOWN = {
    "raw": PIXELS.astype(np.float32),
    "in 0..1": SCALED,
    "in 0..1, by batches": [SCALED[:6], SCALED[6:]],
    "far outside": IMAGES * 20,
}


@pytest.mark.parametrize("name", KNOWN)
def test_a_known_mean_and_std_refuse_more_data(name):
    with pytest.raises(ValueError, match="give normalised images"):
        joined(KNOWN[name], normalisation=IMAGENET)


@pytest.mark.parametrize(
    "data, normalisation",
    [
        (PIXELS.astype(np.float32), UNCHANGED),  # networks that take pixels
        (PIXELS - np.float32(128), Normalisation((128 / 255,), (1 / 255,))),
        (SCALED, Normalisation((0.0,), (1.0,))),
        (SCALED, None),  # perhaps they are
        (IMAGES * 30, Normalisation(MEAN, tuple(np.array(STD) / 30))),  # images of little contrast
        (np.zeros((4, 3, 8, 8), np.float32), IMAGENET),
        (np.ones((4, 3, 8, 8), np.float32), IMAGENET),
        (IMAGES * 2, IMAGENET),  # augmented, or of another source
    ],
)
def test_unusual_images_are_taken(data, normalisation):
    assert np.array_equal(joined(data, normalisation=normalisation).numpy(), data)


@pytest.mark.parametrize("mean", [None, "auto", [], [0.5, "x"], [[0.5]]])
def test_invalid_means_are_ignored(mean):
    assert Normalisation.known({"mean": mean, "std": [1.0]}, None, {}) is None
    assert Normalisation.known({"mean": mean, "std": [1.0]}, {"mean": MEAN, "std": np.array(STD)}) == IMAGENET


def small():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))
    return model.eval()


@pytest.mark.parametrize("name", ["bytes", "raw pixels as floats", "not finite", "one image", "nothing"])
def test_calibration_refuses_alike_and_leaves_the_statistics_as_they_were(name):
    model = calibrate(small(), IMAGES)
    before = copy.deepcopy(model.state_dict())
    data, words = REFUSED[name]
    with pytest.raises(ValueError, match=words):
        calibrate(model, [IMAGES, *data] if isinstance(data, list) else data)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_models_of_another_precision_are_calibrated(dtype):
    """A batch of float32 ended in torch's complaint of another type."""
    exact, model = calibrate(small(), IMAGES), calibrate(small().to(dtype), IMAGES)
    for name, value in model.state_dict().items():
        assert value.dtype == (torch.int64 if "tracked" in name else dtype)
        if "running" in name:
            assert torch.allclose(value.float(), exact.state_dict()[name], rtol=0.02, atol=0.02), name


def test_pairs_calibrate_as_their_images_do():
    pairs, alone = calibrate(small(), READABLE["a loader of pairs"]), calibrate(small(), READABLE["one array"])
    for (name, value), other in zip(pairs.state_dict().items(), alone.state_dict().values(), strict=True):
        if name.endswith("0.weight") or name == "1.running_mean":
            assert torch.allclose(value, other, atol=1e-6), name
