"""The stage ``report``: the models timed and scored on the test split, and what is shown of the run."""

from __future__ import annotations

from functools import partial
from typing import Any

from ofa.export.verify import confusion
from ofa.pipeline.job import Job, Outcome
from ofa.predictors.costs.names import COSTS
from ofa.report.build import write_report
from ofa.report.classes import class_figures
from ofa.report.model_card import write_card
from ofa.supernet.files import read_json
from ofa.targets.deployment import deployment_of
from ofa.targets.final_times import Ready, final_times
from ofa.targets.model_formats import model_path, open_session


def run(job: Job) -> Outcome:
    """The only place that reads the test split."""
    threads = job.recipe.measure.threads
    measured: dict[str, dict[str, Any]] = {}
    timed: dict[str, Ready] = {}
    for name, target in job.recipe.targets.items():
        job.check_interrupt()
        deployment, folder = deployment_of(target), job.folder / "models" / name
        resolution = read_json(folder / "subnet.json")["subnet"]["resolution"]
        session = open_session(deployment, folder, threads=threads)
        images = job.images("test", resolution)
        counts = confusion(partial(deployment.scorer.run, session), images)
        program = read_json(folder / "verify.json").get("program", {})
        measured[name] = {**class_figures(counts), **{cost: program[cost] for cost in COSTS if cost in program}}
        if deployment.timed:
            shape = (job.data.channels, resolution, resolution)
            timed[name] = Ready(deployment, model_path(deployment, folder), session, shape)
    for name, times in final_times(
        timed, job.recipe.space, job.head, threads=threads, folder=job.folder / "costs"
    ).items():
        measured[name] |= times
    files = write_report(job.recipe, job.folder, measured, counts=job.data.counts, classes=job.data.classes)
    data = {key: getattr(job.data, key) for key in ("classes", "mean", "std", "interpolation", "crop_pct", "channels")}
    values, data = read_json(job.folder / "report.json"), {**data, "licence": job.recipe.data.licence}
    cards = [write_card(job.folder / "models" / name / "card.md", values, name, data) for name in measured]
    return [*files, *cards], f"{files[-1]}"
