"""Comparing a file with its model: the figures are right, and differences are refused."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

from ofa.export.verify import EQUAL_PREDICTIONS, TOLERANCE, VerificationError, check_tolerance, compare
from ofa.predictors.metrics import top1

BATCHES = [torch.tensor([[0.0, 1.0, 4.0], [3.0, 2.0, 1.0]]), torch.tensor([[5.0, -1.0, 0.0]])]
MODEL = nn.Identity()
GOOD = {"images": 1000, "largest_difference": 0.0, "range": 10.0, "equal_predictions": 1.0}


def test_figures_by_hand():
    def run(x):
        return x + np.where(x == 4, -3.5, 0.25).astype(np.float32)

    result = compare(MODEL, run, iter(BATCHES))
    # The first row's largest logit falls from 4 to 0.5, below its neighbour.
    assert result == {"images": 3, "largest_difference": 3.5, "range": 6.0, "equal_predictions": pytest.approx(2 / 3)}
    assert all(type(value) in (int, float) for value in result.values()), "they go into a JSON file"


def test_model_gets_no_gradients_and_the_runtime_float32():
    seen = []

    def run(x):
        seen.append(x.dtype)
        return x

    result = compare(nn.Linear(3, 3), lambda x: run(x), BATCHES)
    assert seen == [np.float32, np.float32] and result["largest_difference"] > 0


def test_no_images():
    with pytest.raises(ValueError, match="no images to compare on"):
        compare(MODEL, lambda x: x, [])


@pytest.mark.parametrize("batch", [0, 1])
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("where", [0, slice(None)])
def test_outputs_that_are_no_numbers_are_rejected(tmp_path, batch, value, where):
    path, count = tmp_path / "model.onnx", iter(range(9))
    path.touch()

    def run(x):
        x = x.copy()
        if next(count) == batch:
            # Where the first class wins in the second batch, so that predictions alone would agree.
            x[-1, where] = value
        return x

    result = compare(MODEL, run, BATCHES)
    assert not result["largest_difference"] < 1e30
    with pytest.raises(VerificationError):
        check_tolerance(path, result)


def test_a_model_without_numbers_is_rejected(tmp_path):
    path = tmp_path / "model.onnx"
    path.touch()
    for images in ([BATCHES[0], torch.full((1, 3), torch.nan)], [torch.full((1, 3), torch.nan), BATCHES[0]]):
        path.touch()
        with pytest.raises(VerificationError):
            check_tolerance(path, compare(MODEL, lambda x: x, images))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"largest_difference": 0.999 * TOLERANCE * 10},
        {"equal_predictions": EQUAL_PREDICTIONS},
        {"largest_difference": 0.05, "range": 100.0},
    ],
)
def test_close_is_accepted(tmp_path, changes):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"model")
    check_tolerance(path, {**GOOD, **changes})
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("model.onnx", b"model")]


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"largest_difference": 1.001 * TOLERANCE * 10}, "largest difference 0.01 of an output range 10"),
        ({"largest_difference": 0.05, "range": 1.0}, "largest difference 0.05 of an output range 1"),
        ({"largest_difference": float("nan")}, "largest difference nan"),
        ({"range": float("nan")}, "output range nan"),
        ({"equal_predictions": 0.99}, "99.0% equal predictions on 1000 images"),
        ({"equal_predictions": float("nan")}, "nan% equal"),
    ],
)
def test_differences_are_rejected_and_the_file_is_renamed(tmp_path, changes, words):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"model")
    (tmp_path / "model.onnx.rejected").write_bytes(b"an older one")
    with pytest.raises(VerificationError) as caught:
        check_tolerance(path, {**GOOD, **changes})
    assert words in str(caught.value) and str(tmp_path / "model.onnx.rejected") in str(caught.value)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("model.onnx.rejected", b"model")]


def test_top1_counts_over_unequal_batches():
    calls = Counter()

    def run(x):
        calls[len(x)] += 1
        return x

    labels = [torch.tensor([2, 1]), torch.tensor([0])]
    assert top1(lambda images: run(images.numpy()), zip(BATCHES, labels, strict=True)) == pytest.approx(2 / 3)
    assert calls == {2: 1, 1: 1}
