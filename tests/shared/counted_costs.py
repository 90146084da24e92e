"""What a plain model costs, counted while it runs without memory."""

import timm.layers
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

# Layers that cost nothing that is counted, keep the shape of what they read, and are slow on the meta device.
_FREE = (nn.BatchNorm2d, nn.LayerNorm, nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid)


def counted_costs(model, resolution, *, in_chans=3):
    """Multiply-accumulates by torch's own counter for one image, and parameters, of a model on the meta device.

    It cannot run any more afterwards.
    """
    model.requires_grad_(False)  # the counter follows gradients, which no_grad breaks off
    for module in model.modules():
        if isinstance(module, timm.layers.BlurPool2d):
            module.forward = _blurred(module)
        elif isinstance(module, _FREE):
            module.forward = _unchanged
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.empty(1, in_chans, resolution, resolution, device="meta"))
    return counter.get_total_flops() // 2, sum(parameter.numel() for parameter in model.parameters())


def _unchanged(x):
    return x


def _blurred(blur):
    """Blurs have no trained weights and are not counted, though torch runs them as convolutions."""

    def forward(x):
        sides = [(side + 2 * blur.padding[0] - blur.filt_size) // blur.stride + 1 for side in x.shape[2:]]
        return x.new_empty(*x.shape[:2], *sides)

    return forward
