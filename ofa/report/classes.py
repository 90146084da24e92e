"""What the test split says of each class: its accuracy, and what it is taken for."""

from __future__ import annotations

from collections.abc import Sequence

from ofa.pipeline.artefacts.evaluation import ClassCounts
from ofa.pipeline.artefacts.report import Report
from ofa.report.intervals import in_brackets, wilson
from ofa.report.tables import Cell, Table
from ofa.report.units import percent

MAX_MATRIX = 20  # classes; of more, only the worst are shown
MAX_SHOWN = 10


def by_result(report: Report) -> list[tuple[list[str], ClassCounts]]:
    """The distinct results of the test split, each with the targets that have it; none in older reports."""
    results: list[tuple[list[str], ClassCounts]] = []
    for name, target in report.targets.items():
        if (counts := target.measured.test_classes) is None or not report.classes:
            continue
        names = next((names for names, other in results if other == counts), None)
        if names is None:
            results.append(([name], counts))
        else:
            names.append(name)
    return results


def class_tables(report: Report) -> list[Table]:
    """For each distinct result: accuracy by class, and the confusion matrix or, of many classes, the worst of both."""
    tables, results = [], by_result(report)
    for names, counts in results:
        which = f" of {', '.join(names)}" if len(results) > 1 else ""
        tables += [_accuracies(report.classes, counts, which), _confusions(report.classes, counts, which)]
    return [table for table in tables if table.rows]


def class_notes(report: Report) -> list[str]:
    """A sentence for each distinct result: the class of lowest accuracy and the most frequent mistake."""
    lines, results, classes = [], by_result(report), report.classes
    for names, counts in results:
        which = f" of {', '.join(names)}" if len(results) > 1 else ""
        if not (order := _worst(counts)):
            continue
        right, images = counts.right[order[0]], counts.images[order[0]]
        text = f"Test images by class{which}: lowest {classes[order[0]]} ({right} of {images})"
        if counts.taken_for:
            true, predicted, times = counts.taken_for[0]
            text += f"; most frequent mistake: {classes[true]} taken for {classes[predicted]} ({times} of "
            text += f"{counts.images[true]})"
        lines.append(f"{text}.")
    return lines


def _worst(counts: ClassCounts) -> list[int]:
    """Classes that have test images, of lowest accuracy first; of equal ones that with more images."""
    images, right = counts.images, counts.right
    tested_on = [label for label, count in enumerate(images) if count]
    return sorted(tested_on, key=lambda label: (right[label] / images[label], -images[label]))


def _accuracies(classes: Sequence[str], counts: ClassCounts, which: str) -> Table:
    few = len(classes) <= MAX_MATRIX
    shown = range(len(classes)) if few else _worst(counts)[:MAX_SHOWN]
    most = {}
    for true, predicted, times in reversed(counts.taken_for):
        most[true] = f"{classes[predicted]} ({times})"
    rows = []
    for label in shown:
        images, right = counts.images[label], counts.right[label]
        accuracy = right / images if images else None
        interval = in_brackets(wilson(accuracy, images) if images else None, decimals=0)
        rows.append(
            (
                Cell(classes[label]),
                Cell(str(images), images),
                Cell(str(right), right),
                Cell(percent(accuracy) + interval, accuracy),
                Cell(most.get(label, "")),
            )
        )
    columns = ("class", "test images", "right", "accuracy %", "most often taken for")
    title = "Accuracy by class" if few else f"Accuracy by class, the lowest of {len(classes)}"
    return Table(title + which, columns, rows)


def _confusions(classes: Sequence[str], counts: ClassCounts, which: str) -> Table:
    if len(classes) > MAX_MATRIX:
        rows = [
            (Cell(classes[true]), Cell(classes[predicted]), Cell(str(times), times))
            for true, predicted, times in counts.taken_for[:MAX_SHOWN]
        ]
        return Table(f"Most frequent mistakes{which}", ("class", "taken for", "test images"), rows)

    # The whole matrix again: the right answers are its diagonal, the mistakes all that is not zero beside it.
    matrix = [[0] * len(classes) for _ in classes]
    for label, right in enumerate(counts.right):
        matrix[label][label] = right
    for true, predicted, times in counts.taken_for:
        matrix[true][predicted] = times
    rows = [
        (Cell(name), *(Cell(str(count) if count else "", float(count)) for count in row))
        for name, row in zip(classes, matrix, strict=True)
    ]
    return Table(f"Confusion matrix{which}", ("true class, as predicted", *classes), rows)
