"""Spaces of timm's ResNet."""

from typing import ClassVar, Literal

from pydantic import Field

from ofa.supernet.derived.space import DerivedSpace


class Space(DerivedSpace):
    """Depth, stage widths, and the middle width of each block, read off one of timm's models."""

    timm_classes: ClassVar[tuple[str, ...]] = ("ResNet",)
    shrinking: ClassVar[tuple[str, ...]] = ("kernel", "depth", "expand", "kind", "width")

    family: Literal["resnet"] = Field("resnet", description="Family of networks.")
