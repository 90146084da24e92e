"""Blocks in whose place another block may run."""

from __future__ import annotations

from functools import cache

from torch import Tensor, nn


class _Replaceable(nn.Module):
    """A block that holds others in ``alternatives``: the one called ``active_alternative`` runs in its place.

    With an empty ``active_alternative`` the block runs itself.
    """

    alternatives: nn.ModuleDict
    active_alternative: str

    def forward(self, x: Tensor) -> Tensor:
        if self.active_alternative:
            return self.alternatives[self.active_alternative](x)
        return super().forward(x)


def make_replaceable(block: nn.Module) -> None:
    """Lets one of a block's ``alternatives`` run in its place, by another class; the block is active itself."""
    block.active_alternative = ""
    block.__class__ = _replaceable(type(block))


@cache
def _replaceable(kind: type[nn.Module]) -> type[nn.Module]:
    return type(f"Replaceable{kind.__name__}", (_Replaceable, kind), {"__module__": __name__})
