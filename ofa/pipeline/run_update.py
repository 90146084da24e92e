"""``--update``: what changed since a run's stages ran, which of them would run again, and for how long.

What took training or measurements is discarded only when the user says ``--update``.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from ofa.config.recipe import Recipe
from ofa.config.recipe_file import load_run_recipe, recipe_differences
from ofa.errors import UserError
from ofa.pipeline.manifest import RunManifest
from ofa.pipeline.stage_inputs import all_needs, changes, of_recipe_keys, stages_of, summarize_changes
from ofa.report.words import duration, listed
from ofa.stages import STAGE_TABLE, STAGES

_ADDED = ("evaluate", "finetune", "relax")  # stages that a run of an older version may not have
_VALUABLE = ("supernet/weights.safetensors", "accuracy.csv", "train/checkpoint-*.safetensors")


def check_update(manifest: RunManifest, recipe: Recipe, folder: Path, stages: Sequence[str], *, update: bool) -> None:
    """Raises ``UserError`` before anything runs: when ``recipe`` is not the folder's, or when one of ``stages`` would
    discard what took training or measurements, because the recipe, the data or the weights changed.

    With ``update`` it prints what will run again instead, and records in the manifest that it may.
    """
    _check_known(manifest, folder, update=update)
    _check_older(manifest, recipe, folder, stages, update=update)

    # Changes by stage; `direct` have changes of their own, `again` also need such a stage.
    other = _other_recipe(manifest, recipe, folder)
    changed = {name: changes(manifest, name, recipe, with_needs=False) for name in STAGES if manifest.inputs(name)}
    added = {name: [f"the stage {name} has not run yet"] for name in _added(manifest, recipe)}
    changed = {name: (changed | added)[name] for name in STAGES if name in changed | added}
    # `ofa measure --update` says nothing about training: what else changed is asked for when it would run.
    direct = [name for name, differences in changed.items() if differences and (name in stages or not update)]
    again = [name for name in changed if name in stages_of(recipe) and (name in direct or all_needs(name) & {*direct})]
    if update:
        if direct:
            differences = summarize_changes(_distinct({name: changed[name] for name in direct}))
            print(f"{folder}: {differences}: {_runs_again(manifest, folder, again)}", flush=True)
            manifest.allow([name for name in again if STAGE_TABLE[name].costly])
        return

    discards = [name for name in direct if name in stages and (name in added or _would_discard(manifest, name, folder))]
    if other:
        more = [change for change in of_recipe_keys(_distinct(changed)) if change not in other]
        differences = summarize_changes(other + more)
        raise UserError(
            f"{folder} belongs to another recipe ({differences}); give another folder with --out, or --update to "
            f"change this run ({_runs_again(manifest, folder, again)})"
        )
    if discards:
        raise UserError(_refusal(manifest, folder, _distinct(changed), again, stages))


def known_stages(manifest: RunManifest, stages: Sequence[str]) -> Sequence[str]:
    """All of ``stages``, or for a finished run of an older version (see ``_check_older``) only those that it has.

    No stage of this version can go on from such a run.
    """
    if not any(isinstance(manifest.inputs(name), str) for name in STAGES):
        return stages
    return [name for name in stages if name not in _ADDED]


def check_discard(manifest: RunManifest, name: str, recipe: Recipe, folder: Path, *, update: bool) -> bool:
    """Whether what the stage ``name`` is made from, other stages' files included, changed since it was last started.

    Raises ``UserError`` when that would discard work and nobody allowed it.
    """
    changed = changes(manifest, name, recipe)
    if changed and not update and _would_discard(manifest, name, folder):
        after = [later for later in STAGES if manifest.finished(later) and name in all_needs(later)]
        raise UserError(_refusal(manifest, folder, changed, [name, *after], (name,)))
    return bool(changed)


def _distinct(changed: dict[str, list[str]]) -> list[str]:
    """Each change once, whichever stages it concerns."""
    distinct = list(dict.fromkeys(change for differences in changed.values() for change in differences))
    return of_recipe_keys(distinct) or distinct


def _refusal(
    manifest: RunManifest, folder: Path, changed: Sequence[str], again: Sequence[str], stages: Sequence[str]
) -> str:
    """The message that names what changed, and the command that lets ``again`` run again."""
    command = stages[0] if len(stages) == 1 and stages[0] == again[0] else "run"
    way = f"`ofa {command} {shlex.quote(str(folder))} --update` ({_runs_again(manifest, folder, again)})"
    return (
        f"{folder}: what it was made from has changed ({summarize_changes(changed)}); nothing is thrown away unasked: "
        f"undo the change, or give {way}"
    )


def _runs_again(manifest: RunManifest, folder: Path, again: Sequence[str]) -> str:
    if not again:
        return "no stage runs again"
    seconds = sum(_seconds(manifest, folder, name) for name in again)
    lasted = f", which took {duration(seconds)}" if seconds else ""
    verb = "runs again" if len(again) == 1 else "run again"
    return f"{listed(again)} {verb}{lasted}"


def _would_discard(manifest: RunManifest, name: str, folder: Path) -> bool:
    half_done = any(True for pattern in STAGE_TABLE[name].partial for _ in folder.glob(pattern))
    return STAGE_TABLE[name].costly and (manifest.finished(name) or half_done) and not manifest.allowed(name)


def _added(manifest: RunManifest, recipe: Recipe) -> list[str]:
    """Optional stages that never ran, though one that is made from what they make is finished: an older version did
    their work elsewhere, or what the recipe left out is asked for now."""
    unknown = [name for name in stages_of(recipe) if STAGE_TABLE[name].optional and manifest.inputs(name) is None]
    return [name for name in unknown if any(manifest.finished(later) and name in all_needs(later) for later in STAGES)]


def _seconds(manifest: RunManifest, folder: Path, name: str) -> float:
    """How long the stage took; of training that was interrupted, what its epochs took together."""
    seconds = manifest.seconds(name)
    if name != "train":
        return seconds
    try:
        rows = [json.loads(line) for line in (folder / "train" / "metrics.jsonl").read_text().splitlines()]
        return max(seconds, sum(float(row["seconds"]) for row in rows))
    except (OSError, ValueError, TypeError, KeyError):
        return seconds


def _other_recipe(manifest: RunManifest, recipe: Recipe, folder: Path) -> list[str]:
    """What differs between ``recipe`` and the folder's own.

    Until a stage has started, any recipe may be the folder's: the first one may have had a wrong path in it.
    """
    path = folder / "recipe.yaml"
    if not path.exists() or not any(manifest.inputs(name) for name in STAGES):
        return []
    return recipe_differences(load_run_recipe(folder).to_dict(), recipe.to_dict())


def _check_known(manifest: RunManifest, folder: Path, *, update: bool) -> None:
    """Raises ``UserError`` when the folder has work in it but no manifest that says what it was made from."""
    if not manifest.lost or update or not any(True for pattern in _VALUABLE for _ in folder.glob(pattern)):
        return
    raise UserError(
        f"{manifest.problem}, and so is its copy: nothing says any more what the files in {folder} were made from; put "
        f"back a backup of run.json, or let `ofa run {shlex.quote(str(folder))} --update` make all stages anew"
    )


def _check_older(manifest: RunManifest, recipe: Recipe, folder: Path, stages: Sequence[str], *, update: bool) -> None:
    """Raises ``UserError`` for an unfinished run of an older version, or forgets its stages with ``update``.

    Its images were split in another way, and its inputs are not kept in a form that can be compared.
    """
    older = [name for name in STAGES if isinstance(manifest.inputs(name), str)]
    existing = [name for name in stages if name not in _ADDED]
    whole = all(manifest.finished(name) and not manifest.broken(name) for name in existing)
    if not older or (whole and not _other_recipe(manifest, recipe, folder)):
        return
    if not update:
        raise UserError(
            f"{folder} was made by an older version of once-for-all, whose splits of the images were others: finish it "
            "with that version, give another folder with --out, or --update to make all stages anew"
        )
    manifest.forget(older)
