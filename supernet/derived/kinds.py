"""The kinds of a block that are asked for as pairs of a kernel and a share of its middle channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ofa.supernet.derived.scaling import share_of


def kinds_of(
    kernels: Mapping[str, int], middles: Sequence[int], pairs: Sequence[tuple[int, float]]
) -> dict[str, dict[str, Any]]:
    """The kinds of a block by name, in the order of ``pairs``; none where all pairs keep the same of it.

    ``kernels`` are its depthwise convolutions' own, and ``middles`` the sizes of its groups of middle channels.
    """
    found: dict[Any, tuple[str, dict[str, Any]]] = {}
    for kernel, share in pairs:
        kept = {leaf: min(kernel, own) for leaf, own in kernels.items()}
        kind: dict[str, Any] = {"kernels": kept} if kept else {}
        name = f"k{max(kept.values())}" if kept else ""
        if middles:
            kind["expand"] = share
            name += f"e{share:g}"
        key = (*kept.values(), *(share_of(size, share) for size in middles))
        found.pop(key, None)  # the last pair, which is the largest, stays last
        found[key] = (name, kind)
    return dict(found.values()) if len(found) > 1 else {}


def check_pairs(pairs: Sequence[tuple[int, float]], *, largest_kernel: int) -> None:
    """Raises ``ValueError`` for pairs of even kernels, and where the last is not the largest of both."""
    if any(kernel % 2 == 0 for kernel, _ in pairs):
        raise ValueError(f"kinds {_listed(pairs)}: only odd kernels keep the image centred")
    if not largest_kernel:
        raise ValueError(
            f"kinds {_listed(pairs)}: they begin with the kernels of depthwise convolutions, and there are none"
        )
    if pairs[-1][0] < largest_kernel or pairs[-1][1] != 1:
        raise ValueError(
            f"kinds {_listed(pairs)}: the last must be the model itself, [{largest_kernel}, 1]; put the largest there"
        )


def _listed(pairs: Sequence[tuple[int, float]]) -> list[list[float]]:
    return [list(pair) for pair in pairs]
