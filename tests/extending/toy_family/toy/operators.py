"""The operators of its parts."""

from ofa.supernet.operators import Builder, Operator


def stem(space, *, in_chans):
    made = Builder(in_chans)
    made.conv(0, space.stages[0], kernel=3, stride=2, act="relu")
    return made.done()


def block(space, position, *, width):
    channels = space.stages[position.stage]
    made = Builder(position.in_channels)
    y = made.conv(made.conv(0, width, act="relu"), channels)
    if position.in_channels == channels:
        made.add(Operator("add", (y, 0), channels))
    return made.done()


def head(space, *, num_classes):
    made = Builder(space.stages[-1])
    made.add(Operator("linear", (made.add(Operator("pool", (0,), space.stages[-1])),), num_classes, bias=True))
    return made.done()
