"""Training of derived spaces without batch norms: every phase runs, every parameter learns, nothing is calibrated."""

import math

import pytest
import timm
import torch

from ofa.supernet.calibration import calibrate
from ofa.supernet.families.operators import parts_of_subnet
from ofa.supernet.operators import macs
from ofa.supernet.supernet import Supernet
from ofa.supernet.training.phases import SCHEDULES
from ofa.supernet.training.settings import Settings
from ofa.supernet.training.weight_sharing import train_supernet

ELASTIC = {"resolutions": [32, 64], "depths": 1, "expands": [0.5, 1], "widths": [0.75, 1]}


def batches(epoch, start):
    generator = torch.Generator().manual_seed(epoch)
    for _ in range(start, 1):
        yield torch.randint(0, 255, (4, 3, 64, 64), dtype=torch.uint8, generator=generator), torch.tensor([0, 1, 2, 0])


@pytest.mark.parametrize("name", ["test_convnext3", "test_vit"])
def test_every_phase_trains(name):
    torch.manual_seed(0)
    arguments = {"img_size": 64} if "vit" in name else {}
    net = Supernet.from_timm(name, elastic=ELASTIC, num_classes=3, arguments=arguments)
    with torch.no_grad():
        for key, tensor in net.named_parameters():
            if key.endswith("gamma"):  # timm's are so small that what is before them hardly learns
                tensor.fill_(0.5)
    before = {key: tensor.clone() for key, tensor in net.named_parameters()}

    def predict(codes):
        parts = [parts_of_subnet(net.space, net.space.decode(code), num_classes=3, in_chans=3) for code in codes]
        return [sum(float(macs(*part)) for part in one) for one in parts]

    phases = SCHEDULES["progressive_shrinking"](net.space, epochs=1, lr=0.05)
    assert {role for phase in phases for role in phase.open} >= {"expand", "width"}
    options = {"settings": Settings(), "macs": predict, "normalize": lambda pixels: pixels.float() / 64 - 1}
    train_supernet(net, phases, batches, steps_per_epoch=1, progress=False, **options)
    assert all(torch.isfinite(tensor).all() for tensor in net.state_dict().values())
    assert [key for key, tensor in net.named_parameters() if torch.equal(tensor, before[key])] == []

    plain, images = net.extract(net.space.smallest), torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        expected = plain(images)
        assert torch.equal(calibrate(plain, images)(images), expected)


@pytest.mark.parametrize("name", ["mobilenetv4_conv_small_035", "efficientnet_lite0", "resnet18", "test_convnext"])
def test_training_begins_at_the_loss_of_a_guess(name):
    """With timm's own draw of a classifier of ten classes it begins at 4 and more."""
    torch.manual_seed(0)
    made = Supernet.from_timm(name, elastic={"resolutions": [32, 64]}, num_classes=10)
    other = Supernet.from_timm(
        timm.create_model(name, num_classes=20), elastic={"resolutions": [32, 64]}, num_classes=10
    )
    images, labels = torch.randn(16, 3, 64, 64), torch.arange(16) % 10
    for net in (made, other, Supernet(made.space, num_classes=10)):
        assert torch.nn.functional.cross_entropy(net.train()(images), labels) < math.log(10) + 0.7
