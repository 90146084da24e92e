"""Where the architecture parameters' gradient comes from, against a bilevel problem that is solved by hand."""

import copy

import pytest
import torch
from torch import nn

from ofa.supernet.relaxation.updates import (
    UPDATES,
    Bilevel,
    first_order,
    mixed,
    momentum_step,
    rates,
    second_order,
    statistics_kept,
)

# Training loss |w - A a|^2 / 2, objective |w - b|^2 / 2 + c a: after a step of rate r, the weights follow a by r A.
A = torch.tensor([[1.0, -0.5], [0.3, 0.8], [-0.7, 0.2]], dtype=torch.float64)
B = torch.tensor([0.4, -1.0, 0.6], dtype=torch.float64)
C = torch.tensor([0.05, -0.02], dtype=torch.float64)


def problem(*, steps=0, lr=0.1, momentum=0.9, weight_decay=0.03, layers=False):
    """After ``steps`` of the optimizer; the second weight can have half the learning rate."""
    weights = [torch.tensor([0.2, -0.3], dtype=torch.float64), torch.tensor([0.5], dtype=torch.float64)]
    weights = [weight.requires_grad_() for weight in weights]
    alpha = torch.tensor([0.6, -0.2], dtype=torch.float64, requires_grad=True)
    groups = [{"params": weights[:1]}, {"params": weights[1:], "lr": lr * (0.5 if layers else 1)}]
    optimizer = torch.optim.SGD(groups, lr=lr, momentum=momentum, weight_decay=weight_decay)

    def gradients(loss, of):
        return list(torch.autograd.grad(loss(torch.cat(weights)), of))

    def training(w):
        return (w - A @ alpha).square().sum() / 2

    def objective(w):
        return (w - B).square().sum() / 2 + C @ alpha

    for _ in range(steps):
        optimizer.zero_grad()
        training(torch.cat(weights)).backward()
        optimizer.step()
    alpha.grad = None
    return optimizer, Bilevel(
        weights=weights,
        alphas=[alpha],
        training=lambda of: gradients(training, of),
        objective=lambda of: gradients(objective, of),
        virtual_step=lambda slopes: momentum_step(optimizer, weights, slopes),
        rates=rates(optimizer, weights),
    )


@pytest.mark.parametrize("steps", [0, 3])  # before its first step an optimizer has no momentum
@pytest.mark.parametrize("layers", [False, True])
def test_second_order_is_the_derivative_through_one_step_of_the_weights(steps, layers):
    optimizer, bilevel = problem(steps=steps, layers=layers)
    (found,) = second_order(bilevel)

    # What the optimizer itself would do, followed through by hand.
    w, a = torch.cat(bilevel.weights).detach(), bilevel.alphas[0].detach()
    after = copy.deepcopy([weight.detach() for weight in bilevel.weights])
    rate = torch.tensor([0.1, 0.1, 0.05 if layers else 0.1], dtype=torch.float64)
    buffers = [optimizer.state[weight].get("momentum_buffer") for weight in bilevel.weights]
    momentum = torch.cat(buffers) if steps else torch.zeros(3, dtype=torch.float64)
    virtual = w - rate * (w - A @ a + 0.03 * w + 0.9 * momentum)
    assert found.tolist() == pytest.approx((C + A.T @ (rate * (virtual - B))).tolist(), abs=1e-9)
    assert all(torch.equal(weight, before) for weight, before in zip(bilevel.weights, after, strict=True))

    # And the virtual step is the real one.
    for weight, gradient in zip(bilevel.weights, bilevel.training(bilevel.weights), strict=True):
        weight.grad = gradient
    optimizer.step()
    assert torch.cat(bilevel.weights).tolist() == pytest.approx(virtual.tolist())


def test_second_order_descends_to_where_the_weights_best_follow():
    """With a rate of 1 and nothing else, one step puts the weights at A a: the objective is that of least squares."""
    _, bilevel = problem(lr=1.0, momentum=0.0, weight_decay=0.0)
    (alpha,) = bilevel.alphas
    for _ in range(200):
        (gradient,) = second_order(bilevel)
        with torch.no_grad():
            alpha -= 0.3 * gradient
    best = torch.linalg.solve(A.T @ A, A.T @ B - C)
    assert alpha.tolist() == pytest.approx(best.tolist(), abs=1e-6)


def test_first_order_takes_the_weights_as_they_are():
    assert first_order(problem()[1])[0].tolist() == C.tolist()


def test_mixed_adds_both_gradients():
    _, bilevel = problem()
    bilevel = Bilevel(**{**vars(bilevel), "mixed_weight": 2.0})
    w, a = torch.cat(bilevel.weights), bilevel.alphas[0]
    assert mixed(bilevel)[0].tolist() == pytest.approx((-A.T @ (w - A @ a) + 2 * C).tolist())


def test_without_a_slope_second_order_is_first_order():
    _, bilevel = problem()
    flat = Bilevel(**{**vars(bilevel), "objective": lambda of: [C, *(torch.zeros_like(one) for one in of[1:])]})
    assert second_order(flat)[0].tolist() == C.tolist()


def test_one_update_learns_from_the_training_images_alone():
    assert [name for name, update in UPDATES.items() if not update.own_images] == ["single_level"]


def test_statistics_are_kept():
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)).train()
    before = copy.deepcopy(net.state_dict())
    with statistics_kept(net):
        net(torch.randn(4, 1, 3, 3))
        assert int(net[1].num_batches_tracked) == 1
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
