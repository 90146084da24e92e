"""The stage ``evaluate``: each target's model is timed, and scored on the test images, which no other stage reads."""

from __future__ import annotations

import datetime
import platform
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np

from ofa.export.runtimes.machine import cpu_name
from ofa.export.verify import confusion
from ofa.pipeline.artefacts.evaluation import ClassCounts, Evaluated, Evaluation, Machine, Preprocessing
from ofa.pipeline.artefacts.search import SearchRecord
from ofa.pipeline.context import Outcome
from ofa.pipeline.job import Job
from ofa.report.intervals import wilson
from ofa.targets.deployment import deployment_of
from ofa.targets.final_times import Ready, final_times
from ofa.targets.model_formats import model_path, open_session

_SHOWN_PACKAGES = ("torch", "timm", "onnx", "onnxruntime", "scikit-learn", "numpy")


def run(job: Job) -> Outcome:
    threads = job.recipe.measure.threads
    scores: dict[str, dict[str, Any]] = {}
    sessions: dict[str, Ready] = {}

    # One model after another in its own runtime, as it will be deployed.
    for name, target in job.recipe.targets.items():
        job.check_interrupt()
        deployment, folder = deployment_of(target), job.folder / "models" / name
        resolution = SearchRecord.load(job.folder, name).subnet.resolution
        session = open_session(deployment, folder, threads=threads)
        counts = confusion(partial(deployment.scorer.run, session), job.images("test", resolution))
        scores[name] = test_figures(counts)
        if deployment.timed:
            shape = (job.data.channels, resolution, resolution)
            sessions[name] = Ready(deployment, model_path(deployment, folder), session, shape)

    # All at once, in turn, so that what slows the machine down slows all of them.
    times = final_times(sessions, job.recipe.space, job.model_kwargs, threads=threads, folder=job.folder / "costs")

    data = job.data
    evaluation = Evaluation(
        date=datetime.date.today().isoformat(),
        machine=Machine(cpu=cpu_name(), python=platform.python_version(), system=platform.platform()),
        versions={package: version(package) for package in _SHOWN_PACKAGES},
        classes=data.classes,
        images=data.counts,
        preprocessing=Preprocessing(
            channels=data.channels,
            mean=data.mean,
            std=data.std,
            interpolation=data.interpolation,
            crop_pct=data.crop_pct,
        ),
        targets={name: Evaluated(**figures, **times.get(name, {})) for name, figures in scores.items()},
    )
    path = evaluation.save(job.folder)
    shown = ", ".join(f"{name} {result.test_accuracy:.1%}" for name, result in evaluation.targets.items())
    return Outcome([path], f"{data.counts['test']} test images: {shown}")


def test_figures(confusion: np.ndarray) -> dict[str, Any]:
    """The scores of ``Evaluated``, from a confusion matrix ``(classes, classes)`` whose rows are the true classes.

    All of the matrix is kept without its zeros, so a thousand classes take no more than their mistakes.
    """
    images, right = confusion.sum(axis=1), confusion.diagonal()
    wrong = confusion - np.diag(right)
    rows, columns = np.nonzero(wrong)
    order = np.argsort(-wrong[rows, columns], kind="stable")
    accuracy = float(right.sum() / images.sum())
    return {
        "test_accuracy": accuracy,
        "test_interval": wilson(accuracy, int(images.sum())),
        "test_classes": ClassCounts(
            images=images.tolist(),
            right=right.tolist(),
            taken_for=np.column_stack([rows, columns, wrong[rows, columns]])[order].tolist(),
        ),
    }
