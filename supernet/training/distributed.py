"""Training on several processes: what the ranks agree on. With one process, nothing here does anything.

Every rank runs the same loop on its own rows of each batch. Gradients are averaged once an optimizer step, by one
all-reduce of one flat tensor, after all sampled subnets have added theirs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch import distributed as dist


def rank() -> int:
    """This process's number; 0 when it is alone."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def own_share(batch: np.ndarray, *, rank: int, ranks: int) -> np.ndarray:
    """Of the rows of one batch those that process ``rank`` of ``ranks`` works on.

    Every process gets at least two, or none: batch norm takes no variance of a single image. So of a small batch some
    processes get nothing.
    """
    busy = min(ranks, max(1, len(batch) // 2))
    return batch[rank::busy] if rank < busy else batch[:0]


def average_gradients(parameters: Sequence[Tensor], *, images: int, sums: Sequence[float]) -> tuple[int, list[float]]:
    """Makes every rank's gradients the mean over all ranks' images, and adds up ``sums`` over the ranks.

    A rank's own gradients are means over its ``images``, so they count by their number. A parameter that no rank used
    keeps the gradient None: optimizers then leave it alone, as they do in a single process.

    Returns:
        The images of all ranks together, and the sums.
    """
    if world_size() == 1:
        return images, list(sums)
    device = parameters[0].device
    used = torch.tensor([float(p.grad is not None) for p in parameters], device=device)
    flat = [torch.zeros_like(p).reshape(-1) if p.grad is None else p.grad.reshape(-1) * images for p in parameters]
    numbers = torch.tensor([float(images), *sums], device=device)
    together = torch.cat([*flat, used, numbers])
    dist.all_reduce(together)
    *means, used, numbers = together.split([*(p.numel() for p in parameters), len(parameters), len(numbers)])
    total, *sums = numbers.tolist()
    for parameter, mean, users in zip(parameters, means, used.tolist(), strict=True):
        if users == 0 or total == 0:
            parameter.grad = None
        elif parameter.grad is None:
            parameter.grad = torch.empty_like(parameter).copy_(mean.view_as(parameter) / total)
        else:
            parameter.grad.copy_(mean.view_as(parameter) / total)
    return int(total), sums


def mean(values: np.ndarray, device: torch.device, *, images: int = 1) -> np.ndarray:
    """The mean of an array that each rank has over its ``images``, so that all decide alike; all must call it.

    A rank without images does not count; when none has any, the mean is 0.
    """
    if world_size() == 1:
        return values
    together = torch.tensor([*(values * images), images], dtype=torch.float32, device=device)
    dist.all_reduce(together)
    *sums, total = together.tolist()
    return np.array(sums, np.float32) / max(total, 1)


@torch.no_grad()
def broadcast_buffers(net: nn.Module) -> None:
    """Gives every rank the batch norm statistics of rank 0: each rank has seen other images."""
    if world_size() == 1:
        return
    buffers = [buffer for buffer in net.buffers() if buffer.is_floating_point()]
    if not buffers:
        return
    flat = torch.cat([buffer.reshape(-1) for buffer in buffers])
    dist.broadcast(flat, src=0)
    for buffer, values in zip(buffers, flat.split([buffer.numel() for buffer in buffers]), strict=True):
        buffer.copy_(values.view_as(buffer))
