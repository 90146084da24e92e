"""NAS-Bench-Macro: its size, its published costs, its architectures, and its networks in use."""

import json

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from shared_networks import images, scramble, subnets_of
from timm.layers import get_act_layer
from timm.models._efficientnet_builder import decode_arch_def

from ofa.export.onnx import export_onnx
from ofa.export.runtimes import onnxruntime
from ofa.export.verify import check_tolerance, compare
from ofa.pipeline import subnet_csv
from ofa.predictors.costs.cost_table import CostTable
from ofa.predictors.costs.imported import read_costs
from ofa.predictors.metrics import Scores
from ofa.report.subnet_drawing import describe_subnet, draw_subnets, subnet_line
from ofa.supernet.families.efficientnet.nasbench_macro import architectures_of, subnet_of
from ofa.supernet.saving import save_subnet
from ofa.supernet.space import SearchSpace
from ofa.supernet.supernet import Supernet
from ofa.supernet.training.phases import SCHEDULES
from ofa.supernet.training.settings import Settings
from ofa.supernet.training.weight_sharing import train_supernet

SPACE = SearchSpace.preset("nasbench_macro")
# Rows of the published table: parameters and multiply-accumulates.
PUBLISHED = {
    "00000000": (387_882, 7_713_280),
    "00100200": (703_466, 21_238_272),
    "00201010": (971_818, 30_155_264),
    "01022202": (1_969_258, 64_487_936),
    "01111202": (1_769_258, 54_194_688),
    "02110021": (1_818_218, 53_170_688),
    "02212101": (1_371_050, 63_257_088),
    "11111111": (1_588_874, 53_246_464),
    "12120022": (2_369_994, 71_680_512),
    "20012000": (732_522, 38_179_328),
    "20101200": (828_970, 37_892_608),
    "22120201": (1_408_682, 66_634_240),
    "22222222": (2_932_586, 105_660_928),
}


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return scramble(Supernet(SPACE, num_classes=10))


def every_architecture():
    return [np.base_repr(number, 3).zfill(8) for number in range(3**8)]


def test_size_is_the_number_of_different_networks():
    assert SPACE.size == 3969
    codes = {SPACE.encode(subnet_of(text)).tobytes() for text in every_architecture()}
    assert len(codes) == 3969


def test_published_costs():
    codes = np.stack([SPACE.encode(subnet_of(text)) for text in PUBLISHED])
    params, macs = np.transpose(list(PUBLISHED.values()))
    assert CostTable.params(SPACE, num_classes=10).predict(codes).tolist() == params.tolist()
    assert CostTable.macs(SPACE, num_classes=10).predict(codes).tolist() == macs.tolist()


def test_architectures_and_subnets_are_one_thing():
    subnets = {text: subnet_of(text) for text in every_architecture()}
    named = {subnet: architectures_of(subnet) for subnet in set(subnets.values())}
    assert all(text in named[subnet] for text, subnet in subnets.items())
    assert sorted(text for texts in named.values() for text in texts) == sorted(subnets)
    assert all(SPACE.decode(SPACE.encode(subnet)) == subnet for subnet in named)
    assert architectures_of(subnet_of("02110021")) == ("02101021", "02110021")


@pytest.mark.parametrize("text", ["0211002", "021100213", "02110023", "", "0211002x"])
def test_other_texts_are_refused(text):
    with pytest.raises(ValueError, match="give 8 digits, each 0, 1 or 2"):
        subnet_of(text)


