"""Supernets whose choices are weighted: one of every kind of layer and choice, and what must hold for each."""

import numpy as np
import pytest
import torch
from shared_networks import scramble
from shared_spaces import MIXED, ODD, SMALL
from torch import nn

from ofa.supernet.space import SearchSpace
from ofa.supernet.supernet import Supernet

_DEIT = {"embed_dim": 48, "num_heads": 3, "depth": 2, "img_size": 32}
_CONVNEXT = {"depths": [1, 1, 2, 1], "dims": [16, 24, 32, 48]}
# TensorFlow's padding, of full and depthwise convolutions whose outputs are smaller than their inputs.
_SAME = {
    "family": "efficientnet",
    "resolutions": [17, 24],
    "timm": "timm.models.EfficientNet",
    "arguments": {
        "block_args": [["er_r1_k3_s2_e2_c16_noskip"], ["ir_r1_k5_s2_e3_c24"]],
        "stem_size": 8,
        "fix_stem": True,
        "num_features": 32,
        "round_chs_fn": "int",
        "pad_type": "same",
    },
    "stages": [
        {"depths": [1], "blocks": [{"in_channels": 8, "expands": [1, 2]}]},
        {"depths": [1], "blocks": [{"in_channels": 16, "kernels": {"conv_dw": [3, 5]}, "expands": [1, 3]}]},
    ],
    "widths": {"stem": [4, 8], "0": [8, 16]},
    "expand_of": "unrounded",
}
_SPACES = {
    "small": lambda: SMALL,
    "odd": lambda: ODD,
    "stem_kernels": lambda: SearchSpace.preset("mcu_32_ir"),
    "alternatives": lambda: SearchSpace.from_dict(MIXED),
    "same_padding": lambda: SearchSpace.from_dict(_SAME),
    "optional_layers": lambda: _of("mobilenetv4_conv_small_050", kernels=[0, 3, 5]),
    "optional_kinds": lambda: _of("mobilenetv4_conv_small_050", kinds=[(3, 0.5), (5, 1)]),
    "eca": lambda: _of("ecaresnet26t", arguments={"channels": (16, 24, 32, 48)}),
    "blur": lambda: _of("resnetblur18", arguments={"channels": (16, 24, 32, 48)}),
    "layer_norm": lambda: _of("test_convnext2"),
    "response_norm": lambda: _of("convnextv2_atto", arguments=_CONVNEXT),
    "simple_norm": lambda: _of("convnext_zepto_rms", arguments=_CONVNEXT),
    "attention": lambda: _of("deit_tiny_distilled_patch16_224", arguments=_DEIT),
    "rms_norm": lambda: _of("test_vit4", arguments={"img_size": 32}),
}
every_relaxed_space = pytest.mark.parametrize("name", _SPACES)


def _of(timm_name, **options):
    return SearchSpace.from_timm(timm_name, resolutions=[32], **options)


def supernet(name):
    """A supernet with random norms, biases and transforms, in eval mode."""
    torch.manual_seed(0)
    net = scramble(Supernet(_SPACES[name](), num_classes=5))
    for key, parameter in net.named_parameters():  # factors that begin as 0 or 1e-6 matter, too
        if key.endswith(("_token", "pos_embed", "gamma")) or ".grn." in key:
            nn.init.normal_(parameter, 0.3, 0.3)
    return net


def raw_codes(space, n, *, seed=0):
    """The deepest of the smallest networks, and ``n`` random codes that are not canonical: a choice of what does not
    run must not matter."""
    smallest = np.zeros((1, space.num_genes), int)
    depths = space.genes_of("depth")
    smallest[:, depths] = space.num_options[depths] - 1
    drawn = np.random.default_rng(seed).integers(0, space.num_options, size=(n, space.num_genes))
    return np.concatenate([smallest, drawn])


def one_hot(space, code):
    """Weights of one network."""
    return [
        nn.functional.one_hot(torch.tensor(option), len(gene.options)).float()
        for option, gene in zip(code.tolist(), space.genes, strict=True)
    ]


def gradients_of_alphas(net, *, seed=0):
    """By column, the largest gradient of the architecture parameters of each gene that has a choice: in train mode, at
    a random mixture by softmax, in float64 and with batch norms that forget a scale entirely."""
    net = net.double().train()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-12
    generator = torch.Generator().manual_seed(seed)
    options = [len(gene.options) for gene in net.space.genes]
    alphas = [torch.randn(n, generator=generator, dtype=torch.float64).requires_grad_() for n in options]
    side = net.space.resolutions[-1]
    images = torch.randn(4, 3, side, side, generator=generator, dtype=torch.float64)
    logits = net.forward_mixed(images, [alpha.softmax(0) for alpha in alphas])
    nn.functional.cross_entropy(logits, torch.arange(4)).backward()
    return {
        column: 0.0 if alpha.grad is None else float(alpha.grad.abs().max())
        for column, alpha in enumerate(alphas)
        if net.space.genes[column].role != "resolution" and options[column] > 1
    }


def without_gradient(net):
    """The genes, of those with a choice, whose architecture parameters the loss does not reach."""
    gradients = gradients_of_alphas(net)
    largest = max(gradients.values())
    return [net.space.genes[column] for column, value in gradients.items() if not value > 1e-8 * largest]
