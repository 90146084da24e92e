"""What a subnet looks like: its blocks as values, as one line of text, and as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ofa.pipeline.artefacts.drawn import Block, Stage, SubnetDescription
from ofa.pipeline.artefacts.report import Report
from ofa.report.escape import html as escape
from ofa.report.escape import printable
from ofa.supernet.space import SearchSpace, Subnet

_HIGH, _TOP, _LEFT, _GAP, _STAGE_GAP = 84, 34, 78, 5, 18
_NARROW, _WIDE, _LOW = 22, 40, 6
_WORDS = {"expand": "expand ratio"}  # roles that need another word


def describe_subnet(name: str, space: SearchSpace, subnet: Subnet) -> SubnetDescription:
    """The blocks of each stage that run."""
    choices, columns = space.choices(subnet).blocks, dict(zip(space.blocks, space.part_columns.blocks, strict=True))
    stages: dict[int, list[Block]] = {}
    for position, _, middle, width, side, _ in space.shapes(subnet):
        # Genes that it depends on besides its own are widths of stages, which are drawn as such, and earlier strides.
        genes = {key: space.genes[column] for key, column in columns[position].items()}
        own = {key: gene.role for key, gene in genes.items() if (gene.stage, gene.block) == position[:2]}
        roles = list(own.values())
        chosen = choices[position.stage, position.index]
        named = {role if roles.count(role) == 1 else key: chosen[key] for key, role in own.items()}
        block = Block(named, middle, width, side)
        stages.setdefault(position.stage, []).append(block)
    return SubnetDescription(
        name,
        subnet.resolution,
        tuple(Stage(blocks[-1].width, tuple(blocks)) for blocks in stages.values()),
    )


def chosen_subnets(report: Report) -> Sequence[SubnetDescription]:
    """The subnet of each target; none when the report is of an older version, which lacks the space."""
    if report.space is None:
        return []
    if report.drawn is not None:
        return report.drawn
    space = SearchSpace.from_dict(report.space)
    return [describe_subnet(name, space, target.subnet) for name, target in report.targets.items()]


def subnet_line(subnet: SubnetDescription) -> str:
    """One line: resolution, then each stage's width and blocks, such as ``24 px  24: k3e4 k5e6 | 40: k3e3``."""
    stages = (
        f"{stage.width}: " + " ".join("".join(_labels(block)) for block in stage.blocks) for stage in subnet.stages
    )
    return f"{subnet.resolution} px  " + " | ".join(stages)


def _labels(block: Block) -> list[str]:
    """Each choice as the first letter of its role and its value; the name of a kind alone."""
    return [
        printable(value) if isinstance(value, str) else f"{role[0]}{value:g}" for role, value in block.choices.items()
    ]


def _shown(value: Any) -> str:
    return escape(value) if isinstance(value, str) else f"{value:g}"


def draw_subnets(subnets: Sequence[SubnetDescription]) -> str:
    """One ``<figure>`` a subnet, all to one scale, and the legend of the kernels' colours; empty text for none."""
    if not subnets:
        return ""
    blocks = [block for subnet in subnets for stage in subnet.stages for block in stage.blocks]
    # Colours tell the blocks' first choice: the kernel, where there is one.
    role = next((role for block in blocks for role in block.choices), "")
    shades = sorted({block.choices[role] for block in blocks if role in block.choices})
    most = max(block.middle for block in blocks)
    widest = max(stage.width for subnet in subnets for stage in subnet.stages)
    figures = "".join(_draw_subnet(subnet, role, shades, most, widest) for subnet in subnets)
    sides = " x {:g}" if role == "kernel" else ""
    keys = "".join(
        f'<li><svg viewBox="0 0 24 16" class="key" aria-hidden="true"><rect class="k{number % 4}" x="4" y="1" '
        f'width="16" height="14"/></svg>{_WORDS.get(role, role)} {_shown(value)}{sides.format(value)}</li>'
        for number, value in enumerate(shades)
    )
    numbers = [name for block in blocks for name, value in block.choices.items() if not isinstance(value, str)]
    others = dict.fromkeys(other for other in numbers if other != role)
    letters = "".join(f"<li>{other[0]}: {_WORDS.get(other, other)}</li>" for other in others)
    return (
        f'<div class="row">{figures}</div><ul class="legend">{keys}'
        "<li>height: channels inside the block (square-root scale)</li>"
        f"<li>width: channels that the stage gives (ch)</li>{letters}</ul>"
    )


def _draw_subnet(subnet: SubnetDescription, role: str, shades: list[Any], most: int, widest: int) -> str:
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
            shade = f"k{shades.index(block.choices[role]) % 4}" if role in block.choices else "k0"
            tooltip = "".join(f"{_WORDS.get(name, name)} {_shown(value)}, " for name, value in block.choices.items())
            tooltip += f"{block.middle} channels inside, {stage.width} out, reads {block.size} x {block.size}"
            above, below = [*map(escape, _labels(block)), "", ""][:2]
            centre = left + wide / 2
            parts.append(
                f'<rect class="{shade}" x="{left:.1f}" y="{base - high:.1f}" width="{wide:.1f}" height="{high:.1f}" '
                f'rx="2"><title>{tooltip}</title></rect>'
                f'<text x="{centre:.1f}" y="{base - high - 5:.1f}" text-anchor="middle">{above}</text>'
                f'<text x="{centre:.1f}" y="{base + 14}" text-anchor="middle">{below}</text>'
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
