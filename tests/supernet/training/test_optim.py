"""Layer-wise learning-rate decay: every parameter learns at its layer's rate, kernel transforms at the full one."""

import pytest
import timm
import torch

from ofa.supernet.space import SearchSpace
from ofa.supernet.supernet import Supernet
from ofa.supernet.training.optim import layer_groups, make_optimizer, make_scheduler, peak_lr
from ofa.supernet.training.phases import Phase
from ofa.supernet.training.settings import Settings

NAMES = ("tf_efficientnet_lite0", "mobilenetv3_small_050", "resnet18")
DECAY = 0.8


@pytest.fixture(scope="module", params=NAMES)
def net(request):
    with torch.device("meta"):
        return Supernet(SearchSpace.from_timm(request.param), num_classes=10)


def scales(net):
    """Of every parameter by timm's name, its learning rate's factor and its weight decay."""
    names = {id(parameter): name for name, parameter in net.model.named_parameters()}
    groups = layer_groups(net, weight_decay=0.1, layer_decay=DECAY)
    told = [(names[id(one)], group["lr_scale"], group["weight_decay"]) for group in groups for one in group["params"]]
    assert len(told) == len(names)  # each once
    return {name: (scale, decay) for name, scale, decay in told}


def test_the_nearer_to_the_images_the_slower(net):
    told = scales(net)
    names = [name for name in told if ".transforms." not in name]
    # In the order of the model's own parameters, which is that of its layers.
    ordered = [told[name][0] for name, _ in net.model.named_parameters() if name in names]
    assert ordered == sorted(ordered)
    assert ordered[-1] == told[names[-1]][0] == 1
    steps = sorted(set(ordered))
    assert len(steps) > 8
    assert steps == pytest.approx([DECAY**power for power in reversed(range(len(steps)))])


def test_layers_are_those_of_the_plain_model(net):
    plain = timm.create_model(net.space.timm, num_classes=10)
    groups = layer_groups(plain, weight_decay=0.1, layer_decay=DECAY)
    names = {id(parameter): name for name, parameter in plain.named_parameters()}
    theirs = {names[id(one)]: group["lr_scale"] for group in groups for one in group["params"]}
    ours = {name: scale for name, (scale, _) in scales(net).items() if ".transforms." not in name}
    assert ours == theirs


def test_weight_decay_spares_vectors_and_transforms(net):
    told = scales(net)
    for name, parameter in net.model.named_parameters():
        spared = parameter.ndim == 1 or ".transforms." in name
        assert told[name][1] == (0 if spared else 0.1), name
        if ".transforms." in name:
            assert told[name][0] == 1, name


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "lamb", "rmsprop"])
def test_schedules_keep_the_factors(net, optimizer):
    settings = Settings(optimizer=optimizer, layer_decay=DECAY, warmup_epochs=1)
    made = make_optimizer(net, settings, lr=0.4)
    scheduler = make_scheduler(made, settings, Phase("a", 3, 0.4), steps_per_epoch=4, first=True)
    for step in (0, 2, 4, 9):
        scheduler.step_update(step)
        rates = {group["lr"] / group["lr_scale"] for group in made.param_groups}
        assert max(rates) == pytest.approx(min(rates)) == pytest.approx(peak_lr(made))
    scheduler.step_update(4)  # the warm-up is over
    assert peak_lr(made) == pytest.approx(0.4)


def rates_of(phase, settings, *, first):
    made = make_optimizer(torch.nn.Linear(2, 2), settings, lr=phase.lr)
    scheduler, rates = make_scheduler(made, settings, phase, steps_per_epoch=4, first=first), []
    for step in range(4 * phase.epochs):
        scheduler.step_update(step)
        rates.append(peak_lr(made))
    return rates


def test_a_phase_warms_up_by_itself_and_the_first_one_by_the_settings_too():
    plain, warm = Phase("a", 3, 0.4), Phase("a", 3, 0.4, warmup_epochs=1)
    given = Settings(warmup_epochs=1)
    falling = rates_of(plain, Settings(), first=True)
    assert falling == rates_of(plain, given, first=False) and falling[0] == pytest.approx(0.4)
    rising = rates_of(warm, Settings(), first=False)
    assert rising == rates_of(plain, given, first=True) == rates_of(warm, given, first=True)
    assert rising[0] < rising[1] < rising[3] < rising[4] == pytest.approx(0.4)


def test_without_it_there_are_two_rates_of_decay_and_one_of_learning(net):
    made = make_optimizer(net, Settings(weight_decay=0.1), lr=0.4)
    assert [group["weight_decay"] for group in made.param_groups] == [0, 0.1]
    assert all("lr_scale" not in group and group["lr"] == 0.4 for group in made.param_groups)
    assert peak_lr(made) == 0.4
