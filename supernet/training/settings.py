"""What of a training run is the same in every phase, as values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Everything of a training run that is the same in every phase.

    Attributes:
        optimizer: any of timm's names but kron, whose state no checkpoint holds.
        momentum, weight_decay: of the optimizer; biases and norms are not decayed.
        layer_decay: factor on the learning rate from each layer to the one before it (BEiT, arXiv:2106.08254), so that
            trained weights near the images change least; 1: all layers learn alike.
        lr_schedule: a key of ``optim.SCHEDULERS``.
        warmup_epochs: epochs of the first phase in which the learning rate rises linearly.
        label_smoothing: probability that is spread over all classes.
        distill_weight: of a frozen teacher's soft labels beside the labels.
        distill_loss: how soft labels are learnt, a key of ``losses.SOFT_LOSSES``.
        clip_grad: largest norm of all gradients together; None: not clipped.
        ema: decay of the weights' moving average, which every phase ends with; None: no average.
        mixup, cutmix: alphas of their distributions; 0: off.
        grad_accum_steps: pieces that a batch is worked on in, one after the other.
        amp: mixed precision on CUDA, bfloat16 where the device has it.
        compile: torch.compile each block, in phases that train one network.
        subnets_per_rank: whether processes sample ``"shared"`` subnets (all the same) or ``"independent"`` ones.
        seed: of all draws.
    """

    optimizer: str = "sgd"
    momentum: float = 0.9
    weight_decay: float = 3e-5
    layer_decay: float = 1.0
    lr_schedule: str = "cosine"
    warmup_epochs: float = 0.0
    label_smoothing: float = 0.1
    distill_weight: float = 1.0
    distill_loss: str = "soft_ce"
    clip_grad: float | None = None
    ema: float | None = None
    mixup: float = 0.0
    cutmix: float = 0.0
    grad_accum_steps: int = 1
    amp: bool = True
    compile: bool = False
    subnets_per_rank: str = "shared"
    seed: int = 0
