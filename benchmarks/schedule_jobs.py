"""The trials of ``benchmarks/schedule_trials.py``, in the order in which they are worth most."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Trial:
    """One training.

    Attributes:
        images, passes: training images (0: all), and the compute, in passes of the full network over them.
        schedule: ``"warm"``, the full network and then everything open, or one of the product's schedules.
        share: of the compute that the full network alone gets.
        later_lr: factor on the learning rate after the first phase; for the product's schedules, on their own rates.
        ema: steps that the moving average looks back over, as a share of all steps; 0: no average.
        warmup: share of all steps.
    """

    data: str
    images: int
    passes: float
    seed: int = 0
    schedule: str = "warm"
    share: float = 0.25
    later_lr: float = 1.0
    subnets: int = 4
    sampling: str = "uniform"
    teacher: str = "full"
    batch_size: int = 64
    lr: float = 0.1
    warmup: float = 0.0
    ema: float = 0.0
    smoothing: float = 0.1
    mixup: float = 0.0
    dropout: float = 0.0
    weight_decay: float = 1e-4
    clip_grad: float = 0.0
    distill_weight: float = 1.0


SANDWICH = {"sampling": "sandwich", "teacher": "in_place"}
# Changes of one or two settings from the base.
SCHEDULES: list[dict[str, Any]] = [
    {},
    {"schedule": "progressive_shrinking"},
    {"schedule": "progressive_shrinking", "later_lr": 2.5},
    {"schedule": "random"},
    {"schedule": "random", "later_lr": 2.5},
    {"schedule": "sandwich"},
    {"schedule": "attentive"},
    SANDWICH,
    {"sampling": "sandwich"},
]
ONE = {"subnets": 1}
SETTINGS: list[dict[str, Any]] = [
    ONE,
    ONE | {"lr": 0.2},
    {"later_lr": 0.37},
    {"later_lr": 1.5},
    {"later_lr": 2.2},
    ONE | {"lr": 0.4},
    ONE | {"lr": 0.2, "share": 0.5},
    ONE | {"lr": 0.2, "ema": 0.05},
    {"subnets": 2, "lr": 0.2},
    ONE | {"lr": 0.2, "smoothing": 0.0},
    ONE | {"lr": 0.2, "warmup": 0.05},
    ONE | {"lr": 0.2, "share": 0.1},
    ONE | {"lr": 0.2, "mixup": 0.2},
]
FEW: list[dict[str, Any]] = [
    ONE | {"lr": 0.2},
    {"schedule": "progressive_shrinking", "lr": 0.2, "later_lr": 2.5},
    ONE | {"lr": 0.1},
    {"lr": 0.2},
    ONE | {"lr": 0.2, "share": 0.5},
    ONE | {"lr": 0.2, "ema": 0.05},
    ONE | {"lr": 0.2, "smoothing": 0.0},
    ONE | {"lr": 0.2, "warmup": 0.05},
    {"schedule": "sandwich", "lr": 0.2},
]


def _changed(base: Trial, changes: list[dict[str, Any]], *, seeds: range) -> Iterator[Trial]:
    for seed in seeds:
        for change in changes:
            yield replace(base, seed=seed, **change)


SHORT = Trial("cifar10", images=5000, passes=10)
SMALL = Trial("keywords", images=0, passes=10)
FASHION = Trial("fashion", images=5000, passes=10)
DIGITS = Trial("digits", images=0, passes=30)
FASTER = ONE | {"lr": 0.2}
SHRINKING = {"schedule": "progressive_shrinking", "lr": 0.2, "later_lr": 2.5}
MEDIUM = replace(SMALL, passes=40)
LONG = [
    Trial("cifar10", images=10_000, passes=30),
    Trial("cifar10", images=5000, passes=100),
    Trial("cifar10_32", images=50_000, passes=30),
    Trial("fashion", images=20_000, passes=30),
]
# The default, and what it has to beat.
WAYS: list[dict[str, Any]] = [
    FASTER,
    SHRINKING,
    {"schedule": "progressive_shrinking"},
    {"schedule": "random", "lr": 0.2, "later_lr": 2.5},
    {"schedule": "sandwich", "lr": 0.2},
    {"schedule": "attentive", "lr": 0.2},
    {"lr": 0.2},
]
FINER: list[dict[str, Any]] = [
    {"subnets": 2, "lr": 0.2},
    ONE | {"lr": 0.1},
    ONE | {"lr": 0.4},
    FASTER | {"later_lr": 0.37},
    FASTER | {"later_lr": 2.2},
    FASTER | {"share": 0.1},
    FASTER | {"share": 0.5},
    FASTER | {"ema": 0.02},
    FASTER | {"smoothing": 0.0},
    FASTER | {"mixup": 0.2},
    FASTER | {"warmup": 0.05},
    SANDWICH | {"lr": 0.2},
]
ROUNDS: dict[str, Callable[[], Iterator[Trial]]] = {
    "first": lambda: iter(
        [
            replace(SHORT, **ONE, lr=0.4),
            replace(SMALL, **FASTER),
            replace(SMALL, **SHRINKING),
            replace(SMALL, lr=0.2),
            replace(SHORT, **FASTER, share=0.5),
            replace(MEDIUM, **FASTER),
            replace(MEDIUM, lr=0.2),
            replace(SHORT, **FASTER, ema=0.05),
            replace(MEDIUM, **SHRINKING),
            replace(SHORT, subnets=2, lr=0.2),
            replace(FASHION, **FASTER),
            replace(FASHION, **SHRINKING),
        ]
    ),
    "short": lambda: _changed(SHORT, SCHEDULES + SETTINGS, seeds=range(1)),
    "small": lambda: _changed(SMALL, FEW, seeds=range(1)),
    "table": lambda: (
        replace(task, seed=seed, **way) for seed in range(3) for task in (SHORT, SMALL, MEDIUM, FASHION) for way in WAYS
    ),
    # For a GPU: what decides whether long trainings want more networks a step, smaller steps, an average.
    "long": lambda: (replace(task, seed=seed, **way) for seed in range(3) for task in LONG for way in WAYS + FINER),
}
