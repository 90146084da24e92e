"""Plain timm models of five classes with random weights, and images on which they tell something apart."""

import numpy as np
import timm
import torch
from shared_networks import scramble
from torch import nn

from ofa.supernet.calibration import calibrate

# Small ones that have, together, every layer that is known: classes of timm, and names.
NAMES = {
    "EfficientNet": (
        *("test_efficientnet", "mobilenetv2_035", "mnasnet_small", "tf_efficientnet_lite0", "efficientnet_b0"),
        *("tinynet_e", "mixnet_s", "semnasnet_075", "efficientnet_blur_b0", "efficientnet_es"),
    ),
    "MobileNetV3": (
        *("mobilenetv3_small_050", "tf_mobilenetv3_small_minimal_100", "lcnet_050", "mobilenetv4_conv_small"),
        *("mobilenetv4_conv_aa_medium", "tf_mobilenetv3_small_075"),
    ),
    "ResNet": ("test_resnet", "resnet10t", "resnet18", "ecaresnet26t", "resnetblur18", "seresnet18", "resnet26d"),
    "ConvNeXt": (
        *("test_convnext", "test_convnext2", "test_convnext3", "convnext_atto", "convnextv2_atto"),
        *("convnext_zepto_rms", "convnext_atto_rms"),
    ),
    "VisionTransformer": (
        *("test_vit", "test_vit2", "test_vit3", "test_vit4", "deit_tiny_patch16_224"),
        "deit_tiny_distilled_patch16_224",
    ),
}
ALL = [name for names in NAMES.values() for name in names]


# Narrow and shallow: every kind of block once or twice.
_SMALL = {
    "ResNet": {"channels": (16, 24, 32, 48)},
    "ConvNeXt": {"depths": (1, 1, 2, 1), "dims": (16, 24, 32, 48)},
    "VisionTransformer": {"embed_dim": 48, "num_heads": 3, "depth": 2},
}


@torch.no_grad()
def network(name, *, size=64, classes=10, seed=0):
    """An eval-mode model for images of ``size``, whose norms and biases matter."""
    kind = next(kind for kind, names in NAMES.items() if name in names)
    options = {} if name.startswith("test_") else _SMALL.get(kind, {})
    if kind == "VisionTransformer":
        options = {**options, "img_size": size}
    model = timm.create_model(name, num_classes=classes, **options)
    torch.manual_seed(seed)
    for key, parameter in model.named_parameters():
        # Tokens, and factors that begin as 1e-6, matter, too; and so do images, behind every layer.
        if key.endswith(("_token", "pos_embed", "gamma", "latent")):
            nn.init.normal_(parameter, 0.3, 0.3)
        elif parameter.ndim > 1:
            nn.init.normal_(parameter, 0, (1.5 / parameter[0].numel()) ** 0.5)
    return scramble(model, seed=seed)


def gratings(n, size, *, seed=0):
    """Normalised images ``(n, 3, size, size)`` of stripes in many colours, which differ as real ones do."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:size, 0:size] / size
    waves = np.stack([np.sin(6.3 * (a * rows + b * columns + c)) for a, b, c in rng.uniform(0, 8, (n, 3))])
    colour, contrast = rng.standard_normal((2, n, 3, 1, 1))
    noise = 0.2 * rng.standard_normal((n, 3, size, size))
    return (colour + contrast * waves[:, None] + noise).astype(np.float32)


def calibrated(name, *, size=64):
    """The same with the batch norms' statistics of ``gratings``, so that activations have the size of trained ones."""
    model = network(name, size=size)
    if any(isinstance(module, nn.BatchNorm2d) for module in model.modules()):
        calibrate(model, [torch.from_numpy(gratings(32, size, seed=1))])
    return model.eval()
