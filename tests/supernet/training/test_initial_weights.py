"""Starting weights: whatever file they come from, the full network then computes what the file's did."""

import re

import pytest
import safetensors.torch
import torch
from shared_spaces import BUILT, ODD, SMALL

from ofa.supernet.saving import save_subnet
from ofa.supernet.space import SearchSpace
from ofa.supernet.supernet import Supernet
from ofa.supernet.training.checkpoint import Checkpoint, to_bytes
from ofa.supernet.training.initial_weights import load_initial

SPACES = {name: SearchSpace.preset(name) for name in BUILT if name != "ofa_mbv3_w1.2"}  # wide, else ofa_mbv3
SPACES |= {"small": SMALL, "odd": ODD}
every_space = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
TINY = SPACES["small"]


def images(space, *, in_chans=3):
    return torch.randn(2, in_chans, *2 * [space.resolutions[0]], generator=torch.Generator().manual_seed(0)).contiguous(
        memory_format=torch.channels_last
    )


def copied(state):
    return {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in state.items()}


def save(state, path):
    safetensors.torch.save_file(copied(state), path)
    return path


def assert_untouched(net, before):
    different = [name for name, tensor in net.state_dict().items() if not torch.equal(tensor, before[name])]
    assert not different, different


def assert_channels_last(net):
    for name, parameter in net.named_parameters():
        assert parameter.ndim != 4 or parameter.is_contiguous(memory_format=torch.channels_last), name


@every_space
@torch.no_grad()
def test_a_supernets_own_weights(space, scrambled, tmp_path):
    source, net = scrambled(space), Supernet(space, num_classes=10).eval()
    path = save(source.state_dict(), tmp_path / "weights.safetensors")
    assert load_initial(net, path) == []
    assert_untouched(net, source.state_dict())
    for subnet in (space.largest, space.smallest):
        assert torch.equal(net.activate(subnet)(images(space)), source.activate(subnet)(images(space)))
    assert_channels_last(net)


@pytest.mark.parametrize(
    "space, in_chans", [*((space, 3) for space in SPACES.values()), (TINY, 1)], ids=[*SPACES, "small, grey"]
)
@torch.no_grad()
def test_a_plain_timm_model(space, in_chans, scrambled, tmp_path):
    model = scrambled(space, in_chans=in_chans).extract(space.largest)
    path = save(model.state_dict(), tmp_path / "weights.safetensors")
    net = scrambled(space, in_chans=in_chans, seed=1)  # its transforms are not the identity
    parameters = dict(net.named_parameters())
    assert load_initial(net, path) == []
    x = images(space, in_chans=in_chans)
    assert torch.equal(net.activate(space.largest)(x), model(x))
    for name, parameter in net.named_parameters():
        assert parameter is parameters[name] and parameter.requires_grad
        assert ".transforms." not in name or torch.equal(parameter, torch.eye(len(parameter)))
    assert_channels_last(net)


@torch.no_grad()
def test_a_saved_largest_subnet(scrambled, tmp_path):
    source, net = scrambled(TINY), Supernet(TINY, num_classes=10).eval()
    save_subnet(source.extract(TINY.largest), TINY.largest, tmp_path)
    assert load_initial(net, tmp_path / "weights.safetensors") == []
    assert torch.equal(net(images(TINY)), source(images(TINY)))


@torch.no_grad()
def test_a_supernet_without_kernel_choices_opens_them_at_the_identity(scrambled, tmp_path):
    stages = [{**stage, "kernels": stage["kernels"][-1:]} for stage in SMALL.to_dict()["stages"]]
    source = scrambled(SearchSpace.from_dict({**SMALL.to_dict(), "stages": stages}))
    path, net = save(source.state_dict(), tmp_path / "weights.safetensors"), scrambled(TINY, seed=1)
    assert load_initial(net, path) == []
    assert torch.equal(net(images(TINY)), source(images(TINY)))
    assert torch.equal(net.extract(TINY.largest)(images(TINY)), source(images(TINY)))


