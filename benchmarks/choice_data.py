"""Small data sets for the comparison of ways to choose a network, drawn anew for each seed."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from speech_features import SOUNDS, picture

FASHION = Path("/usr/share/datasets/fashion-mnist")
# Training, validation and test images.
SIZES = {"digits": (500, 500, 797), "fashion": (1500, 1000, 2000), "keywords": (1650, 650, 960)}


def write_data(name: str, folder: Path, *, seed: int, keywords: Path) -> dict[str, object]:
    """Writes the images of a data set and a seed under ``folder``; returns the recipe's section ``data:``."""
    training, validation, test = SIZES[name]
    rng = np.random.default_rng([seed, 0])
    augment = {"scale": [0.8, 1.0], "ratio": [0.9, 1.1]}
    if name == "keywords":
        if not (folder / "test").is_dir():
            _write_keywords(folder, keywords, rng, validation=validation, test=test)
        return {"folder": str(folder), "channels": 1, "crop_pct": 1.0, "workers": 0, "augment": augment}
    images, labels = _digits() if name == "digits" else _fashion()
    order = rng.permutation(len(images))[: training + validation + test]
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in (("train", order[:-test]), ("t10k", order[-test:])):
        _write_idx(folder / f"{split}-images-idx3-ubyte", images[rows])
        _write_idx(folder / f"{split}-labels-idx1-ubyte", labels[rows])
    if name == "fashion":
        augment["hflip"] = 0.5
    return {"idx": str(folder), "val_fraction": validation / (training + validation), "augment": augment}


def _digits() -> tuple[np.ndarray, np.ndarray]:
    digits = load_digits()
    return np.rint(digits.images * (255 / 16)).astype(np.uint8), digits.target.astype(np.uint8)


def _fashion() -> tuple[np.ndarray, np.ndarray]:
    """The 10,000 test images and the first 20,000 training images of Fashion-MNIST, as one pool."""
    parts = []
    for split in ("t10k", "train"):
        pixels = gzip.decompress((FASHION / f"{split}-images-idx3-ubyte.gz").read_bytes())[16:]
        classes = gzip.decompress((FASHION / f"{split}-labels-idx1-ubyte.gz").read_bytes())[8:]
        images = np.frombuffer(pixels, np.uint8).reshape(-1, 28, 28)[:20_000]
        parts.append((images, np.frombuffer(classes, np.uint8)[:20_000]))
    return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))


def _write_keywords(folder: Path, source: Path, rng: np.random.Generator, *, validation: int, test: int) -> None:
    """Log-mel pictures of one-second words in ``SPLIT/WORD``; no speaker is in two splits."""
    with np.load(source / "kws12.npz") as arrays:
        samples, offsets, labels, speakers = (arrays[key] for key in ("samples", "offsets", "labels", "speakers"))
        names = arrays["names"]
    # Silence has no speaker: each clip counts as one of its own.
    speakers = np.array([who or f"silence {index}" for index, who in enumerate(speakers)])
    split, left = {}, {"test": test, "val": validation}
    for speaker in rng.permutation(np.unique(speakers)):
        into = next((name for name, images in left.items() if images > 0), "train")
        split[speaker] = into
        if into in left:
            left[into] -= int((speakers == speaker).sum())
    for index, label in enumerate(labels):
        sound = samples[offsets[index] : offsets[index + 1]].astype(np.float64)
        path = folder / split[speakers[index]] / str(names[label]) / f"{index:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(sound, SOUNDS["kws12"])).save(path)


def _write_idx(path: Path, array: np.ndarray) -> None:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(header + np.ascontiguousarray(array).tobytes())
