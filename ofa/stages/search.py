"""The stage ``search``: the best subnet inside each target's limits.

Predictions propose, measurements choose: the few best predicted subnets are built and measured, so that one lucky
prediction does not decide.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from ofa.config.relaxing import relaxing
from ofa.errors import UserError
from ofa.pipeline import subnet_csv
from ofa.pipeline.artefacts.search import Candidate, Figures, Predicted, SearchRecord
from ofa.pipeline.context import Outcome
from ofa.pipeline.job import Job
from ofa.predictors.accuracy.choice import CHOICES, Measurements
from ofa.predictors.accuracy.predictor import AccuracyPredictor
from ofa.predictors.accuracy.targets import TARGETS
from ofa.predictors.costs.table import Table
from ofa.predictors.metrics import Scores, scores
from ofa.stages.relax import learned_probabilities
from ofa.strategies.proposals import proposals, proposed_result
from ofa.strategies.search import InfeasibleLimit, SearchResult, search
from ofa.supernet.integers import ceil_div
from ofa.supernet.space import SearchSpace, Subnet
from ofa.targets.deployment import Deployment
from ofa.targets.measuring import measure_subnets
from ofa.targets.target_costs import target_costs

ATTEMPTS = 4

Limits = dict[Table, float]
Costs = dict[str, float]  # measured, by the cost's name


class _Question(NamedTuple):
    """What is searched for a target: ``costs`` by name, and the ``limits`` on some of them.

    ``collected`` taught the ``predictor``. ``learned``: the probabilities of a differentiable search.
    """

    deployment: Deployment
    predictor: AccuracyPredictor
    collected: Measurements
    costs: dict[str, Table]
    limits: Limits
    learned: list[np.ndarray] | None


def run(job: Job) -> Outcome:
    predictor = AccuracyPredictor.load(job.folder / "predictor")
    collected = _measurements(job, *subnet_csv.read_scores(job.folder / "accuracy.csv", job.recipe.space))
    files, chosen_ids = [], []
    for name in tqdm(job.recipe.targets, desc="search", unit="target", disable=None):
        deployment, costs, limits = target_costs(job.recipe, job.folder, name, job.model_kwargs)
        learned = learned_probabilities(job, name) if relaxing(job.recipe) else None
        question = _Question(deployment, predictor, collected, costs, limits, learned)
        try:
            result, candidates = _propose(job, question)
        except InfeasibleLimit as error:
            raise UserError(f"targets.{name}: {error}") from error
        record = _record(job, question, result, candidates, _scores(job, candidates, limits))
        files.append(record.save(job.folder, name))
        chosen_ids.append(f"{name} {record.id}")
    return Outcome(files, f"{len(files)} targets: {', '.join(chosen_ids)}")


def _propose(job: Job, question: _Question) -> tuple[SearchResult, dict[Subnet, Costs]]:
    """A search, and its best few subnets with their measured costs.

    The search exploits optimistic errors of the tables. If no candidate meets the limits when measured, limits are
    tightened by the excess and the search is repeated.
    """
    config, limits = job.recipe.search, question.limits
    result, measured, tightened_limits = None, dict[Subnet, Costs](), dict(limits)
    for _ in range(ATTEMPTS):
        try:
            result = _search(job, question, tightened_limits)
        except InfeasibleLimit:
            if result is None:
                raise
            break  # the limits themselves can be met, tightened ones cannot

        # Where the predictor is weak, the best collected subnets are better candidates than its best guesses. They are
        # added to the result: as ``include`` of the search they would change what it finds.
        count = config.candidates
        kept = ceil_div(count, 3)
        best_collected = _best_inside(job.recipe.space, question.collected, tightened_limits, count=kept)
        proposed = [*result.top[:count], *best_collected]
        new = [subnet for subnet in dict.fromkeys(proposed) if subnet not in measured]
        job.check_interrupt()
        if new:
            measured |= dict(zip(new, _measure(job, question, new), strict=True))

        # Done when one meets the limits; else the next search must stay below them by the excess of the nearest.
        nearest = min(measured.values(), key=lambda costs: _excess(costs, limits))
        if _excess(nearest, limits) <= 1:
            break
        for table, limit in limits.items():
            if nearest.get(table.name, 0.0) > limit:
                tightened_limits[table] *= 0.99 * limit / nearest[table.name]
    return result, measured


def _search(job: Job, question: _Question, limits: Limits) -> SearchResult:
    """By the recipe's strategy; what was learned proposes the most probable networks, the predictor ranks them."""
    config, space = job.recipe.search, job.recipe.space
    if question.learned is None:
        options = {"strategy": config.strategy, "seed": job.recipe.seed, **config.settings}
        return search(space, question.predictor, limits=limits, **options)
    codes = proposals(space, question.learned, limits)
    result = proposed_result(space, codes, question.predictor.predict(codes), limits)
    # The most probable network is measured whatever the predictor says of it.
    return replace(result, top=list(dict.fromkeys([space.decode(codes[0]), *result.top])))


