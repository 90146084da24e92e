"""Other blocks that may stand in the places of a model's own, such as a 1x1 convolution for an inverted residual.

They are those of timm's own models: of one in which they stand there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import Any

from torch import nn

from ofa.supernet.derived.base import IN_CHANS, NUM_CLASSES, build_base, walked_base
from ofa.supernet.derived.block import Alternative


def add_alternatives(
    model: nn.Module,
    family: str,
    timm_name: str,
    arguments: Mapping[str, Any],
    alternatives: Sequence[Alternative],
    *,
    device: str | None = None,
) -> None:
    """Gives blocks of ``model`` the ``alternatives`` as submodules, by the numbers of their kinds, freshly initialised.

    The blocks do not run them. Raises ``ValueError`` for a block that is not there, and for alternatives where the
    family or the arguments cannot say other blocks.
    """
    cut = family_parts(family).cut
    stages = cut(model).stages
    remaining = list(alternatives)
    while remaining:
        # One of each place is built at once.
        places = {(one.stage, one.index): one for one in reversed(remaining)}
        remaining = [one for one in remaining if one not in places.values()]
        for stage, index in places:
            if stage >= len(stages) or index >= len(stages[stage]):
                raise ValueError(f"stages.{stage}.blocks.{index}.kinds: {timm_name} has no such block")
        other = arguments_with(family, arguments, places.values())
        theirs = cut(build_base(timm_name, other, device=device)).stages
        for (stage, index), one in places.items():
            block = stages[stage][index]
            if not hasattr(block, "alternatives"):
                block.alternatives = nn.ModuleDict()
            block.alternatives[str(one.number)] = theirs[stage][index]


def arguments_with(family: str, arguments: Mapping[str, Any], chosen: Sequence[Alternative]) -> dict[str, Any]:
    """The arguments of a model in which the ``chosen`` blocks stand. Raises ``ValueError`` where none can say them."""
    if not chosen:
        return dict(arguments)
    with_blocks = getattr(family_parts(family), "with_blocks", None)
    if with_blocks is None:
        raise ValueError(f"kinds: the family {family} has no other blocks to put in the place of its own")
    return with_blocks(arguments, {(one.stage, one.index): one.block for one in chosen})


def walked_with(
    family: str, timm_name: str, arguments: Mapping[str, Any], alternatives: Sequence[Alternative]
) -> nn.Module:
    """As ``walked_base``, with alternatives."""
    if not alternatives:
        return walked_base(timm_name, arguments)
    return _walked_with(family, timm_name, json.dumps(arguments, sort_keys=True), tuple(alternatives))


@lru_cache(maxsize=8)
def _walked_with(family: str, timm_name: str, arguments: str, alternatives: tuple[Alternative, ...]) -> nn.Module:
    options = {**json.loads(arguments), "num_classes": NUM_CLASSES, "in_chans": IN_CHANS}
    model = build_base(timm_name, options, device="meta")
    add_alternatives(model, family, timm_name, options, alternatives, device="meta")
    return model.eval().requires_grad_(False)


def family_parts(family: str) -> ModuleType:
    """Where the models of a family are cut."""
    return import_module(f"ofa.supernet.families.{family}.timm_parts")
