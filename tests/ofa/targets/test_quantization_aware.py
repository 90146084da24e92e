"""Training for int8 as the last remedy: when it runs, what becomes of its network, and what is said when it cannot."""

import copy
import dataclasses

import numpy as np
import pytest
import safetensors.torch
import torch
from quick_models import quick_onnx

pytest.importorskip("ai_edge_quantizer", reason="pip install 'once-for-all[tflite]'")
pytest.importorskip("tflite_micro", reason="pip install 'once-for-all[mcu]'")

from ofa.export.runtimes import tflm
from ofa.pipeline.artefacts.verification import TRAINED, Quantization
from ofa.predictors.metrics import top1
from ofa.supernet.calibration import calibrate
from ofa.supernet.saving import save_weights
from ofa.supernet.space import SearchSpace
from ofa.supernet.supernet import Supernet
from ofa.supernet.training.errors import Diverged, OutOfMemory
from ofa.supernet.training.settings import Settings
from ofa.supernet.training.student import train_student
from ofa.targets import model_files, model_formats
from ofa.targets.deployment import Deployment
from ofa.targets.model_files import ExportSettings, write_models
from ofa.targets.model_formats import ExportSpec
from ofa.targets.quantization_aware import QuantizationAware

SIDE, CLASSES = 16, 4
SETTINGS = ExportSettings(threads=1, calibration_images=32, target_names=["m"])
TFLM = Deployment("tflm", 8)
# Almost all of the first map is clipped: no network keeps its accuracy so.
BAD = {"clipped": {"bounds": {"conv_stem": (0.0, 1e-3)}}}