def _measure(job: Job, question: _Question, subnets: list[Subnet]) -> list[Costs]:
    return measure_subnets(
        question.deployment,
        job.recipe.space,
        subnets,
        job.model_kwargs,
        tables=question.costs,
        threads=job.recipe.measure.threads,
    )


def _measurements(job: Job, codes: np.ndarray, measured: Scores) -> Measurements:
    signal = TARGETS[job.recipe.predictor.target].signal(measured)
    return Measurements(codes=codes, accuracy=np.asarray(measured.accuracy, float), signal=signal)


def _best_inside(space: SearchSpace, known: Measurements, limits: Limits, *, count: int) -> list[Subnet]:
    """The best of the measured subnets whose costs are predicted to be inside the limits."""
    qualities = known.quality()
    fits = np.all([table.predict(known.codes) <= limit for table, limit in limits.items()], axis=0)
    rows = np.flatnonzero(np.isfinite(qualities) & fits)
    return [space.decode(known.codes[row]) for row in rows[np.argsort(-qualities[rows], kind="stable")][:count]]


def _excess(measured: Costs, limits: Limits) -> float:
    """The largest ratio of a measured cost to its limit; costs that are not measured were predicted to meet theirs."""
    return max((measured[table.name] / limit for table, limit in limits.items() if table.name in measured), default=0)


def _scores(job: Job, measured: dict[Subnet, Costs], limits: Limits) -> dict[Subnet, Scores]:
    """How the candidates whose measured costs meet the limits do on the validation images.

    When none does, only the nearest: the report says by how much it is above.
    """
    inside = [subnet for subnet, costs in measured.items() if _excess(costs, limits) <= 1]
    found = {}
    for subnet in inside or [min(measured, key=lambda subnet: _excess(measured[subnet], limits))]:
        job.check_interrupt()
        with job.evaluating(subnet):
            found[subnet] = scores(job.extract_calibrated(subnet), job.images("validation", subnet.resolution))
    return found


def _record(
    job: Job,
    question: _Question,
    result: SearchResult,
    costs: dict[Subnet, Costs],
    found: dict[Subnet, Scores],
) -> SearchRecord:
    """What is written of a target's search; the best candidate is chosen. ``costs``: of all candidates."""
    values = _values(job, question, found)
    chosen = max(values, key=values.__getitem__)
    predictions = _predicted(job.recipe.space, question, list(costs))
    candidates = []
    for subnet, predicted in zip(costs, predictions, strict=True):
        known = found[subnet]._asdict() if subnet in found else {}
        measured = Figures(**costs[subnet], **{name: value for name, value in known.items() if np.isfinite(value)})
        candidates.append(
            Candidate(
                subnet=subnet,
                id=subnet.id,
                measured=measured,
                chosen=subnet == chosen,
                predicted=predicted,
                **({"value": values[subnet]} if np.isfinite(values.get(subnet, np.nan)) else {}),
            )
        )
    best = next(candidate for candidate in candidates if candidate.chosen)
    return SearchRecord(
        subnet=best.subnet,
        id=best.id,
        predicted=best.predicted,
        measured=best.measured,
        limits={table.name: limit for table, limit in question.limits.items()},
        candidates=candidates,
        evaluated=result.evaluated,
        history=result.history,
        front=result.front,
    )


def _values(job: Job, question: _Question, found: dict[Subnet, Scores]) -> dict[Subnet, float]:
    """What the measured candidates are compared by: the highest is chosen."""
    space = job.recipe.space
    measured = _measurements(
        job, np.stack([space.encode(subnet) for subnet in found]), Scores(*np.array(list(found.values())).T)
    )
    known = question.predictor
    predictor = AccuracyPredictor(space, kind=known.kind_, loss=known.loss, seed=job.recipe.seed)
    values = CHOICES[job.recipe.search.choose_by].value(predictor, question.collected, measured)
    return dict(zip(found, values.tolist(), strict=True))


def _predicted(space: SearchSpace, question: _Question, subnets: list[Subnet]) -> list[Predicted]:
    codes = np.stack([space.encode(subnet) for subnet in subnets])
    accuracy, std = question.predictor.predict(codes, return_std=True)
    columns = {"accuracy": accuracy, "accuracy_std": std}
    columns |= {name: table.predict(codes) for name, table in question.costs.items()}
    return [Predicted(**{name: float(values[row]) for name, values in columns.items()}) for row in range(len(codes))]