@torch.no_grad()
def test_a_saved_subnet_is_timms_own_network_and_nothing_else(net, tmp_path):
    """Built of ``subnet.json`` with timm alone."""
    subnet = subnet_of("01020000")
    save_subnet(net.extract(subnet), subnet, tmp_path)
    told = json.loads((tmp_path / "subnet.json").read_text())["timm"]
    arguments = {**told["arguments"], "block_args": decode_arch_def(told["arguments"]["block_args"])}
    strides = arguments.pop("strides")
    arguments |= {"act_layer": get_act_layer(arguments["act_layer"]), "round_chs_fn": int}
    model = getattr(timm.models, told["class"].rpartition(".")[2])(num_classes=told["num_classes"], **arguments)
    model.conv_stem.stride = (strides["conv_stem"],) * 2
    for path in told["removed"]:
        delattr(model.get_submodule(path.rpartition(".")[0]), path.rpartition(".")[2])
    assert type(model.blocks[0][0]).__name__ == "ConvBnAct" and len(model.blocks[0]) == 2
    for path, values in told["attributes"].items():
        for name, value in values.items():
            setattr(model.get_submodule(path), name, tuple(value) if isinstance(value, list) else value)
    for path, shape in told["shapes"].items():
        owner, _, name = path.rpartition(".")
        whole = getattr(model.get_submodule(owner), name)
        setattr(model.get_submodule(owner), name, type(whole)(whole.detach()[tuple(map(slice, shape))]))
    model.load_state_dict(safetensors.torch.load_file(tmp_path / "weights.safetensors"))
    x = images(SPACE).contiguous(memory_format=torch.channels_last)
    model = model.eval().to(memory_format=torch.channels_last)
    assert torch.equal(model(x), net.activate(subnet)(x))


def test_exported_and_verified(net, tmp_path):
    model = net.extract(subnet_of("02110021"))
    path = export_onnx(model, tmp_path / "model.onnx", resolution=32)
    session = onnxruntime.load(path)
    check_tolerance(path, compare(model, lambda x: onnxruntime.run(session, x), [images(SPACE, 8)]))


def test_every_phase_trains():
    torch.manual_seed(0)
    net = Supernet(SPACE, num_classes=3)
    before = {key: tensor.clone() for key, tensor in net.named_parameters()}

    def batches(epoch, start):
        generator = torch.Generator().manual_seed(epoch)
        pixels = torch.randint(0, 255, (4, 3, 32, 32), dtype=torch.uint8, generator=generator)
        yield from [(pixels, torch.tensor([0, 1, 2, 0]))] * (2 - start)

    phases = SCHEDULES["progressive_shrinking"](SPACE, epochs=1, lr=0.5)
    assert [phase.name for phase in phases] == ["full", "depth-2", "depth-3", "kind-2", "kind-3"]
    options = {"settings": Settings(), "macs": CostTable.macs(SPACE, num_classes=3).predict}
    train_supernet(
        net, phases, batches, steps_per_epoch=2, progress=False, normalize=lambda x: x.float() / 64 - 1, **options
    )
    assert all(torch.isfinite(tensor).all() for tensor in net.state_dict().values())
    assert [key for key, tensor in net.named_parameters() if torch.equal(tensor, before[key])] == []


def test_kinds_are_written_and_read_by_name(tmp_path):
    subnets = subnets_of(SPACE, 3)
    for number, subnet in enumerate(subnets):
        subnet_csv.append(tmp_path / "accuracy.csv", subnet, Scores(number / 10, 1.0, 0.5))
    codes, accuracies = subnet_csv.read(tmp_path / "accuracy.csv", SPACE)
    assert [SPACE.decode(code) for code in codes] == subnets and accuracies.tolist() == [0, 0.1, 0.2, 0.3, 0.4]
    text = (tmp_path / "accuracy.csv").read_text()
    assert text.startswith("resolution,depths,kinds,accuracy,") and "id-k3e3-id-" in text

    assert np.array_equal(read_costs(SPACE, tmp_path / "accuracy.csv", column="resolution")[0], codes)
    (tmp_path / "wrong.csv").write_text(text.replace("id-k3e3", "id-k9e9"))
    with pytest.raises(ValueError, match=r"wrong.csv, line 2: kinds\[1\] is k9e9"):
        subnet_csv.read(tmp_path / "wrong.csv", SPACE)


def test_kinds_are_shown_by_name():
    shown = describe_subnet("board", SPACE, subnet_of("02110021"))
    assert subnet_line(shown) == "32 px  64: id k5e6 | 128: k3e3 k3e3 | 256: id k5e6 k3e3"
    picture = draw_subnets([shown])
    assert "kind k5e6" in picture and picture.count("<rect class") == 1 + 3 + 7
