"""The command ``ofa init``: looks, plans and writes the recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from ofa.config.recipe import Recipe
from ofa.config.yaml_text import parse_yaml
from ofa.data.readers.one_look import one_look
from ofa.errors import UserError
from ofa.init.devices import ChosenTarget, choose_targets
from ofa.init.images import ImageFacts, look_at
from ofa.init.plan import make_plan, seconds_of
from ofa.init.pretrained import cached_candidates, named_candidates, weights_candidates
from ofa.init.spaces import Candidate, candidates
from ofa.init.text import images_line, plan_sentences, recipe_text
from ofa.supernet.files import write_atomic


def write_recipe(
    folder: Path,
    out: Path,
    *,
    targets: Sequence[str],
    time: str,
    timm: str | None = None,
    weights: Path | None = None,
    force: bool = False,
    told: Callable[[str], None] = lambda line: None,
) -> None:
    """Writes the recipe for the images in ``folder`` to ``out``; ``told`` gets a line for each thing found.

    ``timm`` names the model to make elastic; ``weights`` are those to start from, of it or of a preset's largest
    network. Without both, models whose pretrained weights timm has on this machine come first.

    Raises ``UserError`` when the folder does not do, a target is unknown or nothing that runs it is installed, or
    ``out`` is there and not to be overwritten (``force``).
    """
    if out.is_dir():
        raise UserError(f"--out {out}: a folder; give the name of a file such as {out / 'recipe.yaml'}")
    if out.exists() and not force:
        raise UserError(f"{out} is there already; give another name with --out, or --force to overwrite it")
    if not out.absolute().parent.is_dir():
        raise UserError(f"--out {out}: there is no folder {out.parent}; make it first")
    if weights is not None and not weights.is_file():
        raise UserError(f"--weights {weights}: no such file; give a .safetensors file of weights")
    budget = seconds_of(time)
    chosen = choose_targets(targets)
    with one_look():
        images = look_at(folder)
        told(f"data      {images_line(images)}")
        for sentence in images.unused:
            told(f"not used  {sentence}")
        plan = make_plan(images, chosen, _candidates(images, chosen, timm, weights), budget=budget, told=told)

    text = recipe_text(images, chosen, plan, name=str(out))
    Recipe.from_dict({"name": out.stem, **parse_yaml(text, str(out))}, source=str(out))
    write_atomic(out, text.encode())
    for target in chosen:
        if target.note:
            told(f"target    {target.name}: {target.way.runtime}; {target.note}")
    for sentence in plan_sentences(plan):
        told(f"time      {sentence}")
    told(f"wrote     {out}; look at it, then `ofa check {out}` and `ofa run {out}`")


def _candidates(
    images: ImageFacts, targets: Sequence[ChosenTarget], timm: str | None, weights: Path | None
) -> Iterator[Candidate]:
    """What was asked for; or pretrained models, and then presets."""
    if timm:
        return named_candidates(timm, weights, images, targets)
    if weights:
        return weights_candidates(weights, images, targets)
    return chain(cached_candidates(images, targets), candidates(images, targets))
