"""Published checkpoints, made by hand on a tiny space, and by the published package itself where it is at hand."""

import os
import re
from pathlib import Path

import pytest
import torch
from published_networks import BOUND, PUBLISHED, compare, has_package
from shared_networks import images, subnets_of
from shared_spaces import SMALL

import ofa
from ofa.supernet.import_ofa import short_name
from ofa.supernet.space import SearchSpace
from ofa.supernet.supernet import Supernet
from ofa.supernet.training.phases import all_open

PACKAGE = Path(os.environ.get("OFA_PUBLISHED", "OFA_PUBLISHED"))  # pip install ofa --no-deps --target FOLDER
# What the checkpoints call the layers of a block, and timm does: every one of them within another of its name.
BLOCK = {
    "inverted_bottleneck.conv.conv.": "conv_pw.",
    "inverted_bottleneck.bn.bn.": "bn1.",
    "depth_conv.conv.conv.": "conv_dw.",
    "depth_conv.bn.bn.": "bn2.",
    "depth_conv.se.fc.reduce.": "se.conv_reduce.",
    "depth_conv.se.fc.expand.": "se.conv_expand.",
    "point_linear.conv.conv.": "conv_pwl.",
    "point_linear.bn.bn.": "bn3.",
}
PARTS = {
    "first_conv.conv.": "conv_stem.",
    "first_conv.bn.": "bn1.",
    "blocks.0.conv.depth_conv.conv.": "blocks.0.0.conv_dw.",
    "blocks.0.conv.depth_conv.bn.": "blocks.0.0.bn1.",
    "blocks.0.conv.point_linear.conv.": "blocks.0.0.conv_pw.",
    "blocks.0.conv.point_linear.bn.": "blocks.0.0.bn2.",
    "final_expand_layer.conv.": "blocks.3.0.conv.",
    "final_expand_layer.bn.": "blocks.3.0.bn1.",
    "feature_mix_layer.conv.": "conv_head.",
    "classifier.linear.": "classifier.",
}
for number, place in enumerate(["1.0", "1.1", "2.0", "2.1"], start=1):
    PARTS |= {f"blocks.{number}.conv.{theirs}": f"blocks.{place}.{own}" for theirs, own in BLOCK.items()}


def published(net):
    """The state dict of ``net`` (of ``SMALL``) as the published code would write it."""
    state = {}
    for name, tensor in net.model.state_dict().items():
        theirs, own = next((theirs, own) for theirs, own in PARTS.items() if name.startswith(own))
        rest = name.removeprefix(own)
        if rest.startswith("transforms."):
            theirs, rest = theirs.replace("conv.conv.", "conv."), f"{rest.removeprefix('transforms.')}_matrix"
        state[theirs + rest] = tensor.clone()
    return state


def older(state):
    """The same by the names of the published files, without counters."""
    names = {
        name: name.replace(".bn.bn.", ".bn.")
        .replace(".conv.conv.weight", ".conv.weight")
        .replace(".conv.", ".mobile_inverted_conv.", 1)
        if re.match(r"blocks\.\d+\.", name)
        else name
        for name in state
        if not name.endswith("num_batches_tracked")
    }
    return {new: state[name] for name, new in names.items()}


@pytest.mark.parametrize("spelling", ["today's", "older"])
@pytest.mark.parametrize("whole", [True, False], ids=["with more", "bare"])
@pytest.mark.parametrize("zipped", [True, False])
@torch.no_grad()
def test_every_subnet_computes_what_it_did(spelling, whole, zipped, scrambled, tmp_path):
    source, path = scrambled(SMALL, num_classes=7, in_chans=1), tmp_path / "checkpoint"
    state = published(source)
    assert "blocks.3.conv.depth_conv.conv.5to3_matrix" in state and len(state) == len(source.state_dict())
    state = older(state) if spelling == "older" else state
    assert ("blocks.3.mobile_inverted_conv.depth_conv.bn.weight" in state) == (spelling == "older")
    torch.save({"state_dict": state, "epoch": 3} if whole else state, path, _use_new_zipfile_serialization=zipped)
    net = ofa.import_ofa(path, SMALL)
    assert (net.num_classes, net.in_chans, net.training) == (7, 1, False)
    for subnet in subnets_of(SMALL, 5):
        x = images(SMALL, in_chans=1)
        assert torch.equal(net.activate(subnet)(x), source.activate(subnet)(x))
    assert net.opened == all_open(SMALL)


