"""Spaces of timm's models that start from trained weights: of a file, or of timm's own that are on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from huggingface_hub import try_to_load_from_cache
from timm.models import get_pretrained_cfg, is_model_pretrained

from ofa.catalogue.models import facts_of, matching_names
from ofa.config.space import whole_space
from ofa.errors import UserError
from ofa.init.devices import ChosenTarget
from ofa.init.images import ImageFacts
from ofa.init.spaces import Candidate, spread
from ofa.supernet import families
from ofa.supernet.space import SearchSpace
from ofa.supernet.supernet import Supernet
from ofa.supernet.training.initial_weights import load_initial

_HUB_FILES = ("model.safetensors", "pytorch_model.bin")  # as timm looks for them
_SMALL = 64  # pixels; smaller images say too little at the sizes that these models were trained on
_MIN_EPOCHS, _MAX_EPOCHS = 20, 200  # from trained weights
_STEP = 32  # pixels from one resolution to the next


def named_candidates(
    name: str, weights: Path | None, images: ImageFacts, targets: Sequence[ChosenTarget]
) -> Iterator[Candidate]:
    """A model of timm at falling resolutions, from ``weights``, or from timm's own where they are in its cache.

    Raises ``UserError`` for a name that does not work, weights of another network, and targets that cannot run it.
    """
    values, problems = whole_space({"timm": name})
    if problems:
        raise UserError(f"--timm {name}: {problems[0][1]}")
    space = SearchSpace.from_dict(values)
    _check_runs(space, targets, f"--timm {name}")
    init: Path | str | None = weights
    more_weights = weights is None and is_model_pretrained(name) and not is_cached(name)
    if weights is not None:
        _check_fits(space, weights, images)
        why = f"as asked: timm's {name}, from the weights in {weights.name}"
    elif is_cached(name):
        init, why = "pretrained", f"because pretrained weights of timm's {name} are on this machine"
    else:
        why = f"as asked: timm's {name}, from nothing"
        if more_weights:
            why += "; its pretrained weights are not on this machine"
    for resolutions in _resolutions(space, images):
        usual = {"min_epochs": _MIN_EPOCHS, "max_epochs": _MAX_EPOCHS} if init else {}
        yield Candidate(
            {"timm": name, "resolutions": resolutions},
            why,
            init=init,
            more_weights=more_weights,
            channels=3 if weights else None,
            **usual,
        )


def cached_candidates(images: ImageFacts, targets: Sequence[ChosenTarget]) -> Iterator[Candidate]:
    """The models whose pretrained weights are in the cache, the largest first; none for small images."""
    if images.side < _SMALL:
        return
    spaces = {name: SearchSpace.from_timm(name) for name in matching_names(None) if is_cached(name) and _works(name)}
    runnable = [
        name
        for name, space in spaces.items()
        if all(target.operators is None or space.operators <= target.operators for target in targets)
    ]
    for name in sorted(runnable, key=lambda name: facts_of(name).largest, reverse=True):
        yield from named_candidates(name, None, images, targets)


def weights_candidates(weights: Path, images: ImageFacts, targets: Sequence[ChosenTarget]) -> Iterator[Candidate]:
    """The preset whose largest network a file of weights is of, at its own resolutions.

    Raises ``UserError`` when there is none, and for targets that cannot run it.
    """
    for preset, values in families.presets().items():
        space = SearchSpace.from_dict(values)
        try:
            _check_fits(space, weights, images)
        except UserError:
            continue
        _check_runs(space, targets, f"--weights {weights}")
        yield Candidate(
            {"preset": preset},
            f"because the weights in {weights.name} are of {preset}",
            min_epochs=_MIN_EPOCHS,
            max_epochs=_MAX_EPOCHS,
            init=weights,
            channels=3,
        )
        return
    presets = ", ".join(families.presets())
    raise UserError(f"--weights {weights}: of none of the presets ({presets}); say of which model with --timm NAME")


def is_cached(name: str) -> bool:
    """Whether ``init: pretrained`` of a model downloads nothing."""
    if not is_model_pretrained(name):
        return False
    config = get_pretrained_cfg(name)
    if config.hf_hub_id:
        files = (config.hf_hub_filename,) if config.hf_hub_filename else _HUB_FILES
        return any(isinstance(try_to_load_from_cache(config.hf_hub_id, file), str) for file in files)
    return bool(config.url) and (Path(torch.hub.get_dir()) / "checkpoints" / Path(str(config.url)).name).is_file()


def _works(name: str) -> bool:
    return not whole_space({"timm": name})[1]


def _check_runs(space: SearchSpace, targets: Sequence[ChosenTarget], asked: str) -> None:
    """Raises ``UserError`` naming the operators that a target's runtime lacks."""
    for target in targets:
        if target.operators is not None and (lacking := space.operators - target.operators):
            raise UserError(
                f"{asked}: {target.name} cannot run its {', '.join(sorted(lacking))}; leave it out, for a space that "
                f"{target.name} can run, or take {target.name} out of --targets"
            )


def _check_fits(space: SearchSpace, weights: Path, images: ImageFacts) -> None:
    """Raises ``UserError`` when the file is not of the space's largest network, but for its classifier."""
    with torch.device("meta"):
        net = Supernet(space, num_classes=len(images.classes), in_chans=3)
    try:
        load_initial(net, weights)
    except ValueError as error:
        raise UserError(f"--weights: {error}") from error


def _resolutions(space: SearchSpace, images: ImageFacts) -> list[list[int]]:
    """Those up to the size that the images fill, but no less than half of the model's own; then smaller ones."""
    own = space.resolutions[-1]
    least = max(2 * _STEP, own // 2 // _STEP * _STEP)
    filled = max(least, min(own, images.side // _STEP * _STEP))
    sides = dict.fromkeys((filled, max(least, filled * 3 // 4 // _STEP * _STEP), least))
    return [spread(max(_STEP, side // 2), side, _STEP) for side in sides]
