"""The stage ``predict``: an accuracy predictor fitted to the collected subnets, and how good it is on unseen ones."""

from __future__ import annotations

from ofa.pipeline import subnet_csv
from ofa.pipeline.job import Job, Outcome
from ofa.predictors.accuracy.predictor import AccuracyPredictor
from ofa.predictors.accuracy.quality import quality
from ofa.supernet.files import write_json


def run(job: Job) -> Outcome:
    space, kind, seed = job.recipe.space, job.recipe.predictor.kind, job.recipe.seed
    codes, accuracies = subnet_csv.read(job.folder / "accuracy.csv", space)
    folder = job.folder / "predictor"
    found = quality(space, codes, accuracies, kind=kind, seed=seed)
    write_json(folder / "quality.json", found)
    AccuracyPredictor(space, kind=kind, seed=seed).fit(codes, accuracies).save(folder)
    chosen = found.get("kind", kind)
    summary = (
        f"{chosen} on held-out subnets: Kendall tau {found['kendall_tau']:.2f}, RMSE {100 * found['rmse']:.2f} points, "
        f"{found['calibration']:.0%} within one standard deviation"
    )
    if dropped := int(found["rows_dropped"]):
        summary += f"; {dropped} rows without an accuracy left out"
    return sorted(folder.glob("*.json")) + sorted(folder.glob("*.npz")), summary
