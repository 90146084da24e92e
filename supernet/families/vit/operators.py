"""The operators of the parts: those that were read off timm's model."""

from ofa.supernet.derived.operators import block, head, stem

__all__ = ["block", "head", "stem"]
