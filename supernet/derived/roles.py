"""Which gene chooses each group of channels: a stage's width, a block's expand ratio, or none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ofa.supernet.derived.axes import Axes
from ofa.supernet.derived.parts import Channels, PartLayout

Place = tuple[int, int]  # stage and block; stage -1 is the stem, and the number of stages the head


def channels_of(
    axes: Axes, roots: Sequence[int], stem: PartLayout, blocks: Sequence[Sequence[PartLayout]], head: PartLayout
) -> tuple[Channels, ...]:
    """The role of each group of channels, in the order of ``roots``."""
    # Where each group is read or written, and which of them each part gives.
    parts: dict[Place, PartLayout] = {(-1, 0): stem, (len(blocks), 0): head}
    parts |= {(stage, block): part for stage, inside in enumerate(blocks) for block, part in enumerate(inside)}
    places: dict[int, list[Place]] = {}
    for place, part in sorted(parts.items()):
        for axis in dict.fromkeys((*part.axes, *(axis for axis in part.groups if axis is not None))):
            places.setdefault(axis, []).append(place)
    given = {part.axes[part.out]: place for place, part in sorted(parts.items())}

    numbers = {root: number for number, root in enumerate(roots)}
    taken: dict[str, int] = {}
    result = []
    for number, root in enumerate(roots):
        axis, where = axes[root], places.get(number, [])
        inside = len(where) == 1 and 0 <= where[0][0] < len(blocks)
        stage, block = where[0] if inside else (None, None)
        if axis.fixed:
            result.append(Channels(axis.size, fixed=axis.fixed))
        elif axis.made_of is not None:
            follows = numbers[axes.root(axis.made_of)]
            result.append(Channels(axis.size, "follows", follows=follows, step=axis.step))
        elif axis.kind == "heads":
            result.append(Channels(axis.size, "heads", stage=stage, block=block, step=axis.step))
        elif inside:
            result.append(Channels(axis.size, "expand", stage=stage, block=block))
        else:
            giver = given.get(number, where[-1] if where else (-1, 0))[0]
            label = {-1: "stem", len(blocks): "head"}.get(giver, str(giver))
            taken[label] = taken.get(label, -1) + 1
            name = f"{label}.{taken[label]}" if taken[label] else label
            result.append(Channels(axis.size, "width", name, stage=giver if 0 <= giver < len(blocks) else None))
    return tuple(replace(one, ordered=axes[root].ordered) for one, root in zip(result, roots, strict=True))