def data(seed, count):
    """Images of one bright corner, which is the class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    images = rng.integers(0, 150, (count, 3, SIDE, SIDE), np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[:, 8 * (label // 2) :, :][:, :8, 8 * (label % 2) :][:, :, :8] += 50
    return torch.from_numpy(images), torch.from_numpy(labels)


def normalize(images):
    return (images.float() - 100) / 60


def images(split, resolution, *, limit=None):
    pixels, labels = data({"train": 1, "validation": 2}[split], limit or 128)
    yield normalize(pixels), labels


def batches(epoch, start):
    for step in range(8):
        yield data(100 + 10 * epoch + step, 32)


def train(student, teacher, *, epochs=2, lr=1e-3, distill_weight=1.0):
    train_student(
        student,
        teacher,
        batches,
        epochs=epochs,
        steps_per_epoch=8,
        lr=lr,
        resolution=SIDE,
        normalize=normalize,
        settings=Settings(optimizer="adamw", weight_decay=0.0, label_smoothing=0.0, distill_weight=distill_weight),
        progress=False,
    )


@pytest.fixture(scope="module")
def trained():
    """A network that knows the corners."""
    space = SearchSpace.from_dict(
        {
            "resolutions": [SIDE],
            "act": "hard_swish",
            "stem": {"width": 8, "first_width": 8, "first_act": "relu"},
            "stages": [
                {
                    "width": 16,
                    "stride": 2,
                    "act": "hard_swish",
                    "se": True,
                    "depths": [1],
                    "kernels": [3],
                    "expands": [2],
                }
            ],
            "head": {"width": 16, "features": 16},
        }
    )
    torch.manual_seed(0)
    model = Supernet(space, num_classes=CLASSES).extract(space.largest)
    train(model, copy.deepcopy(model), epochs=10, lr=1e-2, distill_weight=0.0)
    calibrate(model, (batch for batch, _ in images("train", SIDE, limit=128)))
    assert top1(model, images("validation", SIDE)) > 0.95
    return model


def written(model, folder, monkeypatch, *, training, attempts=BAD, drop=0.01):
    folder.mkdir(exist_ok=True)
    monkeypatch.setattr(model_files, "export_onnx", quick_onnx)
    save_weights(model, folder / "weights.safetensors")
    if attempts:
        known = model_formats.FORMATS["tflite_micro"]
        changed = dataclasses.replace(known, attempts=lambda _: attempts)
        monkeypatch.setitem(model_formats.FORMATS, "tflite_micro", changed)
    spec = ExportSpec(model, folder, SIDE, {"classes": list("abcd")}, drop, training=training)
    _, result = write_models(TFLM, spec, images=images, settings=SETTINGS)
    return result, Quantization.model_validate(result["int8"])


def saved(folder):
    return safetensors.torch.load((folder / "weights.safetensors").read_bytes())


def test_it_is_the_last_remedy_and_its_files_are_of_one_network(trained, tmp_path, monkeypatch):
    how = QuantizationAware(2, 1e-3, train)
    result, facts = written(trained, tmp_path / "one", monkeypatch, training=how)
    assert list(facts.tried) == ["clipped", TRAINED] and facts.trained and facts.within
    assert facts.tried["clipped"] < 0.9 < facts.tried[TRAINED] == result["validation_accuracy"]
    assert facts.training.float32_before > 0.95 and facts.untrained == ("clipped", facts.tried["clipped"])

    # The plain weights that were saved are the trained ones, and model.onnx was checked against them.
    state = saved(tmp_path / "one")
    assert state.keys() == trained.state_dict().keys()
    assert not all(torch.equal(state[name], value) for name, value in trained.state_dict().items())
    assert result["largest_difference"] < 1e-3 * result["range"]
    pixels, labels = next(images("validation", SIDE))
    logits = tflm.run(tflm.load(tmp_path / "one" / "model.int8.tflite"), pixels.numpy())
    assert float((logits.argmax(1) == labels.numpy()).mean()) == facts.tried[TRAINED]

    # The same again, byte for byte.
    written(trained, tmp_path / "other", monkeypatch, training=how)
    for name in ("model.int8.tflite", "weights.safetensors", "model.onnx"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def stop(error):
    def train(student, teacher):
        raise error

    return train


@pytest.mark.parametrize(
    "attempts, training", [(None, QuantizationAware(1, 1e-3, stop(AssertionError()))), (BAD, None)]
)
def test_it_does_not_run_where_others_suffice_or_it_is_off(trained, tmp_path, monkeypatch, attempts, training):
    _, facts = written(trained, tmp_path, monkeypatch, attempts=attempts, training=training)
    assert TRAINED not in facts.tried and facts.training is None and facts.not_trained is None
    assert facts.within == (attempts is None)


@pytest.mark.parametrize(
    "error, sentence",
    [
        (Diverged("the loss is nan"), "training for int8 diverged: the loss is nan (quantization_aware.lr)"),
        (OutOfMemory("no memory"), "training for int8 stopped: no memory"),
        (ValueError("batches gave nothing for epoch 0"), "training for int8 was not possible: batches gave nothing"),
        (NotImplementedError("no TANH"), "it cannot be trained for int8: no TANH"),
    ],
)
def test_where_it_fails_the_network_and_the_best_other_file_stay(trained, tmp_path, monkeypatch, error, sentence):
    _, facts = written(trained, tmp_path, monkeypatch, training=QuantizationAware(1, 1e-3, stop(error)))
    assert facts.not_trained.startswith(sentence) and facts.used == "clipped" and not facts.within
    assert all(torch.equal(saved(tmp_path)[name], value) for name, value in trained.state_dict().items())


def test_a_network_that_is_no_better_is_not_kept(trained, tmp_path, monkeypatch):
    def spoil(student, teacher):
        for parameter in student.model.parameters():
            parameter.data.zero_()

    result, facts = written(trained, tmp_path, monkeypatch, training=QuantizationAware(1, 1e-3, spoil))
    assert facts.used == "clipped" and TRAINED in facts.tried and not facts.trained and facts.training
    assert result["validation_accuracy_float32"] == facts.training.float32_before
    assert all(torch.equal(saved(tmp_path)[name], value) for name, value in trained.state_dict().items())