def test_every_short_name_stands_for_one_thing():
    names = published(Supernet(SMALL, num_classes=2))
    assert len({short_name(name) for name in names}) == len(names)
    assert {short_name(name) for name in older(names)} < {short_name(name) for name in names}


DAMAGES = {
    "missing": (
        lambda state: state.pop("first_conv.bn.weight"),
        r"first_conv\.bn\.weight \[8\] is missing in the file\.",
    ),
    "extra": (lambda state: state.update({"blocks.9.x": torch.zeros(2)}), r"blocks\.9\.x \[2\] is only in the file\."),
    "shape": (
        lambda state: state.update({"blocks.1.conv.point_linear.bn.bn.bias": torch.zeros(3)}),
        r"blocks\.1\.conv\.point_linear\.bn\.bias is \[3\] in the file, \[8\] in the network\.",
    ),
    "type": (
        lambda state: state.update({"classifier.linear.bias": torch.zeros(7, dtype=torch.int64)}),
        r"classifier\.linear\.bias is torch\.int64 in the file, torch\.float32 in the network\.",
    ),
    "classes": (
        lambda state: state.update({"classifier.linear.bias": torch.zeros(3)}),
        r"classifier\.linear\.bias is \[3\] in the file, \[7\] in the network\.",
    ),
    "a matrix": (
        lambda state: state.pop("blocks.2.conv.depth_conv.conv.5to3_matrix"),
        r"blocks\.2\.conv\.depth_conv\.conv\.5to3_matrix \[9, 9\] is missing in the file\.",
    ),
}


@pytest.mark.parametrize("damage, words", DAMAGES.values(), ids=DAMAGES)
def test_what_does_not_fit_is_listed(damage, words, scrambled, tmp_path):
    state, path = published(scrambled(SMALL, num_classes=7)), tmp_path / "checkpoint"
    damage(state)
    torch.save(state, path)
    pattern = f"^{re.escape(str(path))} does not fit the largest network of this space: {words} Give the space that"
    with pytest.raises(ValueError, match=pattern):
        ofa.import_ofa(path, SMALL)


def test_a_checkpoint_of_another_space_lists_some_and_counts_the_rest(scrambled, tmp_path):
    path = tmp_path / "checkpoint"
    torch.save(published(scrambled(SMALL)), path)
    with pytest.raises(ValueError, match=r"(; .*){7}; and \d+ more\. Give the space"):
        ofa.import_ofa(path, SearchSpace.preset("tiny_mbv3"))


BAD = {
    "no file": (None, "cannot be read: No such file or directory; give"),
    "empty": (b"", "is damaged, no file of torch.save"),
    "text": (b"hello\n" * 100, "is damaged, no file of torch.save"),
    "a list": ([torch.zeros(2)], "holds no state dict but a list; give"),
    "nothing": ({}, "holds no state dict but a dict; give"),
    "numbers": ({1: torch.zeros(2)}, "holds no state dict but a dict; give"),
    "nested": ({"a": {"b": torch.zeros(2)}}, "holds no state dict: a is a dict, not a tensor; give"),
    "a list inside": ({"state_dict": [1]}, "holds no state dict but a list; give"),
    "code": (Path("/"), "holds more than tensors"),
    "two names": (
        {"first_conv.bn.weight": torch.zeros(2), "first_conv.bn.bn.weight": torch.zeros(2)},
        r"has first_conv\.bn\.bn\.weight twice",
    ),
    "another network": ({"conv1.weight": torch.zeros(2, 2)}, r"is no OFA checkpoint of this space: it has no weights"),
}


@pytest.mark.parametrize("content, words", BAD.values(), ids=BAD)
def test_a_file_that_is_no_checkpoint(content, words, tmp_path):
    path = tmp_path / "checkpoint"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))} .*{words}"):
        ofa.import_ofa(path, SMALL)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_was_cut_off(zipped, scrambled, tmp_path):
    path = tmp_path / "checkpoint"
    torch.save(published(scrambled(SMALL)), path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    for length in (1, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=f"^{re.escape(str(path))} is damaged, no file of torch.save"):
            ofa.import_ofa(path, SMALL)


@pytest.mark.skipif(not has_package(PACKAGE), reason="OFA_PUBLISHED is not the published package's folder")
@pytest.mark.parametrize("name", PUBLISHED)
def test_equals_the_published_package(name):
    found = compare(PUBLISHED[name], PACKAGE, subnets=2, resolution=64)
    assert found.float64 < BOUND and found.float32 < 100 * BOUND
