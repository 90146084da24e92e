"""Flash and peak memory equal what torch shows of models as ``extract`` builds them, batch norms folded."""

import copy
import time

import numpy as np
import pytest
import torch
from shared_spaces import BY_HAND
from timm.layers import BatchNormAct2d
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ofa.predictors.costs.cost_table import CostTable
from ofa.predictors.costs.memory import flash, peak_memory
from ofa.supernet import families
from ofa.supernet.space import SearchSpace

# Unlike choices, a ratio below one, a stem that keeps the size, a residual that outweighs its block.
ODD = {
    "resolutions": [17, 33],
    "stem": {"width": 8, "first_width": 40, "stride": 1},
    "stages": [
        {"width": 48, "stride": 2, "depths": [1, 3], "kernels": [1, 3], "expands": [0.5, 1]},
        {"width": 20, "depths": [2], "kernels": [3], "expands": [1, 2.5, 6], "act": "swish", "se": True},
    ],
    "head": {"width": 24, "features": 40},
}
SPACES = {**{name: SearchSpace.preset(name) for name in BY_HAND}, "odd": SearchSpace.from_dict(ODD)}


def folded(model):
    """A copy with each batch norm in its convolution and activation functions in place."""
    model = copy.deepcopy(model).eval()
    for parent in model.modules():
        last = None
        for name, child in parent.named_children():
            if isinstance(child, BatchNormAct2d):
                setattr(parent, last, fuse_conv_bn_eval(getattr(parent, last), child))
                setattr(parent, name, child.act)
            last = name if isinstance(child, nn.Conv2d) else last
    for module in model.modules():
        if hasattr(module, "inplace"):
            module.inplace = True
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    return model


class Operators(TorchDispatchMode):
    """Hooks every operator that torch runs: the storages it reads, and those it makes or works on in place."""

    def __init__(self, model):
        super().__init__()
        self.weights = {tensor.untyped_storage()._cdata for tensor in model.state_dict().values()}
        self.steps, self.sizes, self.kept = [], {}, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        step = set()
        for tensor in tree_leaves((args, kwargs, out)):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage()._cdata not in self.weights:
                storage = tensor.untyped_storage()
                self.kept.append(storage)  # so that no later one gets its identity
                self.sizes[storage._cdata] = storage.nbytes()
                step.add(storage._cdata)
        self.steps.append(step)
        return out

    def peak(self):
        """Bytes of the storages that live, from the first operator that touches them to the last, at the worst one."""
        last = {storage: number for number, step in enumerate(self.steps) for storage in step}
        living, peak = set(), 0
        for number, step in enumerate(self.steps):
            living |= step
            peak = max(peak, sum(self.sizes[storage] for storage in living))
            living = {storage for storage in living if last[storage] > number}
        return peak


def measured(space, subnet, **head):
    """(weights, biases, peak bytes) of one image through the folded model; the meta device computes shapes alone."""
    family = families.model(space.family)
    model = folded(family.build(family.describe(space, subnet, **head), device="meta"))
    leaves = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    biases = sum(leaf.bias.numel() for leaf in leaves if leaf.bias is not None)
    with torch.no_grad(), Operators(model) as operators:
        model(torch.empty(1, head["in_chans"], subnet.resolution, subnet.resolution, device="meta"))
    return sum(leaf.weight.numel() for leaf in leaves), biases, operators.peak()


def samples(space, count, seed):
    codes = space.sample(count, np.random.default_rng(seed))
    return np.concatenate([codes, [space.encode(space.smallest), space.encode(space.largest)]])


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("num_classes, in_chans", [(1000, 3), (7, 1)])
def test_tables_equal_what_torch_shows(name, num_classes, in_chans):
    space, head = SPACES[name], {"num_classes": num_classes, "in_chans": in_chans}
    codes = samples(space, 4, num_classes)
    found = np.array([measured(space, space.decode(code), **head) for code in codes])
    weights, biases, peaks = found.T
    assert CostTable.flash(space, **head).predict(codes).tolist() == (4 * (weights + biases)).tolist()
    assert CostTable.flash(space, **head, bits=8).predict(codes).tolist() == (weights + 4 * biases).tolist()
    assert CostTable.peak_memory(space, **head).predict(codes).tolist() == peaks.tolist()
    assert CostTable.peak_memory(space, **head, bits=8).predict(codes).tolist() == (peaks / 4).tolist()