@torch.no_grad()
def test_half_precision_becomes_the_networks(scrambled, tmp_path):
    state = scrambled(TINY).state_dict()
    half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    net = Supernet(TINY, num_classes=10)
    load_initial(net, save(half, tmp_path / "weights.safetensors"))
    for name, tensor in net.state_dict().items():
        assert tensor.dtype == state[name].dtype and torch.equal(tensor, half[name].to(tensor.dtype)), name


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("classes", [1, 7, 100])
@torch.no_grad()
def test_classifier_of_other_classes_is_left_out(plain, classes, scrambled, tmp_path):
    source, net = scrambled(TINY, num_classes=classes), scrambled(TINY, seed=1)
    before = copied(net.state_dict())
    model = source.extract(TINY.largest) if plain else source
    left_out = load_initial(net, save(model.state_dict(), tmp_path / "weights.safetensors"))
    assert left_out == ["classifier.weight", "classifier.bias"]
    for name, tensor in net.state_dict().items():
        if name.startswith("model.classifier."):
            assert torch.equal(tensor, before[name])
        elif not plain or ".transforms." not in name:
            assert torch.equal(tensor, source.state_dict()[name]), name
    assert torch.equal(net.model.forward_features(images(TINY)), source.model.forward_features(images(TINY)))


def spoil(name, change):
    def damage(state):
        state[name] = change(state[name])

    return damage


DAMAGES = {
    "missing": (lambda state: state.pop("bn1.weight"), r"bn1\.weight \[8\] is missing in the file\."),
    "unexpected": (
        lambda state: state.update(extra=torch.zeros(2, 3)),
        r"extra \[2, 3\] is only in the file\.",
    ),
    "shape": (
        spoil("conv_stem.weight", lambda tensor: tensor[:, :1]),
        r"conv_stem\.weight is \[8, 1, 3, 3\] in the file, \[8, 3, 3, 3\] in the network\.",
    ),
    "broadcastable": (
        spoil("bn1.bias", lambda tensor: tensor[:1]),
        r"bn1\.bias is \[1\] in the file, \[8\] in the network\.",
    ),
    "type": (
        spoil("bn1.bias", lambda tensor: tensor.to(torch.int8)),
        r"bn1\.bias is torch\.int8 in the file, torch\.float32 in the network\.",
    ),
    "one transform": (
        lambda state: state.update({"blocks.1.0.conv_dw.transforms.5to3": torch.eye(9)}),
        r"blocks\.1\.1\.conv_dw\.transforms\.5to3 \[9, 9\] is missing in the file; .*5to3 [^;]*\.",
    ),
    "classifier without bias": (lambda state: state.pop("classifier.bias"), r"classifier\.bias \[10\] is missing"),
    "classifier of two minds": (
        spoil("classifier.bias", lambda tensor: tensor[:7]),
        r"classifier\.bias is \[7\] in the file, \[10\] in the network\.",
    ),
    "classifier of other features": (
        lambda state: state.update({"classifier.weight": torch.zeros(7, 16), "classifier.bias": torch.zeros(7)}),
        r"classifier\.weight is \[7, 16\] in the file, \[10, 32\] in the network; classifier\.bias is \[7\] .*, \[10\]",
    ),
    "nothing": (lambda state: state.clear(), r"conv_stem\.weight \[8, 3, 3, 3\] is missing in the file; .* more\."),
    "a checkpoint's": (
        lambda state: state.update({f"net.model.{name}": state.pop(name) for name in list(state)}),
        r"conv_stem\.weight .* is missing in the file; .* more\.",
    ),
}


