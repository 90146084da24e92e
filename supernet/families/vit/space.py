"""Spaces of timm's VisionTransformer, DeiT's distilled one included."""

from typing import ClassVar, Literal

from pydantic import Field

from ofa.supernet.derived.space import DerivedSpace


class Space(DerivedSpace):
    """Depth, embedding width, and in each block heads and MLP ratio, read off one of timm's models."""

    timm_classes: ClassVar[tuple[str, ...]] = ("VisionTransformer", "VisionTransformerDistilled")
    shrinking: ClassVar[tuple[str, ...]] = ("heads", "depth", "expand", "kind", "width")

    family: Literal["vit"] = Field("vit", description="Family of networks.")
