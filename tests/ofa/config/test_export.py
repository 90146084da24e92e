"""The keys ``onnx:`` and ``tflite:`` of a target, and how its int8 file is chosen."""

import numpy as np
import pytest

from ofa.config.export import OnnxConfig, TfliteConfig
from ofa.config.recipe import Recipe
from ofa.errors import UserError
from ofa.export.formats import ONNX_INT8_WEIGHTS, TFLITE_INPUTS
from ofa.export.runtimes import machine
from ofa.pipeline.artefacts.verification import Quantization
from ofa.report.card_snippets import snippets
from ofa.report.int8_note import cpu_note
from ofa.targets import quantization_attempts
from ofa.targets.deployment import Deployment
from ofa.targets.model_formats import format_of
from ofa.targets.quantization_attempts import quantize_within

LIMITS = {"macs": "1x"}


def recipe(**target):
    targets = {"t": {"limits": LIMITS, **target}}
    values = {"name": "x", "train": {"epochs": 1, "lr": 0.1}, "space": "tiny_mbv3", "targets": targets}
    return Recipe.from_dict(values)


@pytest.mark.parametrize(
    "target",
    [
        {"onnx": {"opset": 11, "batch": 1}},
        {"runtime": "litert", "onnx": {"opset": 21}},
        {"precision": "int8", "onnx": {"opset": 13, "symmetric": True, "weights": "reduced"}},
        {"runtime": "litert", "tflite": {"input": "uint8"}},
        {"runtime": "litert", "precision": "int8", "tflite": {"input": "int8"}},
    ],
)
def test_what_can_be_written(target):
    given = recipe(**target)
    assert Recipe.from_dict(given.to_dict()) == given


@pytest.mark.parametrize(
    "target, words",
    [
        ({"onnx": {"opset": 10}}, r"targets\.t\.onnx\.opset"),
        ({"onnx": {"opset": 22}}, r"targets\.t\.onnx\.opset"),
        ({"onnx": {"opset": True}}, r"targets\.t\.onnx\.opset"),
        ({"onnx": {"batch": 2}}, r"targets\.t\.onnx\.batch"),
        ({"onnx": {"bach": 1}}, r"targets\.t\.onnx\.bach"),
        ({"onnx": {"weights": "int4"}}, r"targets\.t\.onnx\.weights"),
        ({"onnx": {"symmetric": True}}, r"targets\.t\.onnx\.symmetric.* of int8 files that ONNX Runtime runs"),
        ({"runtime": "litert", "precision": "int8", "onnx": {"weights": "reduced"}}, r"onnx\.weights.* leave it out"),
        ({"precision": "int8", "onnx": {"symmetric": True, "weights": "unsigned"}}, "use signed or reduced"),
        ({"precision": "int8", "onnx": {"opset": 12}}, "int8 files need opset 13 or later"),
        ({"tflite": {"input": "uint8"}}, r"tflite\.input.* of files that LiteRT runs"),
        ({"runtime": "litert", "tflite": {"input": "int8"}}, "a float32 network takes float32 or uint8"),
        ({"runtime": "litert", "tflite": {"input": "uint16"}}, r"targets\.t\.tflite\.input"),
    ],
)
def test_what_contradicts_itself_is_named(target, words):
    with pytest.raises(UserError, match=words):
        recipe(**target)


def test_the_choices_are_those_of_export():
    for section, key, wanted in (
        (OnnxConfig, "weights", ONNX_INT8_WEIGHTS),
        (TfliteConfig, "input", TFLITE_INPUTS),
    ):
        for value in wanted:
            assert getattr(section(**{key: value}), key) == value


SERVER, PHONE = Deployment("onnxruntime", 8), Deployment("litert", 8)


@pytest.mark.parametrize(
    "deployment, config, known",
    [
        (SERVER, OnnxConfig(), {None, "reduced", "unsigned"}),
        (SERVER, OnnxConfig(symmetric=True), {None, "reduced"}),
        (SERVER, OnnxConfig(weights="reduced"), {"reduced"}),
        (SERVER, OnnxConfig(weights="signed", symmetric=True), {"signed"}),
    ],
)
def test_attempts_keep_to_what_the_recipe_fixes(deployment, config, known):
    ways = format_of(deployment).attempts(config)
    assert {way.get("weights") for way in ways.values()} == known
    assert all(way.get("symmetric", False) == config.symmetric for way in ways.values())
    assert next(iter(ways)) == "min/max calibration" and "percentile 99.99" in ways
    assert all("weights" not in way for way in format_of(PHONE).attempts(config).values())


