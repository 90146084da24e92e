"""What a data folder was understood to be, in a few lines: images, classes with their counts, and what is not used."""

from __future__ import annotations

import numpy as np

from ofa.data.loader import Data

MAX_CLASSES = 12  # named one by one
MAX_UNUSED = 12  # lines


def data_lines(data: Data) -> list[str]:
    """Lines for ``ofa check`` and the start of a run."""
    counts = ", ".join(f"{count} {split}" for split, count in data.counts.items())
    lines = [f"data      {counts} images; {len(data.classes)} classes, {data.channels} channel(s)"]
    lines.append(f"classes   {_classes(data.classes, data.class_counts)}")
    if data.left_out:
        lines.append(f"left out  {data.left_out} images that cannot be read")
    told = list(data.unused[:MAX_UNUSED])
    if len(data.unused) > MAX_UNUSED:
        told.append(f"{len(data.unused) - MAX_UNUSED} more kinds")
    return lines + [f"not used  {sentence}" for sentence in told]


def _classes(names: tuple[str, ...], counts: np.ndarray) -> str:
    if len(names) <= MAX_CLASSES:
        return ", ".join(f"{name} {count}" for name, count in zip(names, counts, strict=True))
    few, many = int(counts.argmin()), int(counts.argmax())
    return f"from {names[few]} with {counts[few]} images to {names[many]} with {counts[many]}"
