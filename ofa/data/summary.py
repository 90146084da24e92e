"""A summary of the data in a few lines: images, classes with their counts, and files that are not used."""

from __future__ import annotations

from ofa.data.loader import Data

MAX_CLASSES = 12  # listed one by one
MAX_UNUSED = 12  # lines


def data_lines(data: Data) -> list[str]:
    """Lines for ``ofa check`` and the start of a run."""
    counts = ", ".join(f"{count} {split}" for split, count in data.counts.items())
    lines = [f"data      {counts} images; {len(data.classes)} classes, {data.channels} channel(s)"]

    names, class_counts = data.classes, data.class_counts
    if len(names) <= MAX_CLASSES:
        classes = ", ".join(f"{name} {count}" for name, count in zip(names, class_counts, strict=True))
    else:
        few, many = int(class_counts.argmin()), int(class_counts.argmax())
        classes = f"from {names[few]} with {class_counts[few]} images to {names[many]} with {class_counts[many]}"
    lines.append(f"classes   {classes}")

    if data.left_out:
        lines.append(f"left out  {data.left_out} images that cannot be read")
    unused = list(data.unused[:MAX_UNUSED])
    if len(data.unused) > MAX_UNUSED:
        unused.append(f"{len(data.unused) - MAX_UNUSED} more kinds")
    return lines + [f"not used  {sentence}" for sentence in unused]
