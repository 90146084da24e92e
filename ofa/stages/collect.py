"""The stage ``collect``: accuracies of subnets, a row each in ``accuracy.csv``, batch after batch.

A batch hangs on the rows before it alone, so a run that goes on chooses the same batches again and keeps their rows.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tqdm import tqdm

from ofa.config.recipe import CollectConfig
from ofa.pipeline import distributed, subnet_csv
from ofa.pipeline.job import Job, Outcome
from ofa.pipeline.run_folder import quarantine
from ofa.predictors.active import candidates, converged, next_batch
from ofa.predictors.costs.cost_table import CostTable
from ofa.predictors.metrics import top1
from ofa.predictors.sampling import stratified_sample
from ofa.supernet.space import DTYPE, SearchSpace, Subnet

_POOL = 2000  # networks that an active batch is chosen from


def run(job: Job) -> Outcome:
    config, space, path = job.recipe.collect, job.recipe.space, job.folder / "accuracy.csv"
    macs = CostTable.macs(space, **job.head)
    first_rank = distributed.rank() == 0
    job.share_supernet()
    known = _recovered(path, space) if first_rank else np.empty((0, space.genes), DTYPE)
    codes, accuracies = known[:0], np.empty(0)
    bar = tqdm(
        desc="measure accuracy",
        unit="subnet",
        total=min(config.subnets, space.size),
        disable=None if first_rank else True,
    )
    while True:
        batch = _shared(_next(config, macs, codes, accuracies, job.recipe.seed) if first_rank else None, space)
        if not len(batch):
            break
        start = len(codes)
        here = known[start : start + len(batch)]
        if not np.array_equal(here, batch[: len(here)]):
            here = known = truncate(path, space, start)[start:]
        done = int(distributed.gather(len(here))[0])
        bar.update(done)
        for codes_of_wave in _waves(batch[done:]):
            _measure(job, codes_of_wave, path)
            bar.update(len(codes_of_wave))
        if first_rank:
            # As the file has them, with six digits: a run that goes on must choose alike.
            codes, accuracies = (rows[: start + len(batch)] for rows in subnet_csv.read(path, space))
    bar.close()
    if not first_rank:
        return [], ""
    if len(known) > len(codes):
        truncate(path, space, len(codes))
    subnet_csv.finish(path)
    low, high = np.nanmin(accuracies), np.nanmax(accuracies)
    early = "" if len(codes) == bar.total else f" of {bar.total} (the front has settled)"
    return [path], f"{len(codes)} subnets{early}, validation accuracy {low:.1%} to {high:.1%}"


def _next(config: CollectConfig, macs: CostTable, codes: np.ndarray, accuracies: np.ndarray, seed: int) -> np.ndarray:
    """The codes to measure next ``(k, genes)``, by resolution, so that images are resized once; none at the end."""
    space, active = macs.space, config.strategy == "active"
    wanted = min(config.batch, config.subnets - len(codes)) if active else config.subnets - len(codes)
    if not len(codes):
        batch = stratified_sample(space, wanted, macs, np.random.default_rng([seed, 2]))
    elif wanted <= 0 or not active:
        return codes[:0]
    else:
        good = np.isfinite(accuracies)
        rows, scores = codes[good], accuracies[good]
        costs = macs.predict(rows)
        if len(rows) > 2 * config.batch and converged(scores, costs, newest=2 * config.batch):
            return codes[:0]
        pool = candidates(space, rows, scores, cost=macs, n=_POOL, rng=np.random.default_rng([seed, 2, len(codes)]))
        chosen = next_batch(space, rows, scores, costs, pool=pool, pool_costs=macs.predict(pool), n=wanted, seed=seed)
        batch = pool[chosen]
    return batch[np.argsort(batch[:, 0], kind="stable")]


def _shared(batch: np.ndarray | None, space: SearchSpace) -> np.ndarray:
    """Rank 0's batch on every rank."""
    content = distributed.share(batch.tobytes() if batch is not None and len(batch) else None)
    return np.frombuffer(content or b"", DTYPE).reshape(-1, space.genes)


def _waves(codes: np.ndarray) -> list[np.ndarray]:
    """Each process measures one subnet of a wave."""
    size = distributed.processes()
    return [codes[start : start + size] for start in range(0, len(codes), size)]


def _measure(job: Job, wave: np.ndarray, path: Path) -> None:
    """Measures a wave and writes its rows in the order of its codes; the last wave may have none for some processes."""
    job.check_interrupt()
    subnets: list[Subnet] = [job.recipe.space.decode(code) for code in wave]
    own, accuracy = distributed.rank(), float("nan")
    if own < len(subnets):
        images = job.images("validation", subnets[own].resolution, limit=job.recipe.collect.images)
        with job.evaluating(subnets[own]):
            accuracy = top1(job.extract_calibrated(subnets[own]), images)
    accuracies = distributed.gather(accuracy)
    if own == 0:
        for subnet, measured in zip(subnets, accuracies, strict=False):
            subnet_csv.append(path, subnet, measured)


def _recovered(path: Path, space: SearchSpace) -> np.ndarray:
    """Codes of the rows that ``accuracy.csv`` has already; damaged ones are moved aside."""
    done, problem = subnet_csv.recover(path, space)
    if problem:
        print(problem, flush=True)
    return subnet_csv.read(path, space)[0] if done else np.empty((0, space.genes), DTYPE)


def truncate(path: Path, space: SearchSpace, rows: int) -> np.ndarray:
    """Keeps the first ``rows`` alone: those behind are of something else. Returns the codes kept."""
    codes, accuracies = subnet_csv.read(path, space)
    aside = quarantine(path, "damaged")
    print(f"{path} has other subnets than this recipe's: moved to {aside.name}, measured anew", flush=True)
    for code, accuracy in zip(codes[:rows], accuracies[:rows], strict=True):
        subnet_csv.append(path, space.decode(code), accuracy)
    return codes[:rows]
