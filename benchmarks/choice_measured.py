"""What was measured of a supernet's subnets, on disk, so that ways of choosing are compared without measuring anew."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch

import ofa
from ofa.config.recipe_file import load_run_recipe
from ofa.pipeline.job import Job
from ofa.supernet.files import write_atomic

_KEEP = 25  # networks after which the file is written


class Measured:
    """Logits of subnets on the validation images, and their test accuracy and cross-entropy, by code.

    A network that is not there yet is extracted, calibrated and run, as the stage ``collect`` does.

    Attributes:
        labels: of the validation images ``(images,)``.
        job: the run; its data and supernet are opened when a network must be measured.
    """

    def __init__(self, run: Path) -> None:
        self.job = Job(load_run_recipe(run), run)
        self.space = self.job.recipe.space
        self._path, self._new = run / "measured.npz", 0
        self._rows: dict[bytes, tuple[np.ndarray, float, float]] = {}
        self._read()

    def _read(self) -> None:
        if not self._path.exists():
            self.labels = _labels(self.job)
            return
        with np.load(self._path) as arrays:
            self.labels = arrays["labels"]
            rows = zip(arrays["logits"], arrays["test_accuracy"], arrays["test_loss"], strict=True)
            self._rows = {code.tobytes(): row for code, row in zip(arrays["codes"], rows, strict=True)}

    def logits(self, codes: np.ndarray) -> np.ndarray:
        """Of the validation images ``(n, images, classes)``, float32."""
        return np.stack([self._row(code)[0] for code in codes]).astype(np.float32)

    def test(self, codes: np.ndarray) -> np.ndarray:
        """Accuracy and cross-entropy on the test images ``(n, 2)``."""
        return np.array([self._row(code)[1:] for code in codes])

    @property
    def codes(self) -> np.ndarray:
        """Of all networks measured so far ``(n, genes)``."""
        return np.stack([np.frombuffer(key, np.int8) for key in self._rows])

    def __len__(self) -> int:
        return len(self._rows)

    def _row(self, code: np.ndarray) -> tuple[np.ndarray, float, float]:
        key = code.astype(np.int8).tobytes()
        if key not in self._rows:
            self._rows[key] = _measure(self.job, self.space.decode(code))
            self._new += 1
            if self._new >= _KEEP:
                self.save()
        return self._rows[key]

    def save(self) -> None:
        if not self._new:
            return
        logits, accuracies, losses = (np.array(column) for column in zip(*self._rows.values(), strict=True))
        content = io.BytesIO()
        np.savez(
            content, codes=self.codes, labels=self.labels, logits=logits, test_accuracy=accuracies, test_loss=losses
        )
        write_atomic(self._path, content.getvalue())
        self._new = 0


def _labels(job: Job) -> np.ndarray:
    return np.concatenate([labels for _, labels in job.images("validation", job.recipe.space.resolutions[0])])


@torch.no_grad()
def _measure(job: Job, subnet: ofa.Subnet) -> tuple[np.ndarray, float, float]:
    model = job.extract_calibrated(subnet).eval()
    logits = {}
    for split in ("validation", "test"):
        batches = [(model(images), labels) for images, labels in job.images(split, subnet.resolution)]
        logits[split] = tuple(torch.cat(part) for part in zip(*batches, strict=True))
    outputs, labels = logits["test"]
    accuracy = float((outputs.argmax(1) == labels).double().mean())
    loss = float(torch.nn.functional.cross_entropy(outputs, labels))
    return logits["validation"][0].numpy().astype(np.float16), accuracy, loss
