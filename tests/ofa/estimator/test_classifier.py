"""``ofa.OnceForAllClassifier``: scikit-learn's own checks, kinds of images, and what it says of what are none."""

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from quick_models import quick_onnx
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import estimator_checks_generator

import ofa

SPACE = {
    "family": "mobilenetv3",
    "resolutions": [8],
    "stem": {"width": 8, "first_width": 8, "stride": 2},
    "stages": [{"width": 8, "stride": 2, "depths": [1, 2], "kernels": [3, 5], "expands": [2, 3]}],
    "head": {"width": 16, "features": 16},
}
QUICK = {
    "finetune": False,
    "search": {"population": 10, "generations": 1, "candidates": 1},
    "collect.calibration_images": 64,
}
X, y = load_digits(return_X_y=True)


def classifier(**parameters):
    """One that fits in a quarter of a second."""
    known = {"space": SPACE, "epochs": 1, "subnets": 10, "random_state": 0, "settings": QUICK}
    return ofa.OnceForAllClassifier(**{**known, **parameters})


def name_of(check):
    return getattr(check, "func", check).__name__


# Some are there twice or thrice, with other types of the same arrays: once is enough, as all arrays become uint8.
CHECKS = {name_of(check): (estimator, check) for estimator, check in estimator_checks_generator(classifier())}


@pytest.mark.parametrize("name", CHECKS)
def test_scikit_learn_s_own_checks(name):
    estimator, check = CHECKS[name]
    check(estimator)


@pytest.fixture(scope="module")
def fitted():
    """On digits named by words, within half of the largest network's MACs."""
    settings = {**QUICK, "finetune": {"epochs": 1}, "search": {**QUICK["search"], "candidates": 4}, "train.lr": 0.1}
    names = np.array(["zero", "one", "two"])
    rows = y < 3
    return classifier(limits={"macs": "0.7x"}, epochs=6, settings=settings).fit(X[rows], names[y[rows]]), X[rows]


def test_it_learns_and_keeps_the_limits(fitted):
    model, rows = fitted
    assert list(model.classes_) == ["one", "two", "zero"] and model.n_features_in_ == 64
    assert model.score(rows, np.array(["zero", "one", "two"])[y[y < 3]]) > 0.8
    space = ofa.SearchSpace.from_dict(SPACE)
    macs = ofa.CostTable.macs(space, num_classes=3, in_chans=1)
    largest = macs.predict(space.encode(space.largest)[None])[0]
    for found in model.subnets_:
        assert macs.predict(space.encode(found.subnet)[None])[0] == found.predicted_costs["macs"] <= 0.7 * largest
        assert 0 <= found.accuracy <= 1 and found.costs == {}


@pytest.mark.parametrize("name", ["model.onnx", "folder"])
def test_what_it_exports_computes_the_same(fitted, tmp_path, monkeypatch, name):
    monkeypatch.setattr("ofa.export.onnx.export_onnx", quick_onnx)
    model, rows = fitted
    path = model.export(tmp_path / name)
    pixels = np.rint(255 * rows[:20] / 16).reshape(-1, 1, 8, 8).astype(np.float32)  # 16 is the digits' white
    mean, std = (np.array(model.model_.pretrained_cfg[key], np.float32).reshape(-1, 1, 1) for key in ("mean", "std"))
    images = (pixels / 255 - mean) / std
    if name == "folder":
        with torch.no_grad():
            logits = ofa.load_subnet(path)(torch.from_numpy(images)).numpy()
    else:
        (logits,) = onnxruntime.InferenceSession(path).run(None, {"input": images})
    expected = model.predict_proba(rows[:20])
    found = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_measured_limit_needs_a_runtime_and_is_kept_on_it():
    with pytest.raises(ValueError, match="limits: latency must be measured; give the runtime"):
        classifier(limits={"latency_ms": 100}).fit(X[:40], y[:40] % 2)
    quick = {**QUICK, "measure": {"rounds": 1, "fit_subnets": 2, "test_subnets": 2}}
    model = classifier(limits={"latency_ms": 100}, runtime="onnxruntime", settings=quick).fit(X[:40], y[:40] % 2)
    assert 0 < model.subnets_[0].costs["latency"] <= 100


def coloured(count):
    """Images of 6 x 9 pixels, red or blue."""
    labels = np.arange(count) % 2
    values = np.zeros((count, 6, 9, 3), np.uint8)
    values[np.arange(count), :, :, 2 * labels] = 200
    return values, labels


def test_colour_arrays_flat_rows_and_files_are_the_same_images(tmp_path):
    values, labels = coloured(24)
    of_arrays = classifier().fit(values, labels).predict_proba(values)
    flat = values.reshape(24, -1)
    np.testing.assert_array_equal(of_arrays, classifier(image_shape=(6, 9, 3)).fit(flat, labels).predict_proba(flat))
    paths = [tmp_path / f"{number}.png" for number in range(24)]
    for path, image in zip(paths, values, strict=True):
        Image.fromarray(image).save(path)
    model = classifier(epochs=6, settings={**QUICK, "train.lr": 0.2}).fit(paths, labels)
    assert model.score([str(path) for path in paths], labels) > 0.9 and not hasattr(model, "n_features_in_")
    with pytest.raises(ValueError, match="X is an array, and fit was given paths"):
        model.predict(values)


def test_the_seed_says_what_comes_out():
    one, other = (clone(classifier()).fit(X[:60], y[:60] % 3).predict_proba(X[:9]) for _ in range(2))
    assert np.array_equal(one, other)
    third = classifier(random_state=1).fit(X[:60], y[:60] % 3).predict_proba(X[:9])
    assert not np.array_equal(one, third)


@pytest.mark.parametrize(
    ("changes", "images", "labels", "words"),
    [
        ({}, X[:20].reshape(20, 2, 4, 8), y[:20], "X has the shape .*; images are"),
        ({}, X[:20].reshape(20, 2, 2, 4, 4), y[:20], "X has the shape .*; images are"),
        ({"image_shape": (5, 5)}, X[:20], y[:20], "X has 64 features a row, and image_shape"),
        ({"image_shape": (5, 5)}, X[:20].reshape(20, 8, 8), y[:20], "X holds images of shape"),
        ({}, X[:20], np.ones(20), "y has one class"),
        ({}, X[:20], y[:19], "inconsistent numbers of samples"),
        ({}, ["none.png", "no.png"], [0, 1], "none.png, which is no file"),
        ({}, ["none.png", "no.png"], [0, 1, 1], "y has 3 labels, and X 2 images"),
        ({"limits": {"macs": 1}}, X[:40], y[:40] % 2, "limit macs 1"),
        ({"limits": {"mac": 1}}, X[:40], y[:40] % 2, r"limits\.mac: unknown key; did you mean"),
        ({"space": "tiny"}, X[:40], y[:40] % 2, "space.preset: unknown preset"),
        ({"epochs": 0}, X[:40], y[:40] % 2, "train.total_epochs: must be greater"),
        ({"validation_fraction": 1.5}, X[:40], y[:40] % 2, "validation_fraction is 1.5"),
        ({"settings": {"train.lrr": 1}}, X[:40], y[:40] % 2, "train.lrr: unknown key"),
    ],
)
def test_a_mistake_is_one_sentence(changes, images, labels, words):
    with pytest.raises(ValueError, match=words):
        classifier(**changes).fit(images, labels)


def test_before_fit():
    with pytest.raises(NotFittedError):
        classifier().export("model.onnx")