class Fake:
    """A runtime whose "files" are the accuracies with optimisations and without, in percent."""

    def load(self, content, *, threads, optimise=True):
        return content[0 if optimise else 1]

    def run(self, session, images):
        return session


def chosen(monkeypatch, deployment, accuracies, vnni=True):
    fake = Fake()
    monkeypatch.setattr(Deployment, "scorer", fake)
    monkeypatch.setattr(quantization_attempts, "onnxruntime", fake)
    monkeypatch.setattr(quantization_attempts, "has_vnni", lambda: vnni)
    ways = format_of(deployment).attempts(OnnxConfig())
    contents = dict(zip(ways, (bytes(pair) for pair in accuracies), strict=False))
    content, result = quantize_within(
        deployment,
        ways,
        write=lambda way: contents[next(name for name, one in ways.items() if one is way)],
        score=lambda run: run(np.zeros(1)) / 100,
        before=0.9,
        allowed_drop=0.015,
        threads=2,
    )
    return content, result["validation_accuracy"], result["int8"]


def test_the_first_way_that_keeps_the_accuracy_with_and_without_optimisations(monkeypatch):
    content, accuracy, facts = chosen(monkeypatch, SERVER, [(90, 80), (60, 90), (89, 90), (99, 99)])
    assert (tuple(content), accuracy, facts["within"]) == ((89, 90), 0.89, True)
    assert list(facts["tried"].values()) == [0.9, 0.6, 0.89]
    assert list(facts["unoptimised"].values()) == [0.8, 0.9, 0.9]


def note_on(facts: dict) -> str | None:
    return cpu_note(Quantization(**facts, calibration_images=5, calibration_images_asked=5))


def test_without_vnni_a_remedy_is_found_and_the_note_says_what_it_means(monkeypatch):
    """Signed weights saturate where the processor has no VNNI: optimised is worse than unoptimised."""
    content, accuracy, facts = chosen(monkeypatch, SERVER, [(60, 90), (61, 90), (90, 90)], vnni=False)
    assert (tuple(content), accuracy, facts["used"]) == ((90, 90), 0.9, "weights of seven bits")
    assert facts["within"] and not facts["depends_on_cpu"] and note_on(facts) is None
    _, _, facts = chosen(monkeypatch, SERVER, [(90, 90)])
    assert facts["depends_on_cpu"] and facts["cpu_has_vnni"] is True
    assert "on x86 without VNNI" in note_on(facts) and "this processor has VNNI" in note_on(facts)


def test_other_formats_say_nothing_of_processors(monkeypatch):
    _, accuracy, facts = chosen(monkeypatch, PHONE, [(80, 0), (85, 0), (84, 0), (70, 0)])
    assert (accuracy, facts["used"], facts["within"]) == (0.85, "even channels", False)
    assert len(facts["tried"]) == 4 and "unoptimised" not in facts and note_on(facts) is None


@pytest.mark.parametrize(
    "architecture, flags, has",
    [
        ("x86_64", "flags : avx2 avx512f avx512_vnni", True),
        ("AMD64", "flags : avx2 avx_vnni", True),
        ("x86_64", "flags : avx2 avx512f", False),
        ("aarch64", "Features : asimddp i8mm", None),
    ],
)
def test_vnni_is_read_from_the_processor_s_flags(architecture, flags, has, monkeypatch, tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text(flags)
    monkeypatch.setattr(machine.platform, "machine", lambda: architecture)
    monkeypatch.setattr(machine, "CPUINFO", info)
    assert machine.has_vnni() is has


@pytest.mark.parametrize(
    "file, kind, wanted",
    [
        ("model.tflite", None, "float32"),
        ("model.int8.tflite", None, "int8"),
        ("model.int8.tflite", "float32", "float32"),
        ("model.tflite", "uint8", "uint8"),
        ("model.int8.tflite", "uint8", "uint8"),
    ],
)
def test_the_card_s_code_gives_what_the_file_takes(file, kind, wanted):
    given = {"resolution": 4, "channels": 3, "mean": [0.5] * 3, "std": [0.25] * 3, "crop_pct": 1.0, "input_type": kind}
    texts = snippets(file, given, runtime="litert", classes=3).values()
    (code,) = [text for language, text in texts if language == "python"]
    assert ("zero = given" in code, "255 * (data" in code) == (wanted == "int8", wanted == "uint8")
