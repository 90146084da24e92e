"""The stage ``collect``: accuracies of subnets, a row each in ``accuracy.csv``, batch after batch.

Each batch depends only on earlier rows, so a resumed run selects the same batches and keeps their rows.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tqdm import tqdm

from ofa.pipeline import distributed, subnet_csv
from ofa.pipeline.context import Outcome
from ofa.pipeline.job import Job
from ofa.pipeline.run_folder import quarantine
from ofa.predictors.active import candidates, converged, next_batch
from ofa.predictors.metrics import Scores, scores
from ofa.predictors.sampling import stratified_sample
from ofa.proxies.collection import promising_subnets
from ofa.supernet.space import DTYPE, SearchSpace, Subnet

_POOL = 2000  # networks that an active batch is chosen from


def run(job: Job) -> Outcome:
    config, space, path = job.recipe.collect, job.recipe.space, job.folder / "accuracy.csv"
    first_rank = distributed.rank() == 0
    job.broadcast_supernet()

    # Rows of an earlier start; damaged ones are moved aside.
    stored = _recover(path, space) if first_rank else np.empty((0, space.num_genes), DTYPE)
    codes, measured = stored[:0], Scores(*(np.empty(0) for _ in Scores._fields))
    bar = tqdm(
        desc="measure accuracy",
        unit="subnet",
        total=min(config.subnets, space.size),
        disable=None if first_rank else True,
    )

    while True:
        # Rank 0 alone has the rows that the next batch depends on.
        batch = _next_batch(job, codes, measured) if first_rank else None
        content = distributed.broadcast_bytes(batch.tobytes() if batch is not None and len(batch) else None)
        batch = np.frombuffer(content or b"", DTYPE).reshape(-1, space.num_genes)
        if not len(batch):
            break

        # Rows of this batch that an earlier start has measured are kept; rows of another batch are not.
        start = len(codes)
        done = stored[start : start + len(batch)]
        if not np.array_equal(done, batch[: len(done)]):
            done = stored = truncate(path, space, start)[start:]
        num_done = int(distributed.gather(len(done))[0])
        bar.update(num_done)

        # The others are measured, in waves of one subnet a process.
        size = distributed.world_size()
        for first in range(num_done, len(batch), size):
            wave = batch[first : first + size]
            _measure(job, wave, path)
            bar.update(len(wave))
        if first_rank:
            # As the file has them, with six digits: a resumed run must choose alike.
            end = start + len(batch)
            codes, measured = subnet_csv.read_scores(path, space)
            codes, measured = codes[:end], Scores(*(column[:end] for column in measured))
    bar.close()

    if not first_rank:
        return Outcome([], "")
    if len(stored) > len(codes):
        truncate(path, space, len(codes))
    subnet_csv.finish(path)
    low, high = np.nanmin(measured.accuracy), np.nanmax(measured.accuracy)
    early = "" if len(codes) == bar.total else f" of {bar.total} (the front has settled)"
    return Outcome([path], f"{len(codes)} subnets{early}, validation accuracy {low:.1%} to {high:.1%}")


def truncate(path: Path, space: SearchSpace, rows: int) -> np.ndarray:
    """Keeps only the first ``rows``: later ones are not of this recipe's subnets. Returns the codes kept."""
    codes, measured = subnet_csv.read_scores(path, space)
    aside = quarantine(path, "damaged")
    print(f"{path} has other subnets than this recipe's: moved to {aside.name}, measured anew", flush=True)
    for code, *row in zip(codes[:rows], *measured, strict=False):
        subnet_csv.append(path, space.decode(code), Scores(*row))
    return codes[:rows]


def _next_batch(job: Job, codes: np.ndarray, known: Scores) -> np.ndarray:
    """The codes to measure next ``(k, genes)``, by resolution, so that images are resized once; none at the end."""
    config, macs, seed = job.recipe.collect, job.macs, job.recipe.seed
    space, active = macs.space, config.strategy == "active"
    count = min(config.batch, config.subnets - len(codes)) if active else config.subnets - len(codes)
    if not len(codes) and config.strategy == "proxies":
        batch = promising_subnets(job, count)
    elif not len(codes):
        batch = stratified_sample(space, count, macs, np.random.default_rng([seed, 2]))
    elif count <= 0 or not active:
        return codes[:0]
    else:
        # The less noisy of the measurements, but for files that have accuracies alone.
        smoothed = np.isfinite(known.smoothed_accuracy).any()
        values = known.smoothed_accuracy if smoothed else known.accuracy
        measured = np.isfinite(values)
        rows, values = codes[measured], values[measured]
        costs = macs.predict(rows)
        if len(rows) > 2 * config.batch and converged(values, costs, newest=2 * config.batch):
            return codes[:0]
        pool = candidates(space, rows, values, cost=macs, n=_POOL, rng=np.random.default_rng([seed, 2, len(codes)]))
        chosen = next_batch(space, rows, values, costs, pool=pool, pool_costs=macs.predict(pool), n=count, seed=seed)
        batch = pool[chosen]
    return batch[np.argsort(batch[:, space.genes_of("resolution")[0]], kind="stable")]


def _measure(job: Job, wave: np.ndarray, path: Path) -> None:
    """Measures a wave and writes its rows in the order of its codes; the last wave may have none for some processes."""
    job.check_interrupt()
    subnets: list[Subnet] = [job.recipe.space.decode(code) for code in wave]
    rank, measured = distributed.rank(), Scores(*(float("nan") for _ in Scores._fields))
    if rank < len(subnets):
        images = job.images("validation", subnets[rank].resolution, limit=job.recipe.collect.images)
        with job.evaluating(subnets[rank]):
            measured = scores(job.extract_calibrated(subnets[rank]), images)
    gathered = [distributed.gather(number) for number in measured]
    if rank == 0:
        for subnet, *row in zip(subnets, *gathered, strict=False):
            subnet_csv.append(path, subnet, Scores(*row))


def _recover(path: Path, space: SearchSpace) -> np.ndarray:
    """Codes of the rows that ``accuracy.csv`` has already; damaged ones are moved aside."""
    count, problem = subnet_csv.recover(path, space)
    if problem:
        print(problem, flush=True)
    return subnet_csv.read(path, space)[0] if count else np.empty((0, space.num_genes), DTYPE)
