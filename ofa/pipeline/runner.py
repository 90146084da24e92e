"""``ofa run``: decides which stages of a recipe must run, runs them, and records what they wrote in the run folder.

This module imports no torch, so that a run with nothing to do ends at once; modules of ``ofa.stages`` do the work.
"""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from ofa.config.recipe import Recipe
from ofa.config.recipe_file import dump_yaml
from ofa.data.identity import data_identity
from ofa.data.image_findings import FINDINGS
from ofa.data.readers.one_look import one_look
from ofa.errors import UserError, denied
from ofa.pipeline import distributed
from ofa.pipeline.context import Outcome, RunContext
from ofa.pipeline.manifest import RunManifest
from ofa.pipeline.run_folder import check_folder, is_free, quarantine, sweep
from ofa.pipeline.run_lock import owned
from ofa.pipeline.run_update import check_discard, check_update, known_stages
from ofa.pipeline.signals import deferred_interrupt
from ofa.pipeline.stage_inputs import all_needs, changes, stage_inputs, stages_of, summarize_changes
from ofa.report.console import wrapped
from ofa.stages import STAGE_TABLE, STAGES
from ofa.supernet.files import write_atomic
from ofa.targets.requirements import check_installed

if TYPE_CHECKING:
    from ofa.pipeline.job import Job

_FULL = (errno.ENOSPC, errno.EDQUOT)


def run_stages(recipe: Recipe, folder: Path, *, stages: Sequence[str] = STAGES, update: bool = False) -> None:
    """Runs ``stages`` in order; those that are finished and whose inputs have not changed are skipped.

    Prints one line a stage, and the report's table at the end. ``update`` lets ``recipe`` replace the run folder's own.

    Under torchrun, every process calls it: see ``ofa.pipeline.distributed``.

    Raises ``UserError`` when the folder belongs to another recipe, or a stage lacks one before it.
    """
    with explain_full_disk(folder), distributed.group(), one_look(), deferred_interrupt() as check_interrupt:
        context = RunContext(recipe, folder, check_interrupt)
        if distributed.rank() > 0:
            _follow(context)
            return
        followers = distributed.Followers()
        try:
            _check_before(recipe, folder)
            with owned(folder):
                _run(context, stages, update=update, followers=followers)
        except UserError:
            followers.release()
            raise
    if "report" in stages:
        from ofa.report.build import show

        print(f"\n{show(folder)}")


def _follow(context: RunContext) -> None:
    """What every process but the first does: the shared stages that rank 0 announces."""
    from ofa.pipeline.job import Job

    job = cache(lambda: Job(context.recipe, context.folder, check_interrupt=context.check_interrupt))
    distributed.run_worker(lambda name: _run_stage(job(), name))


def _check_before(recipe: Recipe, folder: Path) -> None:
    """Raises ``UserError`` for what is wrong around the folder, before anything is written."""
    data_identity(recipe.data)  # raises when it is not there
    init = recipe.train.init
    if init not in (None, "pretrained") and not init.is_file():
        raise UserError(f"train.init: {init} is not there; give the path of a .safetensors file")
    check_installed(recipe.targets)
    if not (folder / "recipe.yaml").exists() and not is_free(folder):
        raise UserError(f"{folder} is there already and is no run folder; give another one with --out")
    check_folder(folder)


def _run(context: RunContext, stages: Sequence[str], *, update: bool, followers: distributed.Followers) -> None:
    """Runs those of ``stages`` that are not finished for this recipe, in order, in a folder that this process owns."""
    recipe, folder = context.recipe, context.folder
    manifest = _prepared_folder(context, stages, update=update)
    asked, stages = stages, [name for name in known_stages(manifest, stages) if name in stages_of(recipe)]
    announced, job = False, None
    for index, name in enumerate(stages):
        context.check_interrupt()
        if not any(later in distributed.SHARED_STAGES for later in stages[index:]):
            followers.release()

        # A finished stage is skipped, unless its inputs changed or its files are damaged.
        _check_needs(manifest, name, recipe, folder, fresh=stages[:index])
        outdated = check_discard(manifest, name, recipe, folder, update=update)
        broken = manifest.broken(name) if manifest.finished(name) and not outdated else []
        if manifest.finished(name) and not outdated and not broken:
            manifest.settle(name)
            archive_partial(manifest.broken_logs(name), "damaged", "is not what was written (damaged or edited)")
            continue

        # The plan is printed before torch is imported, which takes seconds.
        if not announced:
            print(wrapped(f"{folder}: {', '.join(stages[index:])}"), flush=True)
            announced = True
        if job is None and not STAGE_TABLE[name].renders:
            job = _opened(context)
        if name == "train":
            from ofa.pipeline.stage_checks import check_stages

            check_stages(recipe, job.data)  # before anything is written or moved aside

        # Nothing is deleted: files that the stage would go on from or replace are moved aside.
        if outdated or manifest.inputs(name) is None:
            partial = [path for pattern in STAGE_TABLE[name].partial for path in sorted(folder.glob(pattern))]
            archive_partial(partial, "old", "is of another recipe, other data or other weights")
        _quarantine_broken(broken)

        _run_and_record(manifest, name, context if STAGE_TABLE[name].renders else job, followers)
    followers.release()
    if not announced and not stages:
        print(f"{folder}: nothing to do, the recipe leaves {asked[0]} out")
    elif not announced:
        print(f"{folder}: nothing to do, {'all stages are' if len(stages) > 1 else f'{stages[0]} is'} finished")


