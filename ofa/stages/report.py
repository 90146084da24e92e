"""The stage ``report``: what earlier stages measured as ``report.json``, ``.md``, ``.html`` and a card for each model.

It measures nothing and imports no torch, so it can be run again at will.
"""

from __future__ import annotations

from ofa.pipeline.artefacts.evaluation import Evaluation
from ofa.pipeline.context import Outcome, RunContext
from ofa.report.build import build_report, write_report
from ofa.report.model_card import write_card


def run(run: RunContext) -> Outcome:
    evaluation = Evaluation.load(run.folder)
    report = build_report(run.recipe, run.folder, evaluation)
    files = write_report(report, run.folder)
    cards = [
        write_card(run.folder, report, target, evaluation, licence=run.recipe.data.licence) for target in report.targets
    ]
    return Outcome([*files, *cards], f"{files[-1]}")
