"""What each stage is made from, and what of that has changed since it ran.

A stage's inputs are kept in parts, so that a change can be named: sections of the recipe as values, the data by folder,
the initial weights and the files of other stages as digests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ofa.config.finetuning import finetunings
from ofa.config.recipe import Recipe
from ofa.config.recipe_file import recipe_differences
from ofa.config.relaxing import relaxing
from ofa.config.renamed import with_new_names
from ofa.data.identity import Rows, data_identity
from ofa.data.image_findings import unreadable_images
from ofa.errors import UserError
from ofa.pipeline.manifest import Inputs, RunManifest, digest, file_digest
from ofa.stages import STAGE_TABLE, STAGES
from ofa.targets import own_costs

# Keys that change nothing in what a stage makes: how many processes read the images, what is kept or shown while
# training, and the paths of the data, the initial weights and a known table (whose contents are compared).
_IDLE = {
    "data": ("workers", "folder", "idx"),
    "train": ("checkpoint", "eval_images", "tensorboard", "init"),
    "measure": ("known",),
}
_MAX_SHOWN = 5


def stages_of(recipe: Recipe) -> tuple[str, ...]:
    """The stages that a run of this recipe has, in order: one that is optional may have nothing to do."""
    asked = {"finetune": bool(finetunings(recipe)), "relax": relaxing(recipe) is not None}
    return tuple(name for name in STAGES if not STAGE_TABLE[name].optional or asked[name])


def all_needs(name: str) -> set[str]:
    """The stages that must be finished before ``name``, however indirectly."""
    needs = STAGE_TABLE[name].needs
    return set(needs).union(*map(all_needs, needs))


def stage_inputs(manifest: RunManifest, name: str, recipe: Recipe) -> Inputs:
    """What the stage would be made from now. The stages that it needs must be finished."""
    inputs = _own_inputs(manifest, name, recipe)
    if needs := [need for need in STAGE_TABLE[name].needs if need in stages_of(recipe)]:
        inputs["needs"] = {need: digest(manifest.outputs(need)) for need in needs}
    return inputs


def finetuned_from(manifest: RunManifest, recipe: Recipe) -> str:
    """A digest of what all networks of the stage ``finetune`` are made from, whichever they are."""
    inputs = _own_inputs(manifest, "finetune", recipe)
    del inputs["recipe"]["finetuning"]
    inputs["recipe"]["collect"] = {"calibration_images": recipe.collect.calibration_images}
    return digest({**inputs, "supernet": manifest.outputs("train")})


def relaxed_from(manifest: RunManifest, recipe: Recipe) -> str:
    """A digest of what all architectures of the stage ``relax`` are made from, whatever the limits of each.

    How many images tell the accuracies beside them (``collect``) is left out.
    """
    inputs = _own_inputs(manifest, "relax", recipe)
    del inputs["recipe"]["relaxing"]["limits"], inputs["recipe"]["runtimes"], inputs["recipe"]["collect"]
    return digest({**inputs, "supernet": manifest.outputs("train")})


def changes(manifest: RunManifest, name: str, recipe: Recipe, *, with_needs: bool = True) -> list[str]:
    """What changed since the stage was last started, as parts of a sentence; empty when nothing did, or it never was.

    Without ``with_needs`` the files of other stages are not looked at.
    """
    before = manifest.inputs(name)
    if not isinstance(before, dict):
        return []  # an older version kept one digest, which cannot be compared
    now = stage_inputs(manifest, name, recipe) if with_needs else _own_inputs(manifest, name, recipe)
    try:
        return [
            *_recipe_changes(before.get("recipe") or {}, now["recipe"], name, recipe),
            *(_data_changes(before.get("data") or {}, now["data"]) if "data" in now else ()),
            *_file_changes(before, now, "initial weights", "train.init: its weights are others"),
            *_file_changes(before, now, "known table", "measure.known: its table is another"),
            *(_needs_changes(name, before.get("needs") or {}, now.get("needs", {})) if with_needs else ()),
        ]
    except (TypeError, ValueError, KeyError, IndexError, AttributeError):
        return [f"{manifest.path} does not say what {name} was made from"]  # it is not of our making


def of_recipe_keys(changed: Sequence[str]) -> list[str]:
    """Without what the targets say to a stage, as a change of that is one of a recipe's key too."""
    return [change for change in changed if not change.startswith(tuple(f"{section}." for section in _FROM_TARGETS))]


def summarize_changes(changed: Sequence[str]) -> str:
    """The first few of them, as text, and how many others there are."""
    more = f"; and {len(changed) - _MAX_SHOWN} more" if len(changed) > _MAX_SHOWN else ""
    return "; ".join(changed[:_MAX_SHOWN]) + more


