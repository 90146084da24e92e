"""Published methods of differentiable search, each a combination of a relaxation, an update and a schedule."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import nn

from ofa.supernet.relaxation.figures import skip_options
from ofa.supernet.relaxation.objectives import COST_TERMS, TermSettings
from ofa.supernet.relaxation.relaxations import RELAXATIONS
from ofa.supernet.relaxation.schedules import Stage, Temperature
from ofa.supernet.relaxation.updates import UPDATES
from ofa.supernet.training.settings import Settings

MAX_LR = 0.05  # of the architecture parameters in a shortened search


@dataclass(frozen=True, kw_only=True)
class AlphaOptimizer:
    """Adam's settings for the architecture parameters, which have an optimizer of their own.

    Attributes:
        clip: largest norm of all their gradients together; None: not clipped.
    """

    lr: float = 3e-4
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = 1e-3
    clip: float | None = None

    def make(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, lr=self.lr, betas=self.betas, weight_decay=self.weight_decay)


@dataclass(frozen=True, kw_only=True)
class WeightsOptimizer:
    """The published optimizer of the network's weights: momentum, whose learning rate falls as a cosine to 0."""

    lr: float = 0.025
    optimizer: str = "momentum"
    momentum: float = 0.9
    weight_decay: float = 3e-4
    clip_grad: float | None = 5.0
    label_smoothing: float = 0.0

    def settings(self, *, seed: int) -> Settings:
        """The same as settings of a training."""
        return Settings(
            optimizer=self.optimizer,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            clip_grad=self.clip_grad,
            label_smoothing=self.label_smoothing,
            seed=seed,
        )


@dataclass(frozen=True, kw_only=True)
class Method:
    """How an architecture is searched.

    Attributes:
        help, paper: a few words, and where it was published.
        relaxation: a key of ``RELAXATIONS``.
        update: a key of ``UPDATES``.
        mixed_weight: of the objective beside the training loss in a ``"mixed"`` update (MiLeNAS' lambda).
        alphas_first: whether a step updates the architecture parameters before the weights; else after them.
        every: steps from one update of the architecture parameters to the next.
        alphas, weights: optimizers.
        stages: of the search, one after the other.
        temperature: of the draws.
        penalty_weight: of the relaxation's own penalty, which is a sum over all genes.
        entropy_weight: of the entropy of the probabilities in the loss.
        cost_term: a key of ``COST_TERMS``: how costs are in the loss, if there are any.
        cost_settings: of the term; None: the published ones.
        architecture_share: of the training images, those that the architecture parameters learn from.
        published_steps: updates of the architecture parameters in the published search, about (see ``shortened``).
        skips_that_end: the search ends after an epoch in which skips dominate a larger share of the genes that have
            one (DARTS+; see ``figures.skip_share``); None: never.
        needs: what a network must have: keys of ``NEEDS``.

    Raises ``ValueError`` for a name that is in none of the tables.
    """

    help: str
    paper: str
    relaxation: str = "softmax"
    update: str = "first_order"
    mixed_weight: float = 1.0
    alphas_first: bool = True
    every: int = 1
    alphas: AlphaOptimizer = field(default_factory=AlphaOptimizer)
    weights: WeightsOptimizer = field(default_factory=WeightsOptimizer)
    stages: tuple[Stage, ...] = (Stage(),)
    temperature: Temperature = field(default_factory=Temperature)
    penalty_weight: float = 0.0
    entropy_weight: float = 0.0
    cost_term: str = "hinge"
    cost_settings: TermSettings | None = None
    architecture_share: float = 0.5
    published_steps: int = 19_500
    skips_that_end: float | None = None
    needs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, table in (("relaxation", RELAXATIONS), ("update", UPDATES), ("cost_term", COST_TERMS)):
            if (value := getattr(self, name)) not in table:
                raise ValueError(f"{name} is {value!r}; there are {', '.join(table)}")


def shortened(method: Method, steps: int) -> Method:
    """The method for a search of so many steps, with which the parameters can come as far as in the published one.

    Adam moves a parameter by about its learning rate an update, whatever the gradient. So the rate is raised as the
    updates become fewer, to ``MAX_LR`` at most; a search of more steps is the published one.
    """
    updates = max(1, sum(steps * stage.share * (1 - stage.frozen) for stage in method.stages) / method.every)
    lr = method.alphas.lr * max(1.0, method.published_steps / updates)
    return replace(method, alphas=replace(method.alphas, lr=max(method.alphas.lr, min(MAX_LR, lr))))


# What a method may need of a network, and the sentence that says what to do where it is missing.
NEEDS = {
    "skips": "ends by the share of skips, and this space has no depths and no operations called skip; use darts",
    "partial": "lets a part of the channels through a cell's operations, which this network cannot; "
    "give a CellNetwork(space, ..., partial=4)",
    "stage_network": "goes on with a deeper network in each stage; give a cell network, and stage_network, which makes "
    "the next one (cells.stages.staged)",
}


