"""The values of proxies on networks for which they are known, or can be found in another way."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ofa.predictors.proxies.table import PROXIES


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def score(name, model, images, labels=None, seed=0):
    return PROXIES[name].score(model, images, labels, seed)


def mlp(*widths):
    """Layers without biases, with a ReLU between them."""
    layers = [nn.Flatten()]
    for number, (read, written) in enumerate(pairwise(widths)):
        layers += [*([nn.ReLU()] if number else []), nn.Linear(read, written, bias=False)]
        with torch.no_grad():
            layers[-1].weight.copy_(noise(written, read, seed=number) / read**0.5)
    return nn.Sequential(*layers)


IMAGES, LABELS = noise(8, 3, 2, 2, seed=9), torch.arange(8) % 4


@pytest.fixture
def model():
    return mlp(12, 16, 10, 4)


def gradients(model, images=IMAGES, labels=LABELS):
    weights = list(model.parameters())
    return weights, torch.autograd.grad(F.cross_entropy(model(images), labels), weights)


def test_gradient_norm_and_snip_are_sums_over_layers(model):
    weights, grads = gradients(model)
    assert score("grad_norm", model, IMAGES, LABELS) == pytest.approx(sum(float(g.norm()) for g in grads))
    expected = sum(float((w.detach() * g).abs().sum()) for w, g in zip(weights, grads, strict=True))
    assert score("snip", model, IMAGES, LABELS) == pytest.approx(expected)


def test_grasp_is_the_change_of_the_gradient_along_itself():
    model = mlp(12, 6, 4).double()
    model[2] = nn.Hardswish()
    weights, grads = gradients(model, IMAGES.double())
    originals, step = [weight.detach().clone() for weight in weights], 1e-5
    sides = []
    for sign in (1, -1):
        with torch.no_grad():
            for weight, original, grad in zip(weights, originals, grads, strict=True):
                weight.copy_(original + sign * step * grad)
        sides.append(gradients(model, IMAGES.double())[1])
    with torch.no_grad():
        for weight, original in zip(weights, originals, strict=True):
            weight.copy_(original)
    changes = [(one - other) / (2 * step) for one, other in zip(*sides, strict=True)]
    expected = -sum(float((w * c).sum()) for w, c in zip(originals, changes, strict=True))
    assert score("grasp", model, IMAGES, LABELS) == pytest.approx(expected, rel=1e-3)


def test_synaptic_flow_through_every_layer_is_the_flow_through_the_network(model):
    """The law of conservation of the paper, and the flow counted by hand."""
    flow = torch.ones(1, 12, dtype=torch.float64)
    for layer in (layer for layer in model if isinstance(layer, nn.Linear)):
        flow = flow @ layer.weight.detach().double().abs().T
    assert score("synflow", model, IMAGES) == pytest.approx(3 * float(flow.sum()), rel=1e-12)
    # Norms are passed by, the images do not matter, and what float32 cannot hold is a number.
    normed = nn.Sequential(nn.BatchNorm2d(3), *model)
    nn.init.constant_(normed[0].running_var, 100.0)
    assert score("synflow", normed, 5 * IMAGES) == pytest.approx(score("synflow", model, IMAGES))
    deep = mlp(*[12] * 60, 4)
    with torch.no_grad():
        for weight in deep.parameters():
            weight.mul_(10)
    assert 1e60 < score("synflow", deep, IMAGES) < math.inf


def test_fisher_is_that_of_every_channel(model):
    activations = []
    x = IMAGES
    for layer in model:
        x = layer(x)
        if isinstance(layer, nn.Linear):
            activations.append(x)
    grads = torch.autograd.grad(F.cross_entropy(x, LABELS), activations)
    expected = sum(float((a.detach() * g).square().mean(0).sum() / 2) for a, g in zip(activations, grads, strict=True))
    assert score("fisher", model, IMAGES, LABELS) == pytest.approx(expected)


def test_zico_is_mean_over_deviation_of_gradients_in_both_halves(model):
    halves = [gradients(model, IMAGES[half], LABELS[half])[1] for half in (slice(4), slice(4, 8))]
    expected = 0.0
    for grads in zip(*halves, strict=True):
        sizes = torch.stack(grads).abs().numpy().astype(float)
        varies = sizes.std(0) > 0
        expected += np.log((sizes.mean(0)[varies] / sizes.std(0)[varies]).sum())
    assert score("zico", model, IMAGES, LABELS) == pytest.approx(expected, rel=1e-3)


def test_jacobian_covariance_is_highest_for_uncorrelated_gradients():
    """One image a mask: each sees inputs of its own, so no two gradients have anything in common."""

    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(8, 8))

        def forward(self, x):
            return (x.flatten(1) * torch.eye(8).repeat_interleave(2, dim=1)) @ torch.ones(16, 4)

    best = -8 * (math.log(1 + 1e-5) + 1 / (1 + 1e-5))
    found = score("jacob_cov", Masked(), noise(8, 1, 4, 4))
    assert found < best and found == pytest.approx(score("jacob_cov", Masked(), noise(8, 1, 4, 4, seed=1)))
    alike = score("jacob_cov", mlp(12, 4), IMAGES)  # a linear network reacts to all images alike
    assert alike == pytest.approx(-7 * (math.log(1e-5) + 1e5) - math.log(8) - 1 / 8, rel=1e-3)


def test_naswot_counts_units_that_agree(model):
    codes = (IMAGES.flatten(1) @ model[1].weight.T > 0).double()
    hidden = torch.relu(IMAGES.flatten(1) @ model[1].weight.T)
    codes = torch.cat([codes, (hidden @ model[3].weight.T > 0).double()], dim=1)
    kernel = codes @ codes.T + (1 - codes) @ (1 - codes).T
    assert score("naswot", model, IMAGES) == pytest.approx(float(torch.logdet(kernel)))
    model[2] = nn.LeakyReLU(0.0, inplace=True)  # another rectifier with the same signs
    assert score("naswot", model, IMAGES) == pytest.approx(float(torch.logdet(kernel)))


def conv_net(channels=6):
    return nn.Sequential(
        nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(),
        nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 4),
    )  # fmt: skip


def test_zen_depends_on_the_architecture_alone():
    one, other = conv_net(), conv_net()
    small = noise(8, 3, 6, 6)
    assert score("zen", one, small) == score("zen", other, 3 * small) != score("zen", one, small, seed=1)
    assert score("zen", conv_net(24), small) > score("zen", one, small)


class Blocks(nn.Module):
    """Blocks of two 1x1 convolutions each, whose product is given."""

    def __init__(self, *products):
        super().__init__()
        self.blocks = nn.Sequential(*(nn.Sequential() for _ in products))
        for number, product in enumerate(products):
            self.blocks[number] = Block(product)
        self.head = nn.Linear(products[0].shape[0], 4)

    def forward(self, x):
        return self.head(self.blocks(x).mean((2, 3)))


class Block(nn.Module):
    def __init__(self, product):
        super().__init__()
        channels = product.shape[0]
        self.one, self.two = (nn.Conv2d(channels, channels, 1, bias=False) for _ in range(2))
        with torch.no_grad():
            self.one.weight.copy_(product[:, :, None, None])
            self.two.weight.copy_(torch.eye(channels)[:, :, None, None])

    def forward(self, x):
        return self.two(self.one(x))


def test_expressivity_is_the_entropy_of_principal_components():
    images = noise(64, 4, 8, 8)
    one_direction = torch.diag(torch.tensor([1.0, 0, 0, 0]))
    assert score("expressivity", Blocks(torch.eye(4), torch.eye(4)), images) == pytest.approx(2 * math.log(4), abs=0.02)
    lost = Blocks(torch.eye(4), one_direction)
    assert score("expressivity", lost, images) == pytest.approx(math.log(4), abs=0.02)
    assert score("progressivity", lost, images) == pytest.approx(-math.log(4), abs=0.02)


def test_trainability_is_highest_for_gradients_that_keep_their_size():
    images = noise(64, 4, 8, 8)
    scores = {scale: score("trainability", Blocks(torch.eye(4), scale * torch.eye(4)), images) for scale in (0.5, 1, 3)}
    assert scores[1] == pytest.approx(0, abs=0.01)
    assert scores[0.5] == pytest.approx(2 - 0.5 - 2, abs=0.05) and scores[3] == pytest.approx(2 - 3 - 1 / 3, abs=0.1)


def test_fisher_spectrum_is_that_of_the_jacobian_of_first_weights():
    model = conv_net().train()
    with torch.no_grad():
        model.requires_grad_(False)
        images = noise(8, 3, 6, 6)
        for norm in (model[1], model[4]):
            norm.momentum = 1.0
        model(images)
    frozen = model.eval()
    weights = [layer.weight for layer in (model[0], model[3], model[8])]
    jacobian, step = [], 1e-2
    for weight in weights:
        sides = []
        for sign in (1, -1):
            weight.view(-1)[0] += sign * step
            sides.append(frozen.double()(images.double()).softmax(1).log())
            frozen.float()
            weight.view(-1)[0] -= sign * step
        jacobian.append((sides[0] - sides[1]) / (2 * step))
    probabilities = frozen(images).softmax(1).double()
    rows = torch.stack(jacobian, dim=-1)  # of log probabilities (images, classes, weights)
    fisher = torch.einsum("nc,ncp,ncq->pq", probabilities, rows, rows) / len(images)
    deciles = np.quantile(torch.linalg.eigvalsh(fisher).numpy(), np.arange(1, 10) / 10)
    shares = deciles / deciles.sum()
    assert score("fisher_spectrum", model, images) == pytest.approx(
        3 - float((shares * np.log(shares)).sum()), rel=0.01
    )


def test_fisher_spectrum_of_many_classes_is_estimated():
    model = conv_net()
    model[8] = nn.Linear(6, 300)
    assert 3 < score("fisher_spectrum", model, noise(8, 3, 6, 6)) < 3 + math.log(9)
