"""timm's own weights, as the hub keeps them in its cache, as those that a supernet starts from."""

import huggingface_hub.constants
import pytest
import safetensors.torch
import timm
import torch

from ofa.supernet.space import SearchSpace
from ofa.supernet.supernet import Supernet
from ofa.supernet.training.pretrained_weights import check_pretrained, load_pretrained

NAME, WITHOUT_WEIGHTS = "mobilenetv3_small_050", "mobilenetv3_large_075"
SPACE = SearchSpace.from_timm(NAME, resolutions=[32, 48])


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """The hub's cache without a network; empty."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path


@pytest.fixture
def plain(hub):
    """timm's model with the weights that are in the cache."""
    torch.manual_seed(0)
    model = timm.create_model(NAME).eval()
    repository = hub / f"models--{timm.models.get_pretrained_cfg(NAME).hf_hub_id.replace('/', '--')}"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    safetensors.torch.save_file(model.state_dict(), snapshot / "model.safetensors")
    return model


@torch.no_grad()
@pytest.mark.parametrize("num_classes, in_chans", [(1000, 3), (7, 3), (7, 1)])
def test_the_largest_network_is_timms(plain, num_classes, in_chans):
    net = Supernet(SPACE, num_classes=num_classes, in_chans=in_chans).eval()
    own_classifier = net.model.classifier.weight.clone()
    left_out = load_pretrained(net)
    images = torch.randn(2, in_chans, 48, 48).contiguous(memory_format=torch.channels_last)
    plain.to(memory_format=torch.channels_last)
    if num_classes == 1000:
        assert left_out == []
        assert torch.equal(net(images), plain(images))
    else:
        assert left_out == check_pretrained(net) == ["classifier.weight", "classifier.bias"]
        assert torch.equal(net.model.classifier.weight, own_classifier)
        # timm adds up the filters of grey images' first convolution: what three equal channels would give.
        features, theirs = net.model.forward_features(images), plain.forward_features(images.expand(-1, 3, -1, -1))
        torch.testing.assert_close(features, theirs, rtol=0 if in_chans == 3 else 1e-4, atol=1e-5)


def test_without_network_the_file_is_named_as_the_way(hub):
    with pytest.raises(ValueError, match=rf"^timm has no weights of {NAME} .*give a \.safetensors file .*$"):
        load_pretrained(Supernet(SPACE, num_classes=7))


def test_a_model_without_weights_is_noticed_without_a_download(hub):
    with torch.device("meta"):
        net = Supernet(SearchSpace.from_timm(WITHOUT_WEIGHTS, resolutions=[32]), num_classes=7)
    with pytest.raises(ValueError, match=rf"has no weights of {WITHOUT_WEIGHTS}; give a \.safetensors file"):
        check_pretrained(net)
