"""The operators of its parts."""

from ofa.supernet.operators import Builder, Operator


def stem(space, *, in_chans, width):
    made = Builder(in_chans)
    made.conv(0, width, kernel=3, stride=2, act="relu")
    return made.done()


def block(space, position, *, width, expand, width_before=None):
    made = Builder(width_before or width)
    stride, shortcut = (2, 0) if width_before else (1, 0)
    y = made.conv(0, int(width * expand), kernel=3, stride=stride, act="relu")
    y = made.conv(y, width, kernel=3)
    if width_before:
        pooled = made.add(Operator("avg_pool", (0,), width_before, 2, 2, ceil=True))
        shortcut = made.conv(pooled, width)
    made.add(Operator("add", (y, shortcut), width, act="relu"))
    return made.done()


def head(space, *, num_classes, width, features):
    made = Builder(width)
    pooled = made.add(Operator("pool", (made.conv(0, features, act="relu"),), features))
    made.add(Operator("linear", (pooled,), num_classes, bias=True))
    return made.done()
