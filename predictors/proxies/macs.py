"""Multiply-accumulates: the baseline that every proxy should beat, and AZ-NAS' complexity (arXiv:2403.19232)."""

from __future__ import annotations

import timm.layers
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def compute(model: nn.Module, images: Tensor, labels: Tensor | None, generator: object) -> float:
    """Multiply-accumulates of convolutions, linear layers and attention, for one image; as ``CostTable.macs`` counts.

    Blurs have no weights of their own and do not count, though torch runs them as convolutions.
    """
    blurs = {f"{type(model).__name__}.{name}" for name, module in model.named_modules() if _is_blur(module)}
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(images[:1])
    counts = counter.get_flop_counts()
    flops = counter.get_total_flops() - sum(sum(counts[name].values()) for name in blurs if name in counts)
    return flops / 2


def _is_blur(module: nn.Module) -> bool:
    return isinstance(module, timm.layers.BlurPool2d)
