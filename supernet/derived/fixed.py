"""What of a walked model is not chosen, and why, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ofa.supernet.derived.layout import Layout
from ofa.supernet.space import SearchSpace

_SHOWN = 3  # names of layers
_ENDS = ("the images", "the classes")  # which no network chooses


def fixed_choices(space: SearchSpace) -> list[str]:
    """A sentence for each reason why channels, layers or blocks are kept; none for a space that is not derived."""
    layout: Layout | None = getattr(space, "layout", None)
    if layout is None:
        return []
    sentences = [f"{_places(paths)}: {reason}, so its channels are kept" for reason, paths in _reasons(layout).items()]
    kept: dict[str, list[str]] = {}
    for path, reason in layout.opaque.items():
        kept.setdefault(reason, []).append(path)
    sentences += [f"{_places(paths)}: kept whole; {reason}" for reason, paths in kept.items()]
    whole = [
        container
        for container, least, blocks in zip(layout.containers, layout.least_depths, layout.blocks, strict=True)
        if least == len(blocks) > 1
    ]
    if whole:
        sentences.append(f"{_places(whole)}: all blocks are kept, as the last changes the shape of what it reads")
    return sentences


def _reasons(layout: Layout) -> Mapping[str, list[str]]:
    """Why channels are fixed, without the layer's name, and the names of the layers."""
    found: dict[str, list[str]] = {}
    for channels in layout.channels:
        path, colon, reason = channels.fixed.partition(": ")
        if colon and path not in found.setdefault(reason, []):
            found[reason].append(path)
        elif channels.fixed and not colon and channels.fixed not in _ENDS:
            found.setdefault(channels.fixed, [])
    return found


def _places(paths: Sequence[str]) -> str:
    shown = ", ".join(paths[:_SHOWN]) or "some channels"
    more = len(paths) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
