"""The tokens and positions that timm's VisionTransformer adds to the embedded patches, as a layer of its own."""

from __future__ import annotations

from types import SimpleNamespace

from torch import Tensor, nn

from ofa.supernet.derived.walk import Value, Walk
from ofa.supernet.operators import Operator

_TOKENS = ("cls_token", "reg_token", "dist_token")


class Tokens(nn.Module):
    """Runs the model's own ``_pos_embed``: patches ``(batch, patches, width)`` or ``(batch, height, width of the map,
    width)`` to tokens and patches ``(batch, tokens + patches, width)``. It shares the model's parameters."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        for name in (*_TOKENS, "pos_embed", "pos_drop"):
            setattr(self, name, getattr(model, name, None))
        self.num_prefix_tokens, self.no_embed_class = model.num_prefix_tokens, model.no_embed_class
        self.dynamic_img_size = model.dynamic_img_size
        self.patch_embed = SimpleNamespace(grid_size=model.patch_embed.grid_size)
        self._add = type(model)._pos_embed

    def forward(self, x: Tensor) -> Tensor:
        return self._add(self, x)


def tokens(walk: Walk, leaf: Tokens, name: str, inputs: list[Value], result: Tensor) -> Value:
    """Tokens are put before the patches, then positions are added; or the other way round."""
    (value,) = inputs
    channels = walk.channels(value)
    for parameter in (*_TOKENS, "pos_embed"):
        if getattr(leaf, parameter) is not None:
            walk.network.parameters[parameter] = (value.axis, 2)
    own = [getattr(leaf, parameter) for parameter in _TOKENS if getattr(leaf, parameter) is not None]
    count = sum(token.shape[1] for token in own)
    operators = [Operator("prepend", (0,), channels, tokens=count, extra_params=count * channels)] if count else []
    if leaf.pos_embed is not None:
        position = Operator("add", (0,), channels, extra_params=leaf.pos_embed.numel())
        operators.insert(0 if leaf.no_embed_class else len(operators), position)
    value = value._replace(dim=2)
    for operator in operators:
        value = walk.add(operator._replace(inputs=(value.tensor,)), value.axis, 2)
    return value