@pytest.mark.parametrize("damage, words", DAMAGES.values(), ids=DAMAGES)
def test_what_does_not_fit_is_named_and_nothing_changes(damage, words, scrambled, tmp_path):
    state = scrambled(TINY).extract(TINY.largest).state_dict()
    damage(state)
    path, net = save(state, tmp_path / "weights.safetensors"), scrambled(TINY, seed=1)
    before = copied(net.state_dict())
    pattern = f"^{re.escape(str(path))} does not fit the largest network of this space: {words}.*Use the space whose"
    with pytest.raises(ValueError, match=pattern):
        load_initial(net, path)
    assert_untouched(net, before)


def other_space(**stage):
    first, second = SMALL.to_dict()["stages"]
    return SearchSpace.from_dict({**SMALL.to_dict(), "stages": [first, {**second, **stage}]})


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize(
    "space, words",
    [
        (
            other_space(expands=[2, 6]),
            r"blocks\.2\.0\.conv_pw\.weight is \[48, 8, 1, 1\] .*, \[32, 8, 1, 1\] in .*more",
        ),
        (other_space(kernels=[3, 7]), r"blocks\.2\.0\.conv_dw\.weight is \[32, 1, 7, 7\] in the file, \[32, 1, 5, 5\]"),
        (other_space(depths=[1, 3]), r"blocks\.2\.2\.bn1\.bias \[64\] is only in the file.*more"),
        (other_space(depths=[1]), r"blocks\.2\.1\.conv_pw\.weight \[64, 16, 1, 1\] is missing in the file.*more"),
        (other_space(se=False), r"blocks\.2\.0\.se\.conv_reduce\.weight \[8, 32, 1, 1\] is missing in the file.*more"),
    ],
    ids=["expands", "kernels", "deeper", "shallower", "squeeze-excite"],
)
def test_weights_of_another_space(plain, space, words, scrambled, tmp_path):
    source, net = scrambled(space), scrambled(TINY, seed=1)
    model = source.extract(space.largest) if plain else source
    path, before = save(model.state_dict(), tmp_path / "weights.safetensors"), copied(net.state_dict())
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))} does not fit .*: {words}"):
        load_initial(net, path)
    assert_untouched(net, before)


@pytest.mark.parametrize(
    "damage, words",
    [
        (lambda content: content[: len(content) // 2], "is damaged"),
        (lambda content: content[:-1], "is damaged"),
        (lambda content: content[:7], "is damaged"),
        (lambda _: b"", "is damaged"),
        (lambda content: b"PK\x03\x04" + content, "is damaged or no .safetensors file"),  # as torch.save's files begin
        (None, "cannot be read: No such file"),
    ],
    ids=["half", "last byte", "header", "empty", "other format", "no file"],
)
def test_file_that_cannot_be_read(damage, words, scrambled, tmp_path):
    net, path = scrambled(TINY), tmp_path / "weights.safetensors"
    before = copied(net.state_dict())
    if damage:
        save(before, path)
        path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))} {words}"):
        load_initial(net, path)
    assert_untouched(net, before)


def test_folder_is_no_file(tmp_path):
    with pytest.raises(ValueError, match=f"^{re.escape(str(tmp_path))} cannot be read: Is a directory"):
        load_initial(Supernet(TINY, num_classes=2), tmp_path)


@pytest.mark.parametrize("average", [False, True])
def test_a_checkpoint_of_a_training_run(tmp_path, average):
    """The moving average when it has one, which training would have ended with."""
    net, other, target = (Supernet(TINY, num_classes=4, in_chans=3) for _ in range(3))
    tensors = {f"net.{name}": tensor for name, tensor in net.state_dict().items()}
    tensors["optimizer.0.momentum_buffer"] = torch.ones(3)
    if average:
        tensors |= {f"ema.{name}": tensor for name, tensor in other.state_dict().items()}
    path = tmp_path / "checkpoint-000000008.safetensors"
    content = to_bytes(Checkpoint(0, 8, 8, 1, TINY.to_dict(), tensors, {}))
    path.write_bytes(content)
    assert load_initial(target, path) == []
    assert_untouched(target, (other if average else net).state_dict())
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match="is damaged: its content does not match its digest; give another checkpoint"):
        load_initial(target, path)
