"""A recipe into a run folder: which stages must run, and what is done when a file is damaged or the recipe changed.

This module imports no torch, so that a run with nothing to do says so at once; ``ofa.stages`` does the work.
"""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ofa import distributed, own_costs
from ofa.data_identity import data_identity
from ofa.errors import UserError
from ofa.installed import check_installed
from ofa.journal import Journal, digest, file_digest, move_aside
from ofa.recipe import DataConfig, Recipe
from ofa.recipe_file import dump_yaml, load_recipe, recipe_differences
from ofa.signals import remembered_interrupts
from ofa.supernet.files import write_atomic


@dataclass(frozen=True)
class Stage:
    """What a stage is made from (sections of the recipe, files of other stages), and what it leaves half done."""

    sections: tuple[str, ...]
    needs: tuple[str, ...] = ()
    partial: tuple[str, ...] = ()


_STAGES: dict[str, Stage] = {
    "train": Stage(
        ("seed", "space", "data", "train"), partial=("train/checkpoint-*.safetensors", "train/metrics.jsonl")
    ),
    "collect": Stage(("seed", "space", "data", "collect"), ("train",), partial=("accuracy.csv",)),
    "predict": Stage(("seed", "space", "predictor"), ("collect",)),
    "measure": Stage(("seed", "space", "data", "measure", "runtimes")),
    "search": Stage(
        ("seed", "space", "data", "collect", "search", "targets"), ("train", "collect", "predict", "measure")
    ),
    "export": Stage(("space", "data", "collect", "targets"), ("train", "search")),
    "report": Stage(("name", "data", "measure"), ("predict", "measure", "search", "export")),
}
STAGES = tuple(_STAGES)
_FULL = (errno.ENOSPC, errno.EDQUOT)


def run_stages(recipe: Recipe, folder: Path, *, stages: Sequence[str] = STAGES, update: bool = False) -> None:
    """Runs ``stages`` in order; those that are finished and whose inputs have not changed are skipped.

    Prints one line a stage, and the report's table at the end. ``update`` lets ``recipe`` replace the run folder's own.

    Under torchrun, every process calls it: see ``ofa.distributed``.

    Raises ``UserError`` when the folder belongs to another recipe, or a stage lacks one before it.
    """
    with _full_disk_explained(folder), distributed.group(), remembered_interrupts() as check_interrupt:
        if distributed.rank() > 0:
            from ofa.stages import Job

            job = cache(lambda: Job(recipe, folder, check_interrupt=check_interrupt))
            distributed.follow(lambda name: job().do(name))
            return
        _run(recipe, folder, stages, update=update, check_interrupt=check_interrupt)
    if "report" in stages:
        from ofa.report import show

        print(f"\n{show(folder)}")


def _run(
    recipe: Recipe, folder: Path, stages: Sequence[str], *, update: bool, check_interrupt: Callable[[], None]
) -> None:
    release = cache(lambda: distributed.announce(None))  # the other processes, once
    data_identity(recipe.data)  # raises when it is not there, before anything is written
    if recipe.train.init and not recipe.train.init.is_file():
        raise UserError(f"train.init: {recipe.train.init} is not there; give the path of a .safetensors file")
    check_installed(recipe.targets)
    _adopt(recipe, folder, update=update)
    journal = Journal(folder)
    if journal.moved:
        print(f"{folder / 'run.json'} is damaged: moved to {journal.moved.name}, all stages run again", flush=True)
    job = None
    for number, name in enumerate(stages):
        check_interrupt()
        if name not in distributed.SHARED_STAGES:
            release()
        _check_needs(journal, name, recipe, folder, fresh=stages[:number])
        inputs = _inputs(journal, name, recipe)
        broken = []
        if journal.finished(name) and journal.inputs(name) == inputs:
            broken = journal.broken(name)
            if not broken:
                continue
        if job is None:
            # Said before torch is imported, which takes seconds.
            print(f"{folder}: {', '.join(stages[number:])}", flush=True)
            from ofa.stages import Job

            job = Job(recipe, folder, check_interrupt=check_interrupt)
        if journal.inputs(name) != inputs:
            _put_away(name, folder)
        _set_aside(broken)
        started = time.perf_counter()
        journal.start(name, inputs)
        if name in distributed.SHARED_STAGES:
            distributed.announce(name)
        files, summary = job.do(name)
        seconds = time.perf_counter() - started
        journal.finish(name, inputs, files, seconds=seconds)
        print(f"{name:<8} {seconds:6.1f} s  {summary}", flush=True)
    release()
    if job is None:
        print(f"{folder}: nothing to do, {'all stages are' if len(stages) > 1 else f'{stages[0]} is'} finished")


