"""Spaces of timm's ConvNeXt, the first version and the second."""

from typing import ClassVar, Literal

from pydantic import Field

from ofa.supernet.derived.space import DerivedSpace


class Space(DerivedSpace):
    """Depth, stage widths, and in each block kernel and MLP ratio, read off one of timm's models."""

    timm_classes: ClassVar[tuple[str, ...]] = ("ConvNeXt",)
    shrinking: ClassVar[tuple[str, ...]] = ("kernel", "depth", "expand", "kind", "width")

    family: Literal["convnext"] = Field("convnext", description="Family of networks.")