@pytest.mark.parametrize("stage", [{"stride": 1}, {"stride": 2}, {"se": True}, {"se": True, "stride": 2}])
@pytest.mark.parametrize("expand", [0.25, 0.5, 1, 2, 6])
def test_the_block_that_decides(stage, expand):
    """Each operator of a block can be the worst one: a small network around one kind of block, so that it decides."""
    values = {"width": 64, "depths": [2], "kernels": [3], "expands": [expand], **stage}
    space = SearchSpace.from_dict(
        {"resolutions": [16], "stem": {"width": 8, "first_width": 64}, "stages": [values], "head": {"width": 8}}
    )
    head = {"num_classes": 2, "in_chans": 1}
    codes = space.encode(space.largest)[None]
    assert peak_memory(space, **head).predict(codes)[0] == measured(space, space.largest, **head)[2]


@pytest.mark.parametrize("stem", [(8, 8), (8, 40), (40, 8), (40, 40)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("in_chans", [1, 30])
def test_the_stem_that_decides(stem, stride, in_chans):
    """The same around a stem; a thin stage of large stride comes after it."""
    stage = {"width": 8, "depths": [1], "kernels": [1], "expands": [0.1], "stride": 2}
    stem = {"width": stem[0], "first_width": stem[1], "stride": stride}
    space = SearchSpace.from_dict(
        {"resolutions": [16], "stem": stem, "stages": [stage], "head": {"width": 8, "features": 8}}
    )
    head = {"num_classes": 2, "in_chans": in_chans}
    codes = space.encode(space.largest)[None]
    assert peak_memory(space, **head).predict(codes)[0] == measured(space, space.largest, **head)[2]


@pytest.mark.parametrize("width, features, num_classes", [(300, 8, 2), (4000, 8, 2), (8, 9000, 2), (8, 8, 9000)])
def test_the_head_that_decides(width, features, num_classes):
    stage = {"width": 64, "depths": [1], "kernels": [1], "expands": [1]}
    values = {"resolutions": [8], "stem": {"width": 8, "first_width": 8}, "stages": [stage]}
    space = SearchSpace.from_dict({**values, "head": {"width": width, "features": features}})
    head = {"num_classes": num_classes, "in_chans": 1}
    codes = space.encode(space.largest)[None]
    assert peak_memory(space, **head).predict(codes)[0] == measured(space, space.largest, **head)[2]


def test_a_measure_by_hand():
    """Both sides of the tests above could share an error of thought; these figures were counted on paper."""
    block = {"width": 8, "depths": [1], "kernels": [3], "expands": [2], "se": True}
    space = SearchSpace.from_dict(
        {"resolutions": [8], "stem": {"width": 8, "first_width": 8}, "stages": [block], "head": {"width": 8}}
    )
    codes, head = space.encode(space.largest)[None], {"num_classes": 2, "in_chans": 1}
    # A map of 4 x 4: the residual's 8 channels wait, 16 channels and their gates become 16 gated ones.
    assert 4 * 4 * (8 + 16 + 16) + 16 < 8 + 1280 + 2
    assert peak_memory(space, **head).predict(codes) == [4 * (1280 + 8)]  # the head's features and their input
    narrow = SearchSpace.from_dict({**space.to_dict(), "head": {"width": 8, "features": 8}})
    assert peak_memory(narrow, **head, bits=8).predict(codes) == [4 * 4 * (8 + 16 + 16) + 16]


@pytest.mark.parametrize("make", [flash, peak_memory])
def test_name_unit_and_info(make):
    space = SPACES["tiny_mbv3"]
    table = make(space, num_classes=10, bits=8)
    assert (table.name, table.unit, table.info) == (make.__name__, "bytes", {"bits": 8})
    for bits in (16, 4, 0):
        with pytest.raises(ValueError, match=f"bits is {bits}; it must be 32"):
            make(space, num_classes=10, bits=bits)


def test_peak_is_saved_as_a_maximum(tmp_path):
    space = SPACES["tiny_mbv3"]
    table = CostTable.peak_memory(space, num_classes=10)
    table.save(tmp_path / "peak.json")
    again, codes = CostTable.load(tmp_path / "peak.json"), samples(space, 200, 3)
    assert again.combine == "max"
    assert np.array_equal(again.predict(codes), table.predict(codes))
    assert (table.predict(codes) < CostTable.flash(space, num_classes=10).predict(codes)).any()


def test_a_million_at_once():
    space = SPACES["ofa_mbv3"]
    codes = np.tile(space.sample(10_000, np.random.default_rng(0)), (100, 1))
    table = CostTable.peak_memory(space, num_classes=1000)
    started = time.process_time()
    predicted = table.predict(codes)
    assert time.process_time() - started < 2
    assert np.array_equal(predicted[:10_000], predicted[-10_000:])


# -- as TensorFlow Lite Micro plans it --------------------------------------------------------------------------------


def small(**changes):
    """A space that its planner knows: stages are (width, stride)."""
    values = {
        "resolutions": [23, 24],
        "act": "relu6",
        "stem": {"width": 8, "first_width": 8, "first_act": "relu6", **changes.pop("stem", {})},
        "head": {"width": 16, "features": 24, **changes.pop("head", {})},
    }
    stage = {"depths": [1, 3], "kernels": [1, 3, 7], "expands": [1, 3], "act": "relu6", **changes.pop("stage", {})}
    stages = changes.pop("stages", [(8, 1), (12, 2), (12, 1), (20, 2)])
    return SearchSpace.from_dict(
        {**values, "stages": [{**stage, "width": width, "stride": stride} for width, stride in stages], **changes}
    )


PLANNED = {
    "mcu": (SearchSpace.preset("mcu"), 20),
    "mcu_32": (SearchSpace.preset("mcu_32"), 20),
    "residual at the start": (small(), 6),
    "wide stem": (small(stem={"width": 40}), 3),
    "full size": (small(stem={"width": 24, "stride": 1}), 3),
    "narrow middle": (
        small(stage={"expands": [0.5, 1], "act": "relu"}, stem={"first_width": 16}, stages=[(32, 1), (48, 2)]),
        4,
    ),
    "wide head": (small(head={"width": 3000}), 2),
    "many features": (small(head={"width": 16, "features": 9000}), 2),
    "down to one pixel": (small(resolutions=[16], stages=[(8, 2), (8, 2), (16, 2)]), 2),
}


@pytest.mark.parametrize("name", PLANNED)
def test_planned_peak_is_what_tflm_allocates(name):
    """Nothing was fitted: random subnets, exported, quantised and loaded there, need exactly what the table says."""
    pytest.importorskip("tflite_micro", reason="pip install 'once-for-all[mcu]'")
    pytest.importorskip("ai_edge_quantizer", reason="pip install 'once-for-all[tflite]'")
    from ofa.export.graph import onnx_graph
    from ofa.export.quantization.tflite import quantize_tflite
    from ofa.export.runtimes import tflm
    from ofa.export.tflite.export import tflite_bytes

    space, count = PLANNED[name]
    for in_chans, num_classes in ((1, 10), (3, 5)):
        head = {"num_classes": num_classes, "in_chans": in_chans}
        codes = samples(space, count // 2, in_chans)
        table = peak_memory(space, **head, bits=8, planner="tflm")
        family, found = families.model(space.family), []
        for subnet in map(space.decode, codes):
            model = family.build(family.describe(space, subnet, **head)).eval()
            shape = (in_chans, subnet.resolution, subnet.resolution)
            images = np.random.default_rng(0).standard_normal((1, *shape), dtype=np.float32)
            content = quantize_tflite(tflite_bytes(onnx_graph(model, shape)), [images])
            found.append(tflm.allocations(content)[0])
        assert table.predict(codes).tolist() == found
        assert (table.predict(codes) >= peak_memory(space, **head, bits=8).predict(codes)).all()


def test_a_plan_by_hand():
    space = small(resolutions=[24], stages=[(8, 2)], stage={"depths": [1], "kernels": [7], "expands": [3]})
    table = peak_memory(space, num_classes=10, in_chans=1, bits=8, planner="tflm")
    # 24 channels of 12 x 12, beside them padded by 3 before and 2 after; 6936 is no multiple of 16.
    assert (24 * 12**2, 24 * 17**2) == (3456, 6936)
    assert table.predict(space.encode(space.largest)[None]) == [3456 + 6944]
    assert (table.name, table.unit, table.info, table.combine) == (
        "peak_memory",
        "bytes",
        {"bits": 8, "planner": "tflm"},
        "max",
    )


@pytest.mark.parametrize(
    "space, options, message",
    [
        (SearchSpace.preset("mcu"), {"planner": "tflm"}, "planner is 'tflm' with bits 32; there is 'tflm' with bits 8"),
        (SearchSpace.preset("mcu"), {"planner": "greedy", "bits": 8}, "planner is 'greedy'"),
        (SPACES["tiny_mbv3"], {"planner": "tflm", "bits": 8}, "hard_swish, relu and squeeze-and-excite"),
        (small(act="hard_swish"), {"planner": "tflm", "bits": 8}, "such as the preset mcu.*has hard_swish, relu6$"),
    ],
)
def test_spaces_that_the_planner_does_not_support(space, options, message):
    with pytest.raises(ValueError, match=message):
        peak_memory(space, num_classes=10, **options)


def test_saved_plans_predict_the_same(tmp_path):
    space = SearchSpace.preset("mcu")
    table, codes = peak_memory(space, num_classes=10, bits=8, planner="tflm"), samples(space, 100, 0)
    table.save(tmp_path / "peak.json")
    assert np.array_equal(CostTable.load(tmp_path / "peak.json").predict(codes), table.predict(codes))