def check_method(method: Method, net: nn.Module, *, has_stage_network: bool) -> None:
    """Raises ``ValueError`` with one sentence when ``net`` cannot be searched by ``method``."""
    has = {
        "skips": any(skip_options(gene) for gene in net.space.genes),
        "partial": getattr(net, "partial", 1) > 1,
        "stage_network": has_stage_network,
    }
    missing = [need for need in method.needs if not has[need]]
    if missing:
        raise ValueError(f"the method {NEEDS[missing[0]]}")


METHODS: dict[str, Method] = {
    "darts": Method(
        help="bilevel, first order, every option by its softmax",
        paper="https://arxiv.org/abs/1806.09055",
    ),
    "darts_2nd": Method(
        help="DARTS whose gradient looks one step of the weights ahead: three passes more a step",
        paper="https://arxiv.org/abs/1806.09055",
        update="second_order",
    ),
    "darts_plus": Method(
        help="DARTS that ends before skips take over",
        paper="https://arxiv.org/abs/1909.06035",
        skips_that_end=0.25,
        needs=("skips",),
    ),
    "pdarts": Method(
        help="three stages of ever deeper networks and fewer options, with dropout on skips",
        paper="https://arxiv.org/abs/1904.12760",
        alphas=AlphaOptimizer(lr=6e-4, clip=5.0),
        stages=(
            Stage(1 / 3, frozen=0.4, keep=5 / 8, cells=5 / 17),
            Stage(1 / 3, frozen=0.4, keep=3 / 8, cells=11 / 17, skip_drop=0.4, restart=True),
            Stage(1 / 3, frozen=0.4, skip_drop=0.7, restart=True),
        ),
        needs=("stage_network",),
        published_steps=11_700,
    ),
    "snas": Method(
        help="samples of the concrete distribution, one level on all training images",
        paper="https://arxiv.org/abs/1812.09926",
        relaxation="gumbel",
        update="single_level",
        temperature=Temperature(1.0, 0.03, "exponentially"),
        architecture_share=0.0,
        published_steps=117_000,
    ),
    "drnas": Method(
        help="samples of a learnt Dirichlet distribution, fewer options in the second stage",
        paper="https://arxiv.org/abs/2006.10355",
        relaxation="dirichlet",
        alphas=AlphaOptimizer(lr=6e-4, weight_decay=0.0),
        weights=WeightsOptimizer(lr=0.1),
        stages=(Stage(0.5, frozen=0.4, keep=4 / 7, partial=6), Stage(0.5, frozen=0.4, partial=4)),
        penalty_weight=1e-3,
        published_steps=11_700,
    ),
    "fairdarts": Method(
        help="options that do not compete, each by its sigmoid, drawn to 0 or 1 by a loss",
        paper="https://arxiv.org/abs/1911.12126",
        relaxation="sigmoid",
        alphas=AlphaOptimizer(lr=3e-3, betas=(0.9, 0.999)),
        weights=WeightsOptimizer(lr=0.005),
        penalty_weight=10 / 196,  # published: 10 times the mean over the 196 parameters of its space
        published_steps=9_800,
    ),
    "milenas": Method(
        help="one level: training loss and validation loss together, as cheap as first order",
        paper="https://arxiv.org/abs/2003.12238",
        update="mixed",
    ),
    "proxylessnas": Method(
        help="one path at a time by binary gates, cost added to the loss",
        paper="https://arxiv.org/abs/1812.00332",
        relaxation="gates",
        alphas_first=False,
        every=5,
        alphas=AlphaOptimizer(lr=1e-3, betas=(0.0, 0.999), weight_decay=0.0),
        weights=WeightsOptimizer(optimizer="sgd", weight_decay=4e-5, clip_grad=None, label_smoothing=0.1),
        stages=(Stage(frozen=0.25),),
        cost_term="proxyless",
        architecture_share=0.1,
        published_steps=90_000,
    ),
    "fbnet": Method(
        help="Gumbel softmax that cools down, loss times a power of the latency's logarithm",
        paper="https://arxiv.org/abs/1812.03443",
        relaxation="gumbel",
        alphas_first=False,
        alphas=AlphaOptimizer(lr=1e-2, betas=(0.9, 0.999), weight_decay=5e-4),
        weights=WeightsOptimizer(lr=0.1, weight_decay=1e-4, clip_grad=None),
        stages=(Stage(frozen=1 / 9),),
        temperature=Temperature(5.0, 0.087, "exponentially"),
        cost_term="fbnet",
        architecture_share=0.2,
        published_steps=11_000,
    ),
    "pcdarts": Method(
        help="DARTS on a quarter of the channels, with weighted edges",
        paper="https://arxiv.org/abs/1907.05737",
        alphas=AlphaOptimizer(lr=6e-4),
        weights=WeightsOptimizer(lr=0.1),
        stages=(Stage(frozen=0.3, partial=4),),
        needs=("partial",),
        published_steps=3_400,
    ),
    "gdas": Method(
        help="one sampled option at a time with a straight-through gradient",
        paper="https://arxiv.org/abs/1910.04465",
        relaxation="gumbel_hard",
        alphas_first=False,
        weights=WeightsOptimizer(optimizer="sgd", weight_decay=5e-4),
        temperature=Temperature(10.0, 0.1),
        published_steps=97_500,
    ),
}
