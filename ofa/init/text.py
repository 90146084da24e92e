"""The recipe that ``ofa init`` writes, as YAML with comments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from ofa.init.devices import ChosenTarget
from ofa.init.images import ImageFacts
from ofa.init.plan import Plan, recipe_values
from ofa.report.words import duration

_COLUMN = 44  # where comments begin
_PHOTO = 64  # pixels; larger images are photographs, which large crops suit


def recipe_text(images: ImageFacts, targets: Sequence[ChosenTarget], plan: Plan, *, name: str) -> str:
    """The file ``name``."""
    values = recipe_values(images, targets, plan)
    return (
        "\n".join(
            [
                *_head(images, plan, name),
                *_space(values, plan),
                *_data(values, images),
                *_train(values, plan),
                *_targets(values, targets),
            ]
        )
        + "\n"
    )


def _head(images: ImageFacts, plan: Plan, name: str) -> Iterator[str]:
    yield f"# Made by `ofa init` for {images_line(images)}."
    yield f"# Look at the plan with `ofa check {name}`, then `ofa run {name}`; every other key is in docs/recipe.md."
    for sentence in plan_sentences(plan):
        yield f"# {sentence}"
    yield ""


def images_line(images: ImageFacts) -> str:
    """``1,200 images (720 train, ...) in 6 classes, grey, shorter sides of 160 to 400 pixels``."""
    counts = ", ".join(f"{count:,} {split}" for split, count in images.counts.items())
    low, high = images.sides
    sides = f"{low} pixels" if low == high else f"{low} to {high} pixels, mostly {images.side}"
    colour = "grey" if images.grey else "colour"
    return f"{sum(images.counts.values()):,} images ({counts}) in {len(images.classes)} classes, {colour}, {sides}"


def plan_sentences(plan: Plan) -> Iterator[str]:
    """How long it takes, and what was assumed."""
    asked = f"{duration(plan.budget)} were asked for"
    if plan.fits:
        yield f"It takes about {duration(plan.seconds)} on this machine; {asked}."
    else:
        yield f"It takes about {duration(plan.seconds)} on this machine, although {asked}: more time, or fewer images."
    yield "Assumed: training steps stay as fast as the few that were timed for this file."


def _space(values: dict[str, Any], plan: Plan) -> Iterator[str]:
    yield f"# Chosen {plan.candidate.why}."
    yield f"space: {inline(values['space'])}"
    yield ""


def _data(values: dict[str, Any], images: ImageFacts) -> Iterator[str]:
    data = values["data"]
    yield "data:"
    yield f"  {images.kind}: {inline(data[images.kind])}"
    yield _line(f"  channels: {data['channels']}", "1: grey, 3: colour")
    yield "  augment:"
    photos = images.side >= _PHOTO
    yield _line(f"    scale: [{0.35 if photos else 0.7}, 1.0]", "random crops of this share of the area; [1, 1]: none")
    # Small grey images are often digits and letters.
    flip = 0 if images.grey and not photos else 0.5
    yield _line(f"    hflip: {flip}", "0 where left and right matter, as in text; else 0.5")
    if not images.grey:
        yield "    color_jitter: 0.2"
    yield ""


def _train(values: dict[str, Any], plan: Plan) -> Iterator[str]:
    train = values["train"]
    yield "train:"
    if init := train.get("init"):
        yield _line(f"  init: {inline(init)}", "weights to start from")
    elif plan.candidate.more_weights:
        yield _line("  # init: pretrained", "timm downloads them; a third of the epochs will do")
    yield _line(f"  total_epochs: {train['total_epochs']}", "lengths of phases and learning rates follow from it")
    yield f"  batch_size: {train['batch_size']}"
    yield ""
    yield _line(f"collect: {{subnets: {values['collect']['subnets']}}}", "measured, to teach the accuracy predictor")
    yield ""


def _targets(values: dict[str, Any], targets: Sequence[ChosenTarget]) -> Iterator[str]:
    yield "# One network for each. A limit such as 0.4x is a share of what the largest network takes; amounts such as"
    yield "# latency_ms: 2.5 or macs: 5e6 work, too, and several hold together. Latency is measured on this machine; a"
    yield "# device is timed itself with `remote: adb` or `remote: ssh:HOST` (docs/devices.md)."
    yield "targets:"
    for target in targets:
        yield f"  # {target.device.about}{f'; {target.note}' if target.note else ''}"
        yield f"  {target.name}: {inline(values['targets'][target.name])}"


def inline(value: Any) -> str:
    """A value as YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=float("inf"), allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def _line(text: str, comment: str) -> str:
    return f"{text:<{_COLUMN - 2}}  # {comment}"