def _adopt(recipe: Recipe, folder: Path, *, update: bool) -> None:
    """Makes ``recipe`` the folder's, or checks that it is. Until a stage has started, any recipe may be the folder's:
    the first one may have had a wrong path in it."""
    path = folder / "recipe.yaml"
    if not path.exists():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(f"{folder} is there already and is no run folder; give another one with --out")
    elif (
        not update
        and (folder / "run.json").exists()
        and (changed := recipe_differences(load_recipe(path).to_dict(), recipe.to_dict()))
    ):
        raise UserError(
            f"{folder} belongs to another recipe ({'; '.join(changed)}); give another folder with --out, "
            "or --update to change this run (stages that use these keys run again)"
        )
    try:
        write_atomic(path, dump_yaml(recipe.to_dict()))
    except OSError as error:
        if error.errno in _FULL:
            raise
        raise UserError(f"{folder} cannot be written ({error.strerror}); give another folder with --out") from error


def _check_needs(journal: Journal, name: str, recipe: Recipe, folder: Path, *, fresh: Sequence[str]) -> None:
    """Raises ``UserError`` when a stage before ``name``, other than those just run, is not finished for this recipe."""
    before = _all_needs(name)
    for need in STAGES:
        if need not in before or need in fresh:
            continue
        remedy = f"`ofa {need} {folder}`, or `ofa run {folder}` for all"
        if not journal.finished(need):
            raise UserError(f"{name} needs the stage {need} first: {remedy}")
        if journal.inputs(need) != _inputs(journal, need, recipe):
            raise UserError(f"{name} needs the stage {need} again, as the recipe or the data changed: {remedy}")
        if need in _STAGES[name].needs and (broken := journal.broken(need)):
            raise UserError(f"{broken[0]} is missing or damaged; `ofa {need} {folder}` makes it anew")


def _all_needs(name: str) -> set[str]:
    needs = _STAGES[name].needs
    return set(needs).union(*map(_all_needs, needs))


def _inputs(journal: Journal, name: str, recipe: Recipe) -> str:
    values = recipe.to_dict() | {"runtimes": _devices(recipe)}
    if name != "report":
        del values["data"]["licence"]
    values["data"]["workers"] = DataConfig().workers  # how many read the images changes nothing
    for key in ("checkpoint", "watch_images", "tensorboard"):
        del values["train"][key]  # these neither
    stage = _STAGES[name]
    made_from = {section: values[section] for section in stage.sections}
    if name == "train" and recipe.train.init:
        made_from["initial weights"] = file_digest(recipe.train.init)
    if "data" in stage.sections:
        made_from["data identity"] = data_identity(recipe.data, train_only=name == "train")
    return digest([made_from, {need: journal.outputs(need) for need in stage.needs}])


def _devices(recipe: Recipe) -> dict[str, list[Any]]:
    return {
        name: [
            target.runtime,
            target.bits,
            *([target.remote] if target.remote else []),
            *([own_costs.identity(target.costs)] if target.costs else []),
        ]
        for name, target in recipe.targets.items()
    }


def _put_away(name: str, folder: Path) -> None:
    """What a stage left half done, or would go on from, when it was made from something else."""
    for partial in _STAGES[name].partial:
        for path in sorted(folder.glob(partial)):
            aside = move_aside(path, "old")
            print(f"{path} is of another recipe, other data or other weights: moved to {aside.name}", flush=True)


def _set_aside(broken: Sequence[Path]) -> None:
    for path in broken:
        if path.exists():
            aside = move_aside(path, "damaged")
            print(f"{path} is not what was written (damaged or edited): moved to {aside.name}, made anew", flush=True)
        else:
            print(f"{path} is missing: made anew", flush=True)


@contextmanager
def _full_disk_explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        free = shutil.disk_usage(folder if folder.exists() else Path.cwd()).free
        raise UserError(
            f"{folder}: the disk is full ({free / 2**20:.0f} MiB free); what was finished is intact, "
            "make room and give the same command again"
        ) from error