def _own_inputs(manifest: RunManifest, name: str, recipe: Recipe) -> Inputs:
    stage = STAGE_TABLE[name]
    inputs: Inputs = {"recipe": _sections(name, recipe)}
    if "data" in stage.sections and not stage.renders:
        left_out = unreadable_images(manifest.folder)
        identity = data_identity(recipe.data, splits=stage.splits, left_out=left_out)
        inputs["data"] = _by_folder(identity)
    if name == "train" and recipe.train.init:
        init = recipe.train.init
        inputs["initial weights"] = init if init == "pretrained" else file_digest(init)
    if name == "measure" and recipe.measure.known is not None:
        try:
            inputs["known table"] = file_digest(recipe.measure.known)
        except OSError as error:
            raise UserError(f"measure.known: {recipe.measure.known} cannot be read: {error.strerror}") from error
    return inputs


def _sections(name: str, recipe: Recipe) -> dict[str, Any]:
    sections = STAGE_TABLE[name].sections
    values = recipe.to_dict() | {of: read(recipe) for of, read in _FROM_TARGETS.items() if of in sections}
    if name != "report":
        del values["data"]["licence"]
    for target in values["targets"].values():
        del target["finetune"]  # which is in ``finetuning``, with what is said of all targets
    for section, keys in _IDLE.items():
        for key in keys:
            del values[section][key]
    return {section: values[section] for section in sections}


def _runtimes(recipe: Recipe) -> dict[str, list[Any]]:
    return {
        name: [
            target.runtime,
            target.bits,
            *([target.remote] if target.remote else []),
            *([own_costs.identity(target.costs)] if target.costs else []),
        ]
        for name, target in recipe.targets.items()
    }


def _finetuning(recipe: Recipe) -> dict[str, dict[str, Any]]:
    return {name: how._asdict() for name, how in finetunings(recipe).items()}


def _relaxing(recipe: Recipe) -> dict[str, Any]:
    how = relaxing(recipe)
    limits = {
        name: {limit.cost: [limit.value, limit.relative] for limit in target.limits}
        for name, target in recipe.targets.items()
    }
    return {**(how.to_dict() if how else {}), "limits": limits}


# What stages read of the targets, and of several sections, when they do not read all of them.
_FROM_TARGETS = {"runtimes": _runtimes, "finetuning": _finetuning, "relaxing": _relaxing}


def _recipe_changes(before: dict[str, Any], now: dict[str, Any], name: str, recipe: Recipe) -> list[str]:
    # Sections that the stage read in an older version, and no longer reads, change nothing.
    before = {section: value for section, value in before.items() if section in STAGE_TABLE[name].sections}
    before = with_new_names(before)
    if digest(before) == digest(now):
        return []
    return recipe_differences(_with_defaults(before, name, recipe), now)


def _with_defaults(before: dict[str, Any], name: str, recipe: Recipe) -> dict[str, Any]:
    """The sections as this version writes them: a key that is new since then has its default, which changed nothing."""
    read = {section: before[section] for section in _FROM_TARGETS if section in before}
    values = recipe.to_dict() | {key: value for key, value in before.items() if key not in read}
    for section, keys in _IDLE.items():
        if section in before and isinstance(before[section], dict):
            values[section] = {**{key: recipe.to_dict()[section][key] for key in keys}, **before[section]}
    try:
        whole = Recipe.from_dict(values)
    except UserError:  # a key that is no more, say
        return before
    filled = _sections(name, whole) | read
    return {section: value for section, value in filled.items() if section in before}


def _by_folder(identity: Rows) -> dict[str, list[Any]]:
    """How many files there are in each folder of the data, and a digest of what is known of them."""
    folders: dict[str, list[Any]] = {}
    for row in identity:
        folders.setdefault(str(row[0]).rpartition("/")[0] or ".", []).append(row)
    return {folder: [len(rows), digest(rows)] for folder, rows in sorted(folders.items())}


def _data_changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    changed = []
    for folder in sorted(before.keys() | now.keys()):
        old, new = (folders[folder][0] if folder in folders else 0 for folders in (before, now))
        if folder == ".":
            if before.get(folder) != now.get(folder):
                changed.append("data: its classes or its files are others")
        elif new > old:
            changed.append(f"data: {folder} has {new - old} files more")
        elif new < old:
            changed.append(f"data: {folder} has {old - new} files less")
        elif before[folder] != now[folder]:
            changed.append(f"data: files in {folder} were changed or replaced")
    return changed


def _file_changes(before: Inputs, now: Inputs, kept_as: str, its: str) -> list[str]:
    """Whether a file that a key names has another content, or is given no longer, or only now."""
    old, new = (inputs.get(kept_as) for inputs in (before, now))
    if old == new:
        return []
    key = its.partition(":")[0]
    return [f"{key}: no longer given" if new is None else f"{key}: given now" if old is None else its]


def _needs_changes(name: str, before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    changed = [f"{need} made other files since" for need in now if before.get(need) != now[need]]
    left_out = [need for need in STAGE_TABLE[name].needs if need in before and need not in now]
    return [*changed, *(f"{need} is left out" for need in left_out)]
