"""What a subnet looks like: its blocks as values, as one line of text, and as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from ofa.pipeline.artefacts.report import Report
from ofa.report.escape import html as escape
from ofa.supernet.space import SearchSpace, Subnet, mid_width

_HIGH, _TOP, _LEFT, _GAP, _STAGE_GAP = 84, 34, 78, 5, 18
_NARROW, _WIDE, _LOW = 22, 40, 6


class Block(NamedTuple):
    """A block that runs: ``middle`` are the channels inside it, after expansion; ``size`` is the side it reads."""

    kernel: int
    expand: float
    middle: int
    size: int


class Stage(NamedTuple):
    """The blocks of one stage and the channels that they give."""

    width: int
    blocks: tuple[Block, ...]


class SubnetDescription(NamedTuple):
    """A subnet under a name, ready to be shown."""

    name: str
    resolution: int
    stages: tuple[Stage, ...]


def describe_subnet(name: str, space: SearchSpace, subnet: Subnet) -> SubnetDescription:
    """The blocks of each stage that run."""
    sizes = space.sizes(subnet.resolution)
    stages: list[list[Block]] = [[] for _ in space.stages]
    for index, slot in enumerate(space.slots):
        if slot.index < subnet.depths[slot.stage]:
            middle = mid_width(slot.in_width, subnet.expands[index])
            block = Block(subnet.kernels[index], subnet.expands[index], middle, sizes[index])
            stages[slot.stage].append(block)
    return SubnetDescription(
        name,
        subnet.resolution,
        tuple(Stage(stage.width, tuple(blocks)) for stage, blocks in zip(space.stages, stages, strict=True)),
    )


def chosen_subnets(report: Report) -> list[SubnetDescription]:
    """The subnet of each target; none when the report is of an older version, which lacks the space."""
    if report.space is None:
        return []
    space = SearchSpace.from_dict(report.space)
    return [describe_subnet(name, space, target.subnet) for name, target in report.targets.items()]


def subnet_line(subnet: SubnetDescription) -> str:
    """One line: resolution, then each stage's width and blocks, such as ``24 px  24: k3e4 k5e6 | 40: k3e3``."""
    stages = (
        f"{stage.width}: " + " ".join(f"k{block.kernel}e{block.expand:g}" for block in stage.blocks)
        for stage in subnet.stages
    )
    return f"{subnet.resolution} px  " + " | ".join(stages)


def draw_subnets(subnets: Sequence[SubnetDescription]) -> str:
    """One ``<figure>`` a subnet, all to one scale, and the legend of the kernels' colours; empty text for none."""
    if not subnets:
        return ""
    blocks = [block for subnet in subnets for stage in subnet.stages for block in stage.blocks]
    kernels = sorted({block.kernel for block in blocks})
    most = max(block.middle for block in blocks)
    widest = max(stage.width for subnet in subnets for stage in subnet.stages)
    figures = "".join(_draw_subnet(subnet, kernels, most, widest) for subnet in subnets)
    keys = "".join(
        f'<li><svg viewBox="0 0 24 16" class="key" aria-hidden="true"><rect class="k{number % 4}" x="4" y="1" '
        f'width="16" height="14"/></svg>kernel {kernel} x {kernel}</li>'
        for number, kernel in enumerate(kernels)
    )
    return (
        f'<div class="row">{figures}</div><ul class="legend">{keys}'
        "<li>height: channels inside the block (square-root scale)</li>"
        "<li>width: channels that the stage gives (ch)</li><li>e: expand ratio</li></ul>"
    )


def _draw_subnet(subnet: SubnetDescription, kernels: list[int], most: int, widest: int) -> str:
    base = _TOP + _HIGH
    middle = _TOP + _HIGH / 2
    parts = [
        f'<rect class="image" x="4" y="{middle - 24}" width="48" height="48" rx="3"/>',
        f'<text x="28" y="{middle - 1}" text-anchor="middle">{subnet.resolution}</text>',
        f'<text x="28" y="{middle + 13}" text-anchor="middle">px</text>',
        f'<path class="axis" d="M56 {middle}h10m-5 -4l5 4l-5 4"/>',
    ]
    left = float(_LEFT)
    for stage in subnet.stages:
        wide = _NARROW + (_WIDE - _NARROW) * stage.width / widest
        start = left
        for block in stage.blocks:
            high = max(_LOW, _HIGH * math.sqrt(block.middle / most))
            shade = f"k{kernels.index(block.kernel) % 4}"
            tooltip = f"kernel {block.kernel}, expand ratio {block.expand:g}, {block.middle} channels inside, "
            tooltip += f"{stage.width} out, reads {block.size} x {block.size}"
            centre = left + wide / 2
            parts.append(
                f'<rect class="{shade}" x="{left:.1f}" y="{base - high:.1f}" width="{wide:.1f}" height="{high:.1f}" '
                f'rx="2"><title>{tooltip}</title></rect>'
                f'<text x="{centre:.1f}" y="{base - high - 5:.1f}" text-anchor="middle">k{block.kernel}</text>'
                f'<text x="{centre:.1f}" y="{base + 14}" text-anchor="middle">e{block.expand:g}</text>'
            )
            left += wide + _GAP
        stop = max(left - _GAP, start + 34)
        parts.append(f'<path class="axis" d="M{start:.1f} {base + 20}v3H{stop:.1f}v-3"/>')
        parts.append(
            f'<text class="name" x="{(start + stop) / 2:.1f}" y="{base + 37}" text-anchor="middle">'
            f"{stage.width} ch</text>"
        )
        left = stop + _STAGE_GAP
    width, height = left - _STAGE_GAP + 8, base + 46
    title = f"{subnet.name}: {subnet_line(subnet)}"
    return (
        f'<figure class="blocks"><figcaption>{escape(subnet.name)}</figcaption><div class="scroll" tabindex="0" '
        f'role="group" aria-label="{escape(subnet.name)}"><svg viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" '
        f'height="{height}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg></div></figure>'
    )
