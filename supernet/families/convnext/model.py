"""How its networks are built, made elastic and cut out: as those of every derived family."""

from __future__ import annotations

from torch import nn

from ofa.supernet.derived.mixing import mixing_plan
from ofa.supernet.derived.model import activate, build, channel_groups, describe, make_elastic, parts_of

__all__ = ["activate", "build", "channel_groups", "describe", "make_elastic", "mixing_plan", "parts"]


def parts(model: nn.Module) -> tuple[nn.Module, list[nn.Sequential], nn.Module]:
    """See ``families.protocol.FamilyModel``."""
    return parts_of("convnext", model)
