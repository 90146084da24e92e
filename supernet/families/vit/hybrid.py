"""A convolutional network before the transformer, which timm's hybrid models have, as a layer that is kept whole."""

from __future__ import annotations

from torch import Tensor, nn

from ofa.supernet.derived.walk import Value, Walk


class Backbone(nn.Module):
    """The last map that the network gives."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, x: Tensor) -> Tensor:
        x = self.backbone(x)
        return x[-1] if isinstance(x, list | tuple) else x


class Patches(nn.Module):
    """What timm's ``HybridEmbed`` does with that map. It shares the layers of ``embed``."""

    def __init__(self, embed: nn.Module) -> None:
        super().__init__()
        self.backbone, self.proj = nn.Identity(), embed.proj
        self.patch_size, self.dynamic_img_pad = embed.patch_size, embed.dynamic_img_pad
        self.flatten, self.output_fmt = embed.flatten, embed.output_fmt
        self._embed = type(embed).forward

    def forward(self, x: Tensor) -> Tensor:
        return self._embed(self, x)


def backbone(walk: Walk, leaf: Backbone, name: str, inputs: list[Value], result: Tensor) -> Value:
    walk.network.names[leaf] = "patch_embed.backbone"
    raise walk.unknown(leaf, "a network before the transformer is not cut")
