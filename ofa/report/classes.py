"""What the test split says of each class: its accuracy, and what it is taken for."""

from __future__ import annotations

from typing import Any

import numpy as np

from ofa.report.intervals import in_brackets, wilson
from ofa.report.tables import Cell, Table
from ofa.report.units import percent

MAX_MATRIX = 20  # classes; of more, only the worst are shown
MAX_SHOWN = 10


def class_figures(confusion: np.ndarray) -> dict[str, Any]:
    """What ``report.json`` keeps of a confusion matrix ``(classes, classes)`` whose rows are the true classes.

    ``test_classes`` is the whole matrix without its zeros: ``images`` and ``right`` per class, and ``taken_for`` as
    ``[true, predicted, images]``, the most frequent first; so a thousand classes take no more than their mistakes.
    """
    images, right = confusion.sum(axis=1), confusion.diagonal()
    wrong = confusion - np.diag(right)
    rows, columns = np.nonzero(wrong)
    order = np.argsort(-wrong[rows, columns], kind="stable")
    share = float(right.sum() / images.sum())
    return {
        "test_accuracy": share,
        "test_interval": list(wilson(share, int(images.sum()))),
        "test_classes": {
            "images": images.tolist(),
            "right": right.tolist(),
            "taken_for": np.column_stack([rows, columns, wrong[rows, columns]])[order].tolist(),
        },
    }


def by_result(values: dict[str, Any]) -> list[tuple[list[str], dict[str, Any]]]:
    """The distinct results of the test split, each with the targets that have it; none in older reports."""
    found: list[tuple[list[str], dict[str, Any]]] = []
    for name, target in values["targets"].items():
        if (counts := target["measured"].get("test_classes")) is None or "classes" not in values:
            continue
        names = next((names for names, other in found if other == counts), None)
        if names is None:
            found.append(([name], counts))
        else:
            names.append(name)
    return found


def class_tables(values: dict[str, Any]) -> list[Table]:
    """For each distinct result: accuracy by class, and the confusion matrix or, of many classes, the worst of both."""
    tables, results = [], by_result(values)
    for names, counts in results:
        which = f" of {', '.join(names)}" if len(results) > 1 else ""
        tables += [_accuracies(values["classes"], counts, which), _confusions(values["classes"], counts, which)]
    return [table for table in tables if table.rows]


def class_notes(values: dict[str, Any]) -> list[str]:
    """A sentence for each distinct result: the class of lowest accuracy and the most frequent mistake."""
    found, results = [], by_result(values)
    for names, counts in results:
        which = f" of {', '.join(names)}" if len(results) > 1 else ""
        classes, order = values["classes"], _worst(counts)
        if not order:
            continue
        right, images = counts["right"][order[0]], counts["images"][order[0]]
        text = f"Test images by class{which}: lowest {classes[order[0]]} ({right} of {images})"
        if counts["taken_for"]:
            true, predicted, times = counts["taken_for"][0]
            text += f"; most frequent mistake: {classes[true]} taken for {classes[predicted]} ({times} of "
            text += f"{counts['images'][true]})"
        found.append(f"{text}.")
    return found


def _worst(counts: dict[str, Any]) -> list[int]:
    """Classes that have test images, of lowest accuracy first; of equal ones that with more images."""
    images, right = counts["images"], counts["right"]
    tested_on = [label for label, count in enumerate(images) if count]
    return sorted(tested_on, key=lambda label: (right[label] / images[label], -images[label]))


def _accuracies(classes: list[str], counts: dict[str, Any], which: str) -> Table:
    few = len(classes) <= MAX_MATRIX
    shown = range(len(classes)) if few else _worst(counts)[:MAX_SHOWN]
    most = {}
    for true, predicted, times in reversed(counts["taken_for"]):
        most[true] = f"{classes[predicted]} ({times})"
    rows = []
    for label in shown:
        images, right = counts["images"][label], counts["right"][label]
        share = right / images if images else None
        interval = in_brackets(wilson(share, images) if images else None, decimals=0)
        rows.append(
            (
                Cell(classes[label]),
                Cell(str(images), images),
                Cell(str(right), right),
                Cell(percent(share) + interval, share),
                Cell(most.get(label, "")),
            )
        )
    columns = ("class", "test images", "right", "accuracy %", "most often taken for")
    title = "Accuracy by class" if few else f"Accuracy by class, the lowest of {len(classes)}"
    return Table(title + which, columns, rows)


def _confusions(classes: list[str], counts: dict[str, Any], which: str) -> Table:
    if len(classes) > MAX_MATRIX:
        rows = [
            (Cell(classes[true]), Cell(classes[predicted]), Cell(str(times), times))
            for true, predicted, times in counts["taken_for"][:MAX_SHOWN]
        ]
        return Table(f"Most frequent mistakes{which}", ("class", "taken for", "test images"), rows)
    matrix = np.diag(counts["right"])
    for true, predicted, times in counts["taken_for"]:
        matrix[true, predicted] = times
    rows = [
        (Cell(name), *(Cell(str(count) if count else "", float(count)) for count in row))
        for name, row in zip(classes, matrix.tolist(), strict=True)
    ]
    return Table(f"Confusion matrix{which}", ("true class, as predicted", *classes), rows)