def _prepared_folder(context: RunContext, stages: Sequence[str], *, update: bool) -> RunManifest:
    """Stores the recipe in the folder and repairs its manifest, which is returned.

    Raises ``UserError`` when this recipe may not run in this folder, before any file of a run is changed.
    """
    recipe, folder = context.recipe, context.folder
    sweep(folder)
    manifest = RunManifest(folder)
    # Which images are left out is part of what the stages were made from.
    if (folder / FINDINGS.parent).is_dir() and not (folder / FINDINGS).exists():
        _read_images(recipe, folder)
    check_update(manifest, recipe, folder, stages, update=update)

    path, text = folder / "recipe.yaml", dump_yaml(recipe.to_dict())
    if not path.is_file() or path.read_bytes() != text.encode():
        write_atomic(path, text)
    if repaired := manifest.repair():
        print(repaired, flush=True)
    return manifest


def _opened(context: RunContext) -> Job:
    """The run with its images opened; prints what they are."""
    from ofa.data.summary import data_lines
    from ofa.pipeline.job import Job

    _read_images(context.recipe, context.folder)
    job = Job(context.recipe, context.folder, check_interrupt=context.check_interrupt)
    print("\n".join(f"  {line}" for line in data_lines(job.data)), flush=True)
    return job


def _run_and_record(manifest: RunManifest, name: str, context: RunContext, followers: distributed.Followers) -> None:
    """Runs a stage, and records in the manifest that it started and what it wrote."""
    inputs = stage_inputs(manifest, name, context.recipe)
    started = time.perf_counter()
    manifest.start(name, inputs)
    with followers.join(name):
        outcome = _run_stage(context, name)
    seconds = time.perf_counter() - started
    logs = [context.folder / log for log in STAGE_TABLE[name].logs]
    manifest.finish(name, inputs, outcome.files, seconds=seconds, logs=logs)
    print(wrapped(f"{name:<8} {seconds:6.1f} s  {outcome.summary}", indent=19), flush=True)


def _run_stage(context: RunContext, name: str) -> Outcome:
    """Runs one stage, given a ``Job`` unless it only renders. Every process of a shared stage calls it."""
    stage = import_module(f"ofa.stages.{name}")
    if STAGE_TABLE[name].renders:
        return stage.run(context)

    from ofa.pipeline.threads import EvaluationThreads

    job: Job = context
    if STAGE_TABLE[name].shared:
        job.broadcast_unreadable()
    if name == "train":  # it chooses threads for its own steps
        return stage.run(job)
    stored_threads = job.folder / "threads.json" if name == "collect" else None
    job.evaluation_threads = EvaluationThreads(stored_threads, resume=(job.folder / "accuracy.csv").exists())
    with job.evaluation_threads.threads.used():
        return stage.run(job)


def _read_images(recipe: Recipe, folder: Path) -> None:
    """Reads every image that was not read before. Raises ``UserError`` when too many cannot be read."""
    from ofa.data.read_images import check_readable, finding_lines, read_images
    from ofa.data.sources import open_source

    source = open_source(recipe.data, resolution=recipe.space.resolutions[-1])
    findings = read_images(source, workers=recipe.data.workers, folder=folder)
    for line in finding_lines(findings, folder):
        print(f"  {line}", flush=True)
    check_readable(source, findings)


def _check_needs(manifest: RunManifest, name: str, recipe: Recipe, folder: Path, *, fresh: Sequence[str]) -> None:
    """Raises ``UserError`` when a stage before ``name``, other than those just run, is not finished for this recipe."""
    before = all_needs(name)
    for need in stages_of(recipe):
        if need not in before or need in fresh:
            continue
        remedy = f"`ofa {need} {folder}`, or `ofa run {folder}` for all"
        if not manifest.finished(need):
            raise UserError(f"{name} needs the stage {need} first: {remedy}")
        if changed := changes(manifest, need, recipe):
            why = f"as its inputs changed ({summarize_changes(changed)})"
            raise UserError(f"{name} needs the stage {need} again, {why}: {remedy}")
        if need in STAGE_TABLE[name].needs and (broken := manifest.broken(need)):
            raise UserError(f"{broken[0]} is missing or damaged; `ofa {need} {folder}` makes it anew")


def archive_partial(paths: Sequence[Path], reason: str, why: str) -> None:
    """Renames each of ``paths`` to ``NAME.reason`` and prints why."""
    for path in paths:
        print(f"{path} {why}: moved to {quarantine(path, reason).name}", flush=True)


def _quarantine_broken(broken: Sequence[Path]) -> None:
    for path in broken:
        if path.exists():
            aside = quarantine(path, "damaged")
            print(f"{path} is not what was written (damaged or edited): moved to {aside.name}, made anew", flush=True)
        else:
            print(f"{path} is missing: made anew", flush=True)


@contextmanager
def explain_full_disk(folder: Path) -> Iterator[None]:
    """Turns errors of a full disk and of files that may not be used into ``UserError``."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            free = shutil.disk_usage(folder if folder.exists() else Path.cwd()).free
            raise UserError(
                f"{folder}: the disk is full ({free / 2**20:.0f} MiB free); what was finished is intact, "
                "make room and give the same command again"
            ) from error
        if text := denied(error):
            raise UserError(text) from error
        raise
