"""The stage ``predict``: an accuracy predictor fitted to the collected subnets, and how good it is on unseen ones."""

from __future__ import annotations

from ofa.pipeline import subnet_csv
from ofa.pipeline.artefacts.quality import PredictorQuality
from ofa.pipeline.context import Outcome
from ofa.pipeline.job import Job
from ofa.predictors.accuracy.predictor import AccuracyPredictor
from ofa.predictors.accuracy.quality import quality
from ofa.predictors.accuracy.targets import TARGETS
from ofa.proxies.features import scored_networks


def run(job: Job) -> Outcome:
    space, kind = job.recipe.space, job.recipe.predictor.kind
    options = {"kind": kind, "loss": job.recipe.predictor.loss, "seed": job.recipe.seed}
    codes, scores = subnet_csv.read_scores(job.folder / "accuracy.csv", space)
    target = job.recipe.predictor.target
    signal = TARGETS[target].signal(scores)

    # How good it is, fitted on some of the subnets and asked for the others; then a predictor fitted on all of them.
    names = job.recipe.predictor.features
    proxies = scored_networks(job, codes, names) if names else None
    held_out = quality(space, codes, scores.accuracy, signal=signal, proxies=proxies, **options)
    measured = PredictorQuality.model_validate({**held_out, "target": target})
    measured.save(job.folder)
    folder = job.folder / "predictor"
    predictor = AccuracyPredictor(space, **options)
    predictor.fit(codes, scores.accuracy, signal=signal, proxies=proxies).save(folder)

    summary = (
        f"{measured.kind or kind} on held-out subnets: Kendall tau {measured.kendall_tau:.2f}, "
        f"RMSE {100 * measured.rmse:.2f} points, {measured.calibration:.0%} within one standard deviation"
    )
    if measured.rows_dropped:
        summary += f"; {measured.rows_dropped:.0f} rows without an accuracy left out"
    return Outcome(sorted(folder.glob("*.json")) + sorted(folder.glob("*.npz")), summary)
