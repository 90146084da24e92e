"""A norm over weighted channels: its gradient, and the plain norms that it is with masks of ones and zeros."""

import pytest
import torch
from torch.nn import functional as F

from ofa.supernet.relaxation.mixing.weighted_norm import NormKind, weighted_norm

KINDS = {
    "layer": NormKind(),
    "root_mean_square": NormKind(centre_variance=False, centre_output=False),
    "simple": NormKind(centre_output=False, correction=1.0),
}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def tensors(*shapes):
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(shape, dtype=torch.float64, generator=generator).add(0.1).requires_grad_() for shape in shapes]


@every_kind
@pytest.mark.parametrize("has_bias", [True, False])
def test_its_gradient_is_that_of_differences(kind, has_bias):
    x, mask, weight, bias = tensors((2, 3, 5), (5,), (5,), (5,))

    def norm(x, mask, weight, bias):
        return weighted_norm(x, mask, weight, bias if has_bias else None, eps=1e-2, kind=kind)

    assert torch.autograd.gradcheck(norm, (x, mask, weight, bias))


@every_kind
def test_channels_of_weight_0_are_as_if_they_were_not_there(kind):
    x, weight, bias = tensors((2, 3, 5), (5,), (5,))
    mask = torch.tensor([1.0, 1, 1, 0, 0])
    narrow = weighted_norm(x[..., :3], torch.ones(3), weight[:3], bias[:3], eps=1e-5, kind=kind)
    torch.testing.assert_close(weighted_norm(x, mask, weight, bias, eps=1e-5, kind=kind)[..., :3], narrow)
    if kind == KINDS["layer"]:
        torch.testing.assert_close(narrow, F.layer_norm(x[..., :3], (3,), weight[:3], bias[:3]))
