"""What a zero-cost proxy is. This module imports no torch, so that recipes and help can name the proxies."""

from __future__ import annotations

import math
import time
import warnings
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor, nn

Part = Literal["batch_norms", "blocks", "rectifiers", "weighted_layers"]

# What a proxy may need of a network: how many, and in words.
_NEEDED: dict[Part, tuple[int, str]] = {
    "batch_norms": (1, "batch norms, whose statistics tell how signals grow"),
    "blocks": (2, "two blocks that run one after the other"),
    "rectifiers": (1, "activation functions such as ReLU, which are on or off"),
    "weighted_layers": (1, "convolutions or linear layers"),
}


class NoScore(ArithmeticError):
    """Why a proxy has no finite value of a network that it is defined for, on these images."""


class Score(NamedTuple):
    """A proxy's value of a network. ``reason``: why it is NaN; empty for a number."""

    value: float
    reason: str
    milliseconds: float


@dataclass(frozen=True, kw_only=True)
class Proxy:
    """The facts of a proxy.

    Attributes:
        name: of its module in this package, whose ``compute(model, images, labels, generator)`` gives its value on a
            network that it may change (``network.working_copy``).
        help: a few words, for help texts and tables. A higher value means a better network.
        paper: on arXiv.
        labels: whether it depends on labels.
        counted: whether it is a count, which depends neither on weights nor on the images' content.
        needs: what a network must have; names of functions of ``network.py``.
        images: the fewest images that tell something.
    """

    name: str
    help: str
    paper: str
    labels: bool = False
    counted: bool = False
    needs: tuple[Part, ...] = ("weighted_layers",)
    images: int = 2

    def score(self, model: nn.Module, images: Tensor, labels: Tensor | None = None, seed: int = 0) -> float:
        """The proxy's value of a network, which stays as it is; NaN, and a warning that says why, if it has none.

        Args:
            model: any classifier; of a ``Supernet``, the active subnet counts.
            images: a batch ``(n, channels, height, width)``, normalised.
            labels: ``(n,)``; drawn from ``seed`` when they are needed and not given.
            seed: of every draw.

        Raises ``ValueError`` for a network that the proxy is not defined for, and for too few images.
        """
        measured = self.measure(model, images, labels, seed)
        if measured.reason:
            warnings.warn(f"{self.name} is not a number: {measured.reason}", stacklevel=2)
        return measured.value

    def measure(self, model: nn.Module, images: Tensor, labels: Tensor | None = None, seed: int = 0) -> Score:
        """As ``score``, with the reason for a value that is NaN, and the time that it took."""
        import torch

        from ofa.predictors.proxies import network

        compute = import_module(f"ofa.predictors.proxies.{self.name}").compute
        with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
            own = network.working_copy(model)
            self._check(own, len(images))
            images = network.on_its_device(own, images)
            generator = torch.Generator().manual_seed(seed)
            if self.labels:
                labels = network.drawn_labels(own, images, generator) if labels is None else labels.to(images.device)
            started = time.perf_counter()
            try:
                value, reason = float(compute(own, images, labels, generator)), ""
            except NoScore as error:
                value, reason = math.nan, str(error)
            milliseconds = 1000 * (time.perf_counter() - started)
        if not math.isfinite(value) and not reason:
            reason = f"its value is {value}, since signals or gradients overflow or vanish"
        return Score(math.nan if reason else value, reason, milliseconds)

    def _check(self, model: nn.Module, images: int) -> None:
        """Raises ``ValueError`` unless the proxy is defined for a network and so many images."""
        network = import_module("ofa.predictors.proxies.network")
        for part in self.needs:
            fewest, words = _NEEDED[part]
            if (found := len(getattr(network, part)(model))) < fewest:
                has = f"{type(model).__name__} has {found or 'none'}"
                raise ValueError(f"{self.name} is not defined here: it needs {words}, and {has}; take another proxy")
        if images < self.images:
            raise ValueError(f"{self.name} needs at least {self.images} images; the batch has {images}")
