"""The Python on a card, run as printed, prepares images of every kind exactly as the product's own reader does."""

import os
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ofa.config.data import DataConfig
from ofa.data.loader import open_data
from ofa.report.card_snippets import snippets

RNG = np.random.default_rng(19)


def colours(width: int, height: int) -> Image.Image:
    coarse = Image.fromarray(RNG.integers(0, 256, (4, 5, 3), dtype=np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


def deep(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("L")).astype(np.uint16) * 257 - 3


def see_through(image: Image.Image) -> Image.Image:
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def turned(image: Image.Image, orientation: int) -> dict:
    exif = Image.Exif()
    exif[0x112] = orientation
    return {"exif": exif}


WRITERS = {
    "plain.jpg": lambda image, path: image.save(path),
    "grey.png": lambda image, path: image.convert("L").save(path),
    "black_and_white.png": lambda image, path: image.convert("1").save(path),
    "palette.gif": lambda image, path: image.quantize(30).save(path),
    "palette_hole.png": lambda image, path: image.quantize(30).save(path, transparency=2),
    "rgba.png": lambda image, path: see_through(image).save(path),
    "la.png": lambda image, path: see_through(image).convert("LA").save(path),
    "rgba.webp": lambda image, path: see_through(image).save(path),
    "hole.png": lambda image, path: image.convert("L").save(path, transparency=image.convert("L").getpixel((0, 0))),
    "sixteen.png": lambda image, path: Image.fromarray(deep(image)).save(path),
    "sixteen.tif": lambda image, path: Image.fromarray(deep(image)).save(path),
    "sixteen_turned.png": lambda image, path: Image.fromarray(deep(image)).save(path, **turned(image, 8)),
    "floats.tif": lambda image, path: Image.fromarray((deep(image) / 65535).astype(np.float32)).save(path),
    "cmyk.jpg": lambda image, path: image.convert("CMYK").save(path),
    "lab.tif": lambda image, path: image.convert("LAB").save(path),
    "turned.jpg": lambda image, path: image.save(path, **turned(image, 6)),
    "mirrored.png": lambda image, path: image.save(path, **turned(image, 5)),
    "turned.webp": lambda image, path: see_through(image).save(path, **turned(image, 3)),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes of images of every kind, of as many shapes, strips among them."""
    root = tmp_path_factory.mktemp("images")
    sizes = [tuple(map(int, size)) for size in RNG.integers(6, 90, (4 * len(WRITERS), 2))] + [(400, 9), (7, 500)]
    for place in ("train/a", "train/b", "val/a", "val/b", "test/a", "test/b"):
        (root / place).mkdir(parents=True)
        count = len(sizes) // 2 if place.startswith("val") else 3
        for number in range(count):
            name = list(WRITERS)[number % len(WRITERS)]
            size = sizes[number + (count if place == "val/b" else 0)]
            WRITERS[name](colours(*size), root / place / f"{number:03}_{name}")
    return root


@pytest.fixture
def given_to(monkeypatch):
    """Stand-ins for the runtimes; the list fills with the input of each call."""
    seen = []

    class Session:
        def __init__(self, path):
            pass

        def run(self, outputs, feeds):
            seen.append(feeds["input"])
            return [np.eye(2, dtype=np.float32)[:1]]

    class Interpreter(Session):
        def allocate_tensors(self):
            pass

        invoke = allocate_tensors

        def get_input_details(self):
            return [{"index": 0, "dtype": np.float32}]

        get_output_details = get_input_details

        def set_tensor(self, index, data):
            seen.append(data.transpose(0, 3, 1, 2))

        def get_tensor(self, index):
            return np.eye(2, dtype=np.float32)[:1]

    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace(InferenceSession=Session))
    monkeypatch.setitem(sys.modules, "ai_edge_litert", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", SimpleNamespace(Interpreter=Interpreter))
    return seen


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("file", "runtime", "resolution", "crop_pct"),
    [("model.onnx", "onnxruntime", 29, 0.875), ("model.tflite", "litert", 24, 1.0)],
)
def test_the_card_gives_the_network_what_the_product_gives_it(
    folder, given_to, tmp_path, monkeypatch, capsys, channels, file, runtime, resolution, crop_pct
):
    config = DataConfig(folder=folder, channels=channels, crop_pct=crop_pct, workers=0)
    data = open_data(config, resolution=32, seed=0)
    batches = list(data.split_batches("validation", resolution=resolution))
    expected = np.concatenate([data.normalize(images).numpy() for images, _ in batches])
    given = {"resolution": resolution, "channels": channels, "crop_pct": crop_pct}
    given |= {key: [round(float(value), 6) for value in getattr(data, key)] for key in ("mean", "std")}
    code = next(code for language, code in snippets(file, given, runtime=runtime, classes=2).values())
    compiled = compile(code, "card.md", "exec")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels.txt").write_text("a\nb\n")
    photo = tmp_path / "photo.jpg"
    paths = sorted((folder / "val").rglob("*.*"))
    assert len(paths) == len(expected) > 60
    for path in paths:
        photo.unlink(missing_ok=True)
        os.link(path, photo)
        exec(compiled, {})
    assert capsys.readouterr().out == "a\n" * len(paths)
    for path, found, wanted in zip(paths, given_to, expected, strict=True):
        assert found.dtype == np.float32 and found.shape == (1, *wanted.shape)
        np.testing.assert_allclose(found[0], wanted, rtol=0, atol=1e-6, err_msg=path.name)
