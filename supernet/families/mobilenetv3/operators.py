"""The operators of MobileNetV3's parts: all that its costs need to know of it.

They equal what a test reads off timm's modules (``tests/oracles/traced_operators.py``); those need torch.
"""

from __future__ import annotations

from ofa.supernet.families.mobilenetv3.space import Space, mid_channels
from ofa.supernet.operators import Builder, Operator, Operators
from ofa.supernet.space import BlockPosition

_SQUEEZE = 0.25  # channels inside a squeeze-and-excite, of those outside


def stem(space: Space, *, in_chans: int) -> Operators:
    """The first convolution and the separable block after it."""
    made = Builder(in_chans)
    width, first_width, act = space.stem.width, space.stem.first_width, space.stem.first_act
    x = made.conv(0, width, kernel=3, stride=space.stem.stride, act=space.act)
    y = made.conv(made.depthwise(x, width, kernel=3, stride=1, act=act), first_width)
    if width == first_width:
        made.add(Operator("add", (y, x), first_width))
    return made.done()


def block(space: Space, position: BlockPosition, *, kernel: int, expand: float) -> Operators:
    """An inverted residual: expansion, depthwise convolution, squeeze-and-excite, projection."""
    stage, mid = space.stages[position.stage], mid_channels(position.in_channels, expand)
    stride = space.stride(position)
    made = Builder(position.in_channels)
    y = made.depthwise(made.conv(0, mid, act=stage.act), mid, kernel=kernel, stride=stride, act=stage.act)
    if stage.se:
        squeezed = made.conv(made.add(Operator("pool", (y,), mid)), mid_channels(mid, _SQUEEZE), norm=False, act="relu")
        y = made.add(Operator("mul", (y, made.conv(squeezed, mid, norm=False, act="hard_sigmoid")), mid))
    y = made.conv(y, stage.width)
    if stride == 1 and position.in_channels == stage.width:
        made.add(Operator("add", (y, 0), stage.width))
    return made.done()


def head(space: Space, *, num_classes: int) -> Operators:
    """The last 1x1 convolution, the average over its map, the features and the classifier."""
    made = Builder(space.stages[-1].width)
    pooled = made.add(Operator("pool", (made.conv(0, space.head.width, act=space.act),), space.head.width))
    features = made.add(Operator("conv", (pooled,), space.head.features, act=space.act))  # no bias: timm's head_bias
    made.add(Operator("linear", (features,), num_classes, bias=True))
    return made.done()
