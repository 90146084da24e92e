"""How it is built and made elastic."""

from timm.layers import BatchNormAct2d, SelectAdaptivePool2d
from torch import nn
from torch.nn import functional

from ofa.supernet.channel_sorting import ChannelGroup
from ofa.supernet.elastic.conv import make_conv_elastic
from ofa.supernet.elastic.norm import make_batch_norm_elastic
from ofa.supernet.elastic.stage import make_stage_elastic


class Block(nn.Module):
    def __init__(self, in_channels, mid_channels, out_channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, mid_channels, 3, stride, 1, bias=False)
        self.bn1 = BatchNormAct2d(mid_channels)
        self.conv2 = nn.Conv2d(mid_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = BatchNormAct2d(out_channels, apply_act=False)
        self.act = nn.ReLU()
        if stride == 2:
            self.pool = nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False)
            self.conv3 = nn.Conv2d(in_channels, out_channels, 1, bias=False)
            self.bn3 = BatchNormAct2d(out_channels, apply_act=False)
        self.stride = stride

    def forward(self, x):
        y = self.bn2(self.conv2(self.bn1(self.conv1(x))))
        return self.act(y + (self.bn3(self.conv3(self.pool(x))) if self.stride == 2 else x))


class ElasticLinear(nn.Linear):
    def forward(self, x):
        return functional.linear(x, self.weight[:, : x.shape[1]], self.bias)


class Wide(nn.Module):
    def __init__(self, *, blocks, features, num_classes, in_chans):
        super().__init__()
        self.num_classes, self.in_chans = num_classes, in_chans
        self.conv_stem = nn.Conv2d(in_chans, blocks[0][0][0], 3, 2, 1, bias=False)
        self.bn1 = BatchNormAct2d(blocks[0][0][0])
        self.blocks = nn.Sequential(*(nn.Sequential(*(Block(*sizes) for sizes in stage)) for stage in blocks))
        self.conv_head = nn.Conv2d(blocks[-1][-1][2], features, 1, bias=False)
        self.bn2 = BatchNormAct2d(features)
        self.global_pool = SelectAdaptivePool2d(pool_type="avg")
        self.flatten = nn.Flatten(1)
        self.classifier = nn.Linear(features, num_classes)

    def forward(self, x):
        x = self.bn2(self.conv_head(self.blocks(self.bn1(self.conv_stem(x)))))
        return self.classifier(self.flatten(self.global_pool(x)))


def describe(space, subnet, *, num_classes, in_chans):
    blocks = [[] for _ in space.stages]
    for shape in space.shapes(subnet):
        stride = 2 if shape.position.index == 0 else 1
        blocks[shape.position.stage].append([shape.in_channels, shape.mid_channels, shape.out_channels, stride])
    head = {"features": subnet.widths[-1], "num_classes": num_classes, "in_chans": in_chans}
    return {"class": space.timm_class, "blocks": blocks, **head}


def build(description, *, drop_rate=0.0, drop_path_rate=0.0, device=None):
    del drop_rate, drop_path_rate
    model = Wide(**{key: description[key] for key in ("blocks", "features", "num_classes", "in_chans")})
    return model.to(device) if device else model


def make_elastic(model, space):
    del space
    for module in list(model.modules()):
        if type(module) is nn.Conv2d:
            make_conv_elastic(module)
        elif type(module) is BatchNormAct2d:
            make_batch_norm_elastic(module)
    model.classifier.__class__ = ElasticLinear
    for stage in model.blocks:
        make_stage_elastic(stage)


def activate(model, space, subnet):
    stem, *stages, features = subnet.widths
    model.conv_stem.active_out, model.conv_head.active_out = stem, features
    for stage, depth in zip(model.blocks, subnet.depths, strict=True):
        stage.active_depth = depth
    for position, expand in zip(space.blocks, subnet.expands, strict=True):
        block, width = model.blocks[position.stage][position.index], stages[position.stage]
        block.conv1.active_out, block.conv2.active_out = int(width * expand), width
        if position.index == 0:
            block.conv3.active_out = width


def channel_groups(model, space):
    """Stem, stages and head. Middles are left out: their widths are shares of widths that are elastic, too."""
    stages = [list(stage.children()) for stage in model.blocks]  # an elastic stage counts the blocks that run
    writers, readers, widths = [model.conv_stem, model.bn1], [], space.stem
    for stage, options in zip(stages, space.stages, strict=True):
        yield ChannelGroup(["width"], writers, [*readers, stage[0].conv1, stage[0].conv3], widths)
        writers = [stage[0].conv3, stage[0].bn3, *(leaf for block in stage for leaf in (block.conv2, block.bn2))]
        readers, widths = [block.conv1 for block in stage[1:]], options
    yield ChannelGroup(["width"], writers, [*readers, model.conv_head], widths)
    yield ChannelGroup(["width"], [model.conv_head, model.bn2], [model.classifier], space.head)


def parts(model):
    stem = nn.Sequential(model.conv_stem, model.bn1)
    head = nn.Sequential(model.conv_head, model.bn2, model.global_pool, model.flatten, model.classifier)
    return stem, list(model.blocks), head
