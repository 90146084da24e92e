"""Spaces of the networks that timm's EfficientNet builder makes: MobileNets, MnasNet, EfficientNet and their like."""

from typing import ClassVar, Literal

from pydantic import Field

from ofa.supernet.derived.space import DerivedSpace


class Space(DerivedSpace):
    """Depth, stage widths, and in each block kernel and expand ratio or its kind, read off one of timm's models."""

    timm_classes: ClassVar[tuple[str, ...]] = ("EfficientNet", "MobileNetV3")
    shrinking: ClassVar[tuple[str, ...]] = ("kernel", "depth", "stride", "expand", "kind", "width")

    family: Literal["efficientnet"] = Field("efficientnet", description="Family of networks.")
