"""From a timm model to its space: which genes it has, and the options that were asked for."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Annotated, Any, Literal

import timm
from pydantic import Field
from torch import nn

from ofa.supernet import families
from ofa.supernet.derived.base import CLASSES as CLASS_PREFIX
from ofa.supernet.derived.base import walked_base
from ofa.supernet.derived.kinds import check_pairs, kinds_of
from ofa.supernet.derived.layout import layout_of
from ofa.supernet.derived.options import MAX_BLOCKS
from ofa.supernet.derived.parts import Channels, Layout, PartLayout
from ofa.supernet.derived.scaling import share_of
from ofa.supernet.integers import ceil_div
from ofa.supernet.space import SOME, Resolution, Section

AUTO = "auto"
MAX_FEWER_BLOCKS = 2  # of a stage, unless asked for more
SHARES: dict[str, tuple[float, ...]] = {"expands": (0.5, 0.75, 1.0), "widths": (0.75, 1.0), "heads": (0.5, 0.75, 1.0)}

Share = Annotated[float, Field(gt=0, le=1)]
Shares = Annotated[tuple[Share, ...], Field(min_length=1, max_length=16)] | Literal["auto"]


class Elastic(Section):
    """What of a timm model may be chosen. Every list contains the model's own value, which is the largest.

    Attributes:
        resolutions: sides of the square images; ``"auto"``: the model's own and three below it.
        depths: how many of a stage's last blocks may be left out, where they keep the shape of what they read; or for
            each stage the numbers of blocks to choose from. ``"auto"``: 2.
        kernels: sizes of depthwise kernels, up to each convolution's own; 0 leaves it out where it keeps the shape
            of what it reads. ``"auto"``: all odd ones from 3.
        expands: shares of each block's middle channels. ``"auto"``: 0.5, 0.75 and 1.
        widths: shares of the channels that blocks hand on, residual connections included. ``"auto"``: 0.75 and 1.
        heads: shares of the attention heads. ``"auto"``: 0.5, 0.75 and 1.
        kinds: instead of ``kernels`` and ``expands``, pairs of a kernel and a share of middle channels that one gene
            chooses together, from the smallest to the model's own. ``"auto"``: none; the two are chosen apart.
    """

    resolutions: Annotated[tuple[Resolution, ...], Field(min_length=1)] | Literal["auto"] = "auto"
    depths: int | Annotated[tuple[tuple[int, ...], ...], Field(max_length=MAX_BLOCKS)] | Literal["auto"] = "auto"
    kernels: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] | Literal["auto"] = "auto"
    expands: Shares = "auto"
    widths: Shares = "auto"
    heads: Shares = "auto"
    kinds: Annotated[tuple[tuple[Annotated[int, Field(ge=1)], Share], ...], SOME] | Literal["auto"] = "auto"


def space_values(
    timm_name: str, *, arguments: Mapping[str, Any] | None = None, elastic: Elastic | None = None
) -> dict[str, Any]:
    """The space of a model that timm builds, as ``SearchSpace.from_dict`` takes it.

    Raises ``ValueError`` for a name that timm or no family knows, and for options that are not of the model.
    """
    elastic, options = elastic or Elastic(), dict(arguments or {})
    model = base_of(timm_name, options)
    family = family_of(model, timm_name)
    parts = import_module(f"ofa.supernet.families.{family}.timm_parts")
    resolutions = _resolutions(model, parts, elastic)
    options |= getattr(parts, "arguments_for", lambda _model, _resolutions: {})(model, resolutions)
    layout = layout_of(family, timm_name, options, resolutions)
    _check_kernels(layout, elastic)
    _check_kinds(layout, elastic)
    _check_shares(layout, elastic)
    return {
        "family": family,
        "resolutions": list(resolutions),
        "timm": timm_name,
        "arguments": json.loads(json.dumps(options)),
        "stages": _stages(layout, elastic),
        "widths": _widths(layout, elastic),
    }


def asked_space(values: Mapping[str, Any]) -> dict[str, Any]:
    """The space of ``{"timm": NAME, "arguments": ..., ...}`` with the options of ``Elastic``, as recipes have it.

    Raises ``pydantic.ValidationError`` for an unknown key, and as ``space_values`` does.
    """
    options = {key: value for key, value in values.items() if key not in ("timm", "arguments")}
    return space_values(str(values["timm"]), arguments=values.get("arguments"), elastic=Elastic(**options))


def base_of(timm_name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """The plain model that is walked. Raises ``ValueError`` with the nearest names for one that is not known."""
    if not timm_name.startswith(CLASS_PREFIX) and not timm.is_model(timm_name):
        near = difflib.get_close_matches(timm_name, timm.list_models(), n=3)
        meant = f"; did you mean {' or '.join(near)}?" if near else "; `ofa models` lists those that work"
        raise ValueError(f"timm {timm.__version__} has no model called {timm_name!r}{meant}")
    return walked_base(timm_name, arguments)


def family_of(model: nn.Module, name: str) -> str:
    """The family whose networks ``model`` is one of. Raises ``ValueError`` naming those there are."""
    known = families.derived_classes()
    if type(model).__name__ not in known:
        raise ValueError(
            f"{name} is a {type(model).__name__}, and no family of networks here is; timm's classes "
            f"{', '.join(sorted(known))} are supported"
        )
    return known[type(model).__name__]


def _resolutions(model: nn.Module, parts: ModuleType, elastic: Elastic) -> tuple[int, ...]:
    if elastic.resolutions != AUTO:
        return tuple(sorted(set(elastic.resolutions)))
    if hasattr(parts, "resolutions_of"):
        return tuple(parts.resolutions_of(model))
    own = int((getattr(model, "pretrained_cfg", None) or {}).get("input_size", (3, 224, 224))[-1])
    step = 32 if own % 32 == 0 else own // 7 if own % 7 == 0 else max(8, own // 8)
    return tuple(sorted({max(own - number * step, own // 2) for number in range(4)}))


def _stages(layout: Layout, elastic: Elastic) -> list[dict[str, Any]]:
    stages = []
    for number, parts in enumerate(layout.blocks):
        blocks = []
        for index, part in enumerate(parts):
            prefix = f"{layout.containers[number]}.{index}."
            block: dict[str, Any] = {"in_channels": layout.channels[part.axes[0]].size}
            if elastic.kinds != AUTO:
                middles = [one.size for one in _inside(layout, number, index, "expand")]
                own = {path.removeprefix(prefix): kernel for path, kernel in _own_kernels(layout, part).items()}
                choices = {"kinds": kinds_of(own, middles, elastic.kinds)}
            else:
                choices = {"kernels": _kernels(layout, part, prefix, elastic)}
                for field, role in (("expands", "expand"), ("heads", "heads")):
                    choices[field] = _shares_of_block(layout, number, index, role, _shares(elastic, field))
            block |= {field: options for field, options in choices.items() if options}
            blocks.append(block)
        stages.append({"depths": _depths(layout, number, len(parts), elastic), "blocks": blocks})
    return stages


def _depths(layout: Layout, stage: int, own: int, elastic: Elastic) -> list[int]:
    least = max(1, layout.least_depths[stage])  # published spaces alone leave out whole stages
    if isinstance(elastic.depths, tuple):
        if len(elastic.depths) != len(layout.blocks):
            raise ValueError(f"depths: {len(elastic.depths)} stages are given; this model has {len(layout.blocks)}")
        asked = sorted(set(elastic.depths[stage]))
        if not asked or asked[-1] != own or asked[0] < least:
            raise ValueError(f"depths[{stage}] is {asked}; give numbers from {least} to {own}, {own} among them")
        return asked
    fewer = MAX_FEWER_BLOCKS if elastic.depths == AUTO else int(elastic.depths)
    return list(range(max(least, own - fewer), own + 1))


def _kernels(layout: Layout, part: PartLayout, prefix: str, elastic: Elastic) -> dict[str, list[int]]:
    """Of each depthwise convolution that has a choice."""
    found = {}
    for path, own in _own_kernels(layout, part).items():
        asked = range(3, own + 1, 2) if elastic.kernels == AUTO else sorted({*elastic.kernels, own})
        options = [kernel for kernel in asked if (kernel > 0 or path in layout.optional) and kernel <= own]
        if len(options) > 1:
            found[path.removeprefix(prefix)] = options
    return found


def _own_kernels(layout: Layout, part: PartLayout) -> dict[str, int]:
    """Of each depthwise convolution whose kernel can be cut, by its name."""
    return {
        path: operator.kernel
        for operator, path in zip(part.operators, part.paths, strict=True)
        if operator.kind == "depthwise"
        and operator.kernel % 2 == 1
        and operator.padding == operator.kernel // 2
        and path not in layout.fixed_kernels
    }


def _check_kinds(layout: Layout, elastic: Elastic) -> None:
    if elastic.kinds == AUTO:
        return
    for field in ("kernels", "expands"):
        if getattr(elastic, field) != AUTO:
            raise ValueError(f"kinds {[list(pair) for pair in elastic.kinds]}: they are chosen instead of {field}")
    own = [kernel for stage in layout.blocks for part in stage for kernel in _own_kernels(layout, part).values()]
    check_pairs(elastic.kinds, largest_kernel=max(own, default=0))


def _check_kernels(layout: Layout, elastic: Elastic) -> None:
    asked = () if elastic.kernels == AUTO else elastic.kernels
    parts = [part for stage in layout.blocks for part in stage]
    own = [operator.kernel for part in parts for operator in part.operators if operator.kind == "depthwise"]
    if any(kernel and kernel % 2 == 0 for kernel in asked):
        raise ValueError(f"kernels {list(asked)}: only odd sizes keep the image centred")
    if asked and max(asked) > max(own, default=0):
        largest = f"the largest is {max(own)}" if own else "it has none"
        raise ValueError(f"kernels {list(asked)}: they are those of the model's depthwise convolutions, and {largest}")
    if 0 in asked and not layout.optional:
        raise ValueError(f"kernels {list(asked)}: 0 leaves a layer out, and none of this model's can be")


def _check_shares(layout: Layout, elastic: Elastic) -> None:
    """Shares that were asked for must be of something."""
    for field, role in (("expands", "expand"), ("widths", "width"), ("heads", "heads")):
        asked = getattr(elastic, field)
        if asked != AUTO and len(asked) > 1 and all(one.role != role for one in layout.channels):
            reasons = sorted({one.fixed for one in layout.channels if one.fixed})[:1]
            because = f" (kept as they are: {reasons[0]})" if reasons else ""
            raise ValueError(f"{field} {list(asked)}: this model has nothing to choose them for{because}")


def _shares(elastic: Elastic, field: str) -> tuple[float, ...]:
    asked = getattr(elastic, field)
    if asked == AUTO:
        return SHARES[field]
    if asked and max(asked) != 1:
        raise ValueError(f"{field} {list(asked)}: 1 must be among them, for the largest subnet is the model itself")
    return tuple(sorted(set(asked)))


def _inside(layout: Layout, stage: int, block: int, role: str) -> list[Channels]:
    """The groups of a block's own channels that a gene of ``role`` can choose."""
    return [one for one in layout.channels if (one.role, one.stage, one.block) == (role, stage, block)]


def _shares_of_block(layout: Layout, stage: int, block: int, role: str, shares: Sequence[float]) -> list[float]:
    """The shares that keep different numbers of channels in some group of the block; none where it has no choice."""
    own = _inside(layout, stage, block, role)
    if not own:
        return []
    if role == "heads":
        heads = own[0].size // own[0].step
        options = sorted({max(1, ceil_div(int(heads * share * 100), 100)) for share in shares})
        return options if len(options) > 1 else []
    kept: dict[tuple[int, ...], float] = {}
    for share in shares:
        kept[tuple(share_of(one.size, share) for one in own)] = share
    options = sorted(kept.values())
    return options if len(options) > 1 else []


def _widths(layout: Layout, elastic: Elastic) -> dict[str, list[int]]:
    shares = _shares(elastic, "widths")
    widths = {}
    for one in layout.channels:
        if one.role == "width":
            options = sorted({share_of(one.size, share) for share in shares})
            if len(options) > 1:
                widths[one.name] = options
    return widths
