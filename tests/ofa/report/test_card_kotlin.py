"""The Kotlin of a card: every name in it is defined, and where a compiler is there, a model gets Pillow's pixels."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ofa.report.card_snippets import snippets

STUBS = Path(__file__).parent / "android_stubs.kt"
NO_COMPILER = "kotlinc and java are not installed"
KNOWN = re.findall(
    r"\w+",
    """as break by class companion const continue do else false for fun if import in infix inline interface is null
    object operator override package private return super this throw true try val var when while field it
    Array AutoCloseable Boolean ByteArray Double DoubleArray Float FloatArray Int IntArray String floatArrayOf
    longArrayOf mapOf and shr to until ushr""",
)


def given(channels: int, resolution: int = 16, crop_pct: float = 0.875) -> dict:
    each = {"mean": [0.3084, 0.5, 0.25][:channels], "std": [0.3486, 1e-06, 0.2][:channels]}
    return {"resolution": resolution, "channels": channels, "crop_pct": crop_pct, **each}


def kotlin_of(file: str, about: dict) -> str:
    found = snippets(file, about, runtime="any", classes=10).values()
    return next(code for language, code in found if language == "kotlin")


def undefined(code: str) -> set[str]:
    """Names that are used and neither imported, declared, built in nor members of something."""
    code = re.sub(r"/\*.*?\*/", "", re.sub(r"//[^\n]*", "", code), flags=re.DOTALL)
    code = re.sub(r'"(?:[^"\\]|\\.)*"', '""', code)
    imported = set(re.findall(r"^import [\w.]*\.(\w+)$", code, re.MULTILINE))
    code = re.sub(r"^import .*$", "", code, flags=re.MULTILINE)
    declared = set(re.findall(r"\b(?:class|fun|va[lr])\s+(\w+)|for \((\w+) in", code))
    declared = {name for names in declared for name in names}
    declared |= set(re.findall(r"[(,]\s*(\w+):", code)) | set(re.findall(r"\{\s*(\w+) ->", code))
    code = re.sub(r"\b\d\w*(?:\.\w+)?(?:-\d+f)?", "0", code)
    used = set(re.findall(r"(?<![\w.])[A-Za-z_]\w*", code))
    return used - imported - declared - set(KNOWN)


FILES = ("model.onnx", "model.int8.onnx", "model.tflite", "model.int8.tflite")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("file", FILES)
def test_every_name_is_defined(file, channels):
    code = kotlin_of(file, given(channels))
    assert undefined(code) == set()
    assert f'open("{file}")' in code and 'open("labels.txt")' in code
    assert all(code.count(opening) == code.count(closing) for opening, closing in ("()", "{}", "[]"))
    for name in re.findall(r"^import [\w.]*\.(\w+)$", code, re.MULTILINE):
        assert len(re.findall(rf"\b{name}\b", code)) > 1, f"{name} is imported and not used"


def test_a_name_that_is_not_defined_would_be_seen():
    code = kotlin_of("model.onnx", given(1))
    assert undefined(code.replace("import java.nio.FloatBuffer\n", "")) == {"FloatBuffer"}
    assert undefined(code.replace("private val labels =", "private val names =")) == {"labels"}


# -- compiled and run -------------------------------------------------------------------------------------------------


def images(rng) -> list[Image.Image]:
    """Tall, wide, odd, small and transparent ones, and a strip."""
    sizes = [(40, 31), (31, 97), (16, 16), (7, 9), (18, 300), (64, 64)]
    found = [Image.fromarray(rng.integers(256, size=(high, wide, 3), dtype=np.uint8)) for wide, high in sizes]
    return [*found, Image.fromarray(rng.integers(256, size=(33, 50, 4), dtype=np.uint8), "RGBA")]


def write(image: Image.Image, path: Path) -> None:
    red, green, blue, opaque = np.asarray(image.convert("RGBA"), np.int64).transpose(2, 0, 1)
    pixels = (opaque << 24 | red << 16 | green << 8 | blue).astype(">u4")
    path.write_bytes(np.array([image.width, image.height], ">u4").tobytes() + pixels.tobytes())


def expected(image: Image.Image, about: dict) -> np.ndarray:
    """The middle of an image in Pillow ``(channels, resolution, resolution)``, 0 to 255."""
    if image.mode == "RGBA":
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image)
        image = white
    image = image.convert("L" if about["channels"] == 1 else "RGB")
    resolution, short = about["resolution"], min(image.size)
    size = int(resolution / about["crop_pct"])
    cut = max(0, max(image.size) // short // 4 - 1) * 2 * short
    x, y = (cut, 0) if image.width > image.height else (0, cut)
    image = image.crop((x, y, image.width - x, image.height - y))
    image = image.resize([int(size * side / short) for side in image.size], Image.Resampling.BILINEAR)
    left, top = (round((side - resolution) / 2) for side in image.size)
    pixels = np.asarray(image.crop((left, top, left + resolution, top + resolution)), np.float32)
    return pixels.reshape(resolution, resolution, about["channels"]).transpose(2, 0, 1)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """``run(file, about, images, input)``: what the code of a card gives the model for each image."""
    if not (shutil.which("kotlinc") and shutil.which("java")):
        pytest.skip(NO_COMPILER)
    parts = re.split(r"^//// (\S+)\n", STUBS.read_text(), flags=re.MULTILINE)[1:]

    def classified(file: str, about: dict, given: list[Image.Image], kind: str) -> list[np.ndarray]:
        folder = tmp_path_factory.mktemp("kotlin")
        for name, text in zip(parts[::2], parts[1::2], strict=True):
            (folder / name.replace("/", "_")).write_text(text)
        (folder / "Classifier.kt").write_text(kotlin_of(file, about))
        sources = sorted(path.name for path in folder.glob("*.kt"))
        command = ["kotlinc", *sources, "-include-runtime", "-d", "all.jar"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "Classifier.kt" not in done.stderr, f"warnings: {done.stderr}"
        (folder / file).write_bytes(b"model")
        (folder / "labels.txt").write_text("".join(f"label {number}\n" for number in range(10)))
        for number, image in enumerate(given):
            write(image, folder / f"{number}.argb")
        values = about["channels"] * about["resolution"] ** 2
        options = [f"-Dinput={kind}", f"-Dvalues={values}", "-cp", "all.jar", "MainKt"]
        arguments = [f"{number}.argb" for number in range(len(given))]
        done = subprocess.run(["java", *options, *arguments], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        lines = [line for line in done.stdout.splitlines() if line and not line.startswith("Picked")]
        told = [np.array(line.split(), np.float64) for line in lines if not line.startswith("label")]
        labels = [int(line.split()[1]) for line in lines if line.startswith("label")]
        told = [line for line in told if len(line) == values]
        first = [line[:10] % 256 if kind == "UINT8" else line[:10] for line in told]
        assert labels == [int(line.argmax()) for line in first]
        return told

    return classified


@pytest.mark.parametrize(
    ("file", "channels", "kind"),
    [
        ("model.onnx", 3, "FLOAT32"),
        ("model.tflite", 1, "FLOAT32"),
        ("model.int8.tflite", 3, "INT8"),
        ("model.int8.tflite", 1, "UINT8"),
    ],
)
def test_a_model_is_given_what_pillow_gives(run, file, channels, kind):
    about, every = given(channels), images(np.random.default_rng(0))
    mean, std = (np.array(about[key], np.float32).reshape(-1, 1, 1) for key in ("mean", "std"))
    for image, found in zip(every, run(file, about, every, kind), strict=True):
        pixels = expected(image, about)
        if file.endswith(".onnx"):
            found = found.reshape(pixels.shape)
        else:
            found = found.reshape(*pixels.shape[1:], channels).transpose(2, 0, 1)
        if kind == "UINT8":
            levels = found % 256
        elif kind == "FLOAT32":
            levels = (found * std + mean) * 255
        else:
            wanted = np.clip(np.rint((pixels / 255 - mean) / std / 0.02) - 3, -128, 127)
            assert np.abs(found - wanted)[0].max() <= 1  # the first channel's std is that of images
            continue
        # Rounding: Pillow sums in fixed point, and its versions differ in whether rows or columns come first.
        assert np.abs(levels - pixels).max() <= 1.01, image.size
        assert np.abs(levels - pixels).mean() < 0.35
