"""Accuracy by class and confusion matrices, and the intervals of accuracies, in all forms of a report."""

import json
import time

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from ofa.export.verify import confusion
from ofa.pipeline.artefacts.evaluation import Evaluated
from ofa.pipeline.artefacts.report import Report
from ofa.predictors.metrics import top1
from ofa.report.classes import MAX_MATRIX, MAX_SHOWN, by_result, class_notes, class_tables
from ofa.report.html import render_html
from ofa.report.intervals import in_brackets, wide, wilson
from ofa.report.text import render_markdown, render_text
from ofa.stages.evaluate import test_figures as scores_of


@pytest.mark.parametrize(("right", "images"), [(0, 1), (1, 1), (0, 359), (359, 359), (355, 359), (7, 20), (77, 99)])
def test_an_interval_is_wilsons(right, images):
    found = binomtest(right, images).proportion_ci(0.95, "wilson")
    assert wilson(right / images, images) == pytest.approx((found.low, found.high), abs=1e-12)


@pytest.mark.parametrize(
    ("share", "images", "text"),
    [
        (0.986, 359, " (96.8-99.4)"),
        (0.5, 38_000, " (49.5-50.5)"),  # half a point and a bit
        (0.5, 39_000, ""),
        (0.99, 1500, " (98.4-99.4)"),
        (0.99, 1700, ""),
        (0.0, 0, " (0.0-100.0)"),
    ],
)
def test_only_an_interval_of_more_than_half_a_point_is_shown(share, images, text):
    assert in_brackets(wilson(share, images)) == text
    assert wide(wilson(share, images)) == bool(text)


def matrix_of(rng, classes, images) -> np.ndarray:
    """Random labels, of which most are told rightly."""
    true = rng.integers(classes, size=images)
    predicted = np.where(rng.random(images) < 0.8, true, rng.integers(classes, size=images))
    return np.bincount(true * classes + predicted, minlength=classes**2).reshape(classes, classes)


def test_a_confusion_matrix_counts_every_image_once():
    rng = np.random.default_rng(0)
    true, logits = rng.integers(5, size=70), rng.normal(size=(70, 5)).astype(np.float32)
    batches = [(torch.from_numpy(logits[a : a + 16]), torch.from_numpy(true[a : a + 16])) for a in range(0, 70, 16)]
    counts = confusion(lambda images: images, batches)
    for row in range(5):
        for column in range(5):
            assert counts[row, column] == ((true == row) & (logits.argmax(1) == column)).sum()
    assert top1(lambda images: images.numpy(), batches) == (true == logits.argmax(1)).mean() == counts.trace() / 70


@pytest.mark.parametrize(("labels", "words"), [([], "no images to score"), ([0, 3], "0 to 3, and the model has 3")])
def test_what_cannot_be_scored_is_refused(labels, words):
    batch = (torch.zeros(len(labels), 3), torch.tensor(labels, dtype=torch.int64))
    with pytest.raises(ValueError, match=words):
        confusion(lambda images: images, [batch])


@pytest.mark.parametrize("classes", [2, 3, MAX_MATRIX, MAX_MATRIX + 1, 1000])
def test_what_is_kept_is_the_whole_matrix(report, classes):
    counts = matrix_of(np.random.default_rng(classes), classes, 3 * classes)
    started = time.process_time()
    kept = json.loads(json.dumps(scored(counts)))
    again = np.diag(kept["test_classes"]["right"])
    for true, predicted, images in kept["test_classes"]["taken_for"]:
        again[true, predicted] = images
    assert (again == counts).all() and kept["test_classes"]["images"] == counts.sum(axis=1).tolist()
    assert kept["test_accuracy"] == pytest.approx(counts.trace() / counts.sum())
    tables = class_tables(report(classes, phone=kept))
    assert time.process_time() - started < 2
    assert len(json.dumps(kept)) < 100 * 3 * classes
    by_class, confused = tables
    few = classes <= MAX_MATRIX
    assert len(by_class.rows) == (classes if few else MAX_SHOWN)
    assert len(confused.rows) == (classes if few else MAX_SHOWN)
    if few:
        assert [[cell.value for cell in row[1:]] for row in confused.rows] == counts.tolist()
    else:
        shares = [row[3].value for row in by_class.rows]
        every = counts.diagonal() / np.maximum(counts.sum(axis=1), 1)
        assert shares == sorted(shares) and max(shares) <= np.sort(every[counts.sum(axis=1) > 0])[MAX_SHOWN - 1]
        assert [row[2].value for row in confused.rows] == sorted(
            (counts - np.diag(counts.diagonal())).ravel().tolist(), reverse=True
        )[:MAX_SHOWN]


def scored(counts: np.ndarray) -> dict:
    """As ``evaluation.json`` has it."""
    return Evaluated(**scores_of(counts)).to_dict()


@pytest.fixture
def report(report_of):
    def make(classes, **targets) -> Report:
        names = [f"class {number}" for number in range(classes)]
        return report_of({"classes": names, "targets": {name: {"measured": kept} for name, kept in targets.items()}})

    return make


def test_equal_results_are_told_once(report):
    rng = np.random.default_rng(1)
    one, other = (scored(matrix_of(rng, 3, 90)) for _ in range(2))
    values = report(3, server=one, phone=one, board=other)
    assert [names for names, _ in by_result(values)] == [["server", "phone"], ["board"]]
    titles = [table.title for table in class_tables(values)]
    assert titles[:2] == ["Accuracy by class of server, phone", "Confusion matrix of server, phone"]
    assert len(titles) == 4
    assert by_result(values.model_copy(update={"classes": ()})) == []  # a report of before


def test_the_note_names_the_weakest_class_and_the_most_frequent_mistake(report):
    values = report(3, phone=scored(np.array([[5, 0, 0], [1, 6, 3], [0, 2, 8]])))
    assert class_notes(values) == [
        "Test images by class: lowest class 1 (6 of 10); most frequent mistake: class 1 taken for class 2 (3 of 10)."
    ]
    perfect = report(3, phone=scored(np.diag([5, 0, 4])))
    assert class_notes(perfect) == ["Test images by class: lowest class 0 (5 of 5)."]


def test_every_form_of_a_report_has_them(finished):
    values = json.loads((finished.folder / "report.json").read_text())
    measured = values["targets"]["phone"]["measured"]
    kept = measured["test_classes"]
    count = values["data"]["images"]["test"]
    assert sum(kept["images"]) == count and sum(kept["right"]) / count == measured["test_accuracy"]
    assert measured["test_interval"] == list(wilson(measured["test_accuracy"], count))
    low, high = measured["validation_interval"]
    assert low < measured["validation_accuracy"] < high
    whole = Report.load(finished.folder)
    (worst,) = class_notes(whole)
    bracket = in_brackets(measured["test_interval"])
    text = {
        "card": (finished.folder / "models" / "phone" / "card.md").read_text(),
        "report.md": render_markdown(whole),
        "report.html": render_html(whole),
        "screen": render_text(whole),
    }
    for kind, content in text.items():
        assert bracket.strip(" ()") in content, kind
        if kind != "screen":
            assert "Accuracy by class" in content and "Confusion matrix" in content, kind
        if kind != "card":
            assert worst in content and "95% interval (Wilson)" in content, kind
    assert f"| 3 | {kept['images'][3]} | {kept['right'][3]} | " in text["card"]
