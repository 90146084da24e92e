"""The recipe's section ``space:``: a preset, a preset with changes, a model of timm, or a whole space."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from ofa.config.errors import Problem, invalid_keys, nearest, short
from ofa.config.types import Section, Takes, Text, real, whole
from ofa.supernet import families
from ofa.supernet.genome import MAX_OPTIONS
from ofa.supernet.space import MAX_RESOLUTION, MIN_RESOLUTION, SearchSpace

_PLACEHOLDER = "tiny_mbv3"  # stands for a space that is wrong, so that the rest of the recipe is checked
_AUTO = "auto"


def _auto_or(kind: Any, takes: Takes, example: str) -> Any:
    """The type of a value of ``kind``, or ``auto``, with one sentence for whatever else is given."""
    adapter = TypeAdapter(kind)

    def checked(value: Any) -> Any:
        if value == _AUTO:
            return value
        try:
            return adapter.validate_json(json.dumps(value), strict=True)
        except ValidationError as error:
            raise ValueError(f"must be {_AUTO}, or {takes.range} such as {example}") from error

    return Annotated[Any, AfterValidator(checked), takes]


def _options(item: Any) -> Any:
    return Annotated[tuple[item, ...], Field(min_length=1, max_length=MAX_OPTIONS)]


_SIDES = Takes("list of whole numbers, or auto", f"sides from {MIN_RESOLUTION} to {MAX_RESOLUTION:,} pixels")
_DEPTHS = Takes("whole number, list of lists, or auto", "a number from 0 to 511, or numbers of blocks for each stage")
_KERNELS = Takes("list of whole numbers, or auto", "odd sizes to 31, and 0 to leave a layer out")
_KINDS = Takes("list of pairs, or auto", "an odd kernel to 31 and a share from 0.01 to 1 in each, the largest last")
_SHARES = Takes("list of numbers, or auto", "shares of the model's own from 0.01 to 1, with 1 among them")
_Shares = _auto_or(_options(real(0.01, 1)), _SHARES, "[0.5, 0.75, 1.0]")


class TimmSpace(Section):
    """A space made of a model of timm, in place of a preset.

    The largest network is the model itself. What a model does not have cannot be chosen; `ofa check` says what is kept.
    """

    timm: Text = Field(description="Name of the model; `ofa models` lists those that work.")
    resolutions: _auto_or(_options(whole(MIN_RESOLUTION, MAX_RESOLUTION)), _SIDES, "[160, 192, 224]") = Field(
        _AUTO, description="Sides of the square images to choose from; auto: the model's own and three below it."
    )
    depths: _auto_or(whole(0, 511) | tuple[_options(whole(1, 512)), ...], _DEPTHS, "2 or [[1, 2], [2, 3, 4]]") = Field(
        _AUTO, description="How many of a stage's last blocks may be left out, or the numbers to keep; auto: 2."
    )
    kernels: _auto_or(_options(whole(0, 31)), _KERNELS, "[3, 5, 7]") = Field(
        _AUTO, description="Sizes of depthwise kernels, up to each layer's own; auto: all from 3."
    )
    expands: _Shares = Field(_AUTO, description="Shares of each block's middle channels; auto: 0.5, 0.75 and 1.")
    widths: _Shares = Field(_AUTO, description="Shares of the channels that blocks hand on; auto: 0.75 and 1.")
    heads: _Shares = Field(_AUTO, description="Shares of the attention heads; auto: 0.5, 0.75 and 1.")
    kinds: _auto_or(_options(tuple[whole(1, 31), real(0.01, 1)]), _KINDS, "[[3, 0.5], [5, 1]]") = Field(
        _AUTO,
        description="Pairs of a kernel and a share of middle channels to choose together, in place of `kernels` and "
        "`expands`, from the smallest to the model's own; auto: none.",
    )


def is_of_timm(given: Any) -> bool:
    """Whether a space is given by a model's name rather than written out."""
    return isinstance(given, dict) and "timm" in given and not {"family", "stages"} & set(given)


def whole_space(given: Any) -> tuple[Any, list[Problem]]:
    """The space written out, from a preset's name, ``{preset: NAME, changes}``, ``{timm: NAME, options}`` or the whole.

    A model of timm is built for it, without weights; that imports torch.
    """
    presets = families.presets()
    if isinstance(given, str):
        given = {"preset": given}
    if given is None or given == {}:
        text = f"missing; give a preset ({', '.join(presets)}), {{timm: NAME}} or a whole space"
        return presets[_PLACEHOLDER], [("space", text)]
    if is_of_timm(given):
        return _of_timm(given)
    if not isinstance(given, dict) or "preset" not in given:
        return given, []
    name = given["preset"]
    changes = {key: value for key, value in given.items() if key != "preset"}
    if not isinstance(name, str) or name not in presets:
        # The changes are still checked, so that one run of the command shows every problem.
        text = f"unknown preset {short(name)}{nearest(name, presets)}"
        return {**presets[_PLACEHOLDER], **changes}, [("space.preset", text)]
    return {**presets[name], **changes}, []


def _of_timm(given: dict[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    placeholder = families.presets()[_PLACEHOLDER]
    if "preset" in given:
        return placeholder, [("space", "preset and timm are both given; keep one of them")]
    try:
        section = TimmSpace.model_validate_json(json.dumps(given, default=str), strict=True)
    except ValidationError as error:
        problems = invalid_keys(error, TimmSpace, space=TimmSpace)
        return placeholder, [(f"space.{key}", text) for key, text in problems]

    from ofa.supernet.derived.derive import Elastic, space_values

    options = {key: value for key, value in section.model_dump().items() if key != "timm"}
    try:
        values = space_values(section.timm, elastic=Elastic(**options))
    except ValueError as error:
        named = re.match(f"({'|'.join(options)})\\b(: | (?=\\[))?", str(error))
        text = str(error)[named.end() :] if named and named[2] else str(error)
        return placeholder, [(f"space.{named[1] if named else 'timm'}", text)]
    # The other options are refused by the model itself.
    if section.depths not in (_AUTO, 0) and SearchSpace.from_dict(values).max_options("depth") < 2:
        return values, [("space.depths", f"{section.timm} has no stage whose last block may be left out; leave it out")]
    return values, []
