"""How it is built and made elastic."""

from timm.layers import BatchNormAct2d, SelectAdaptivePool2d
from torch import nn

from ofa.supernet.channel_sorting import ChannelGroup
from ofa.supernet.elastic.conv import make_conv_elastic
from ofa.supernet.elastic.norm import make_batch_norm_elastic
from ofa.supernet.elastic.stage import make_stage_elastic


class Block(nn.Module):
    def __init__(self, in_channels, mid_channels, out_channels):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(in_channels, mid_channels, 1, bias=False), BatchNormAct2d(mid_channels)
        self.conv2 = nn.Conv2d(mid_channels, out_channels, 1, bias=False)
        self.bn2 = BatchNormAct2d(out_channels, apply_act=False)
        self.residual = in_channels == out_channels

    def forward(self, x):
        y = self.bn2(self.conv2(self.bn1(self.conv1(x))))
        return y + x if self.residual else y


class Toy(nn.Module):
    def __init__(self, *, blocks, num_classes, in_chans):
        super().__init__()
        self.num_classes, self.in_chans = num_classes, in_chans
        self.conv_stem = nn.Conv2d(in_chans, blocks[0][0][0], 3, 2, 1, bias=False)
        self.bn1 = BatchNormAct2d(blocks[0][0][0])
        self.blocks = nn.Sequential(*(nn.Sequential(*(Block(*sizes) for sizes in stage)) for stage in blocks))
        self.global_pool = SelectAdaptivePool2d(pool_type="avg")
        self.flatten = nn.Flatten(1)
        self.classifier = nn.Linear(blocks[-1][-1][-1], num_classes)

    def forward(self, x):
        return self.classifier(self.flatten(self.global_pool(self.blocks(self.bn1(self.conv_stem(x))))))


def describe(space, subnet, *, num_classes, in_chans):
    blocks = [[] for _ in space.stages]
    for shape in space.shapes(subnet):
        blocks[shape.position.stage].append([shape.in_channels, shape.mid_channels, shape.out_channels])
    return {"class": space.timm_class, "blocks": blocks, "num_classes": num_classes, "in_chans": in_chans}


def build(description, *, drop_rate=0.0, drop_path_rate=0.0, device=None):
    del drop_rate, drop_path_rate
    model = Toy(**{key: description[key] for key in ("blocks", "num_classes", "in_chans")})
    return model.to(device) if device else model


def make_elastic(model, space):
    del space
    for stage in model.blocks:
        for block in stage:
            make_conv_elastic(block.conv1)
            make_conv_elastic(block.conv2)
            make_batch_norm_elastic(block.bn1)
        make_stage_elastic(stage)


def activate(model, space, subnet):
    for stage, depth in zip(model.blocks, subnet.depths, strict=True):
        stage.active_depth = depth
    for position, width in zip(space.blocks, subnet.widths, strict=True):
        model.blocks[position.stage][position.index].conv1.active_out = width


def channel_groups(model, space):
    for position in space.blocks:
        block = model.blocks[position.stage][position.index]
        yield ChannelGroup(["width"], [block.conv1, block.bn1], [block.conv2], space.widths)


def parts(model):
    stem = nn.Sequential(model.conv_stem, model.bn1)
    return stem, list(model.blocks), nn.Sequential(model.global_pool, model.flatten, model.classifier)
