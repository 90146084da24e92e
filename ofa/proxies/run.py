"""What ``ofa proxies`` does: chooses subnets, scores them, and says how far the proxies tell accuracy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ofa.config.errors import nearest
from ofa.config.recipe import Recipe
from ofa.errors import UserError
from ofa.pipeline import subnet_csv
from ofa.pipeline.job import Job
from ofa.pipeline.manifest import RunManifest
from ofa.predictors.proxies.table import AGGREGATES, PROXIES
from ofa.predictors.sampling import stratified_sample
from ofa.proxies.scoring import FILE, score_subnets, weights_digest
from ofa.proxies.text import lines
from ofa.supernet.supernet import Supernet

# Those that say most of the networks that they were published for.
_DEFAULT = (
    *("naswot", "synflow", "zico", "jacob_cov", "expressivity", "progressivity", "trainability", "fisher_spectrum"),
    *("params", "macs"),
)
_MAX_SUBNETS, _MIN_IMAGES, _MAX_IMAGES = 100_000, 4, 4096


def run(
    recipe: Recipe, folder: Path, *, subnets: int, names: Sequence[str], images: int, out: Path | None
) -> Iterator[str]:
    """Scores subnets of a recipe's space, and yields lines to print. No ``names``: those that say most.

    Raises ``UserError`` for unknown names, counts that are too small or too large, and a proxy that was named and is
    not defined for these networks.
    """
    wanted = _checked(names, subnets=subnets, images=images)
    is_run = (folder / "recipe.yaml").is_file()
    path = out or (folder / FILE if is_run else Path(FILE))
    job = Job(recipe, folder)
    net, weights = _network(job)
    measured, accuracy = _measured(folder, recipe) if is_run else (_no_codes(recipe), np.empty(0))
    codes = _subnets(job, measured, subnets)
    scored = score_subnets(
        job, net, codes, wanted, images=images, path=path, weights=weights, required=bool(names) and names != ("all",)
    )
    known = {code.tobytes(): value for code, value in zip(measured, accuracy, strict=True)}
    accuracies = np.array([known.get(code.tobytes(), np.nan) for code in codes])
    whose = "the trained supernet" if weights != f"seed {recipe.seed}" else f"seed {recipe.seed}, untrained"
    yield f"{path}: {len(codes)} subnets on {images} training images, weights of {whose}"
    yield from lines(recipe.space, codes, scored, accuracies, job.macs.predict(codes))


def _checked(names: Sequence[str], *, subnets: int, images: int) -> tuple[str, ...]:
    for option, value, low, high in (
        ("--subnets", subnets, 2, _MAX_SUBNETS),
        ("--images", images, _MIN_IMAGES, _MAX_IMAGES),
    ):
        if not low <= value <= high:
            raise UserError(f"{option} {value}: give a number from {low} to {high}")
    if not names:
        return _DEFAULT
    if tuple(names) == ("all",):
        return tuple(PROXIES)
    for name in names:
        if name in AGGREGATES:
            raise UserError(
                f"--names {name}: it is made of the ranks of {', '.join(AGGREGATES[name])}; name these, and it is shown"
            )
        if name not in PROXIES:
            raise UserError(f"--names {name}: no such proxy{nearest(name, PROXIES)}")
    return tuple(dict.fromkeys(names))


def _network(job: Job) -> tuple[Supernet, str]:
    """The run's trained supernet, or one with new weights, and a name for its weights."""
    manifest = RunManifest(job.folder)
    if not manifest.finished("train"):
        return job.new_supernet(), f"seed {job.recipe.seed}"
    if broken := manifest.broken("train"):
        raise UserError(f"{broken[0]} is missing or damaged; `ofa train {job.folder}` makes it anew")
    return job.supernet, weights_digest(job)


def _measured(folder: Path, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """Codes and accuracies that the run has measured so far, without those that could not be."""
    path = folder / "accuracy.csv"
    if not path.is_file():
        return _no_codes(recipe), np.empty(0)
    try:
        codes, accuracy = subnet_csv.read(path, recipe.space)
    except ValueError as error:
        raise UserError(f"{error}; `ofa collect {folder}` measures it anew") from error
    return codes[~np.isnan(accuracy)], accuracy[~np.isnan(accuracy)]


def _no_codes(recipe: Recipe) -> np.ndarray:
    return np.empty((0, recipe.space.num_genes), np.int8)


def _subnets(job: Job, measured: np.ndarray, count: int) -> np.ndarray:
    """At most ``count`` subnets: measured ones, evenly over their order, then others spread over MACs."""
    space = job.recipe.space
    rows = np.unique(np.linspace(0, len(measured) - 1, min(count, len(measured))).round().astype(int))
    chosen = measured[rows] if len(measured) else measured
    if len(chosen) < count:
        # Asked for as many as could all be known, so that enough are new.
        spread = stratified_sample(space, count, job.macs, np.random.default_rng([job.recipe.seed, 3]))
        known = {code.tobytes() for code in chosen}
        new = [code for code in spread if code.tobytes() not in known]
        chosen = np.concatenate([chosen, np.array(new, chosen.dtype).reshape(-1, space.num_genes)])[:count]
    return chosen
