"""What the stages that train and measure share: the opened data and the trained supernet."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from ofa.config.recipe import Recipe
from ofa.data.image_findings import unreadable_images
from ofa.data.loader import Data, open_data
from ofa.pipeline import distributed
from ofa.pipeline.context import RunContext
from ofa.pipeline.threads import EvaluationThreads
from ofa.predictors.costs.cost_table import CostTable
from ofa.supernet.calibration import calibrate
from ofa.supernet.images import tell_images
from ofa.supernet.space import Subnet
from ofa.supernet.supernet import Supernet

_TRIAL_BATCH = 64  # images that tell how many threads are best


class Job(RunContext):
    """A run with its opened data and its trained supernet."""

    def __init__(self, recipe: Recipe, folder: Path, *, check_interrupt: Callable[[], None] = lambda: None) -> None:
        super().__init__(recipe, folder, check_interrupt)
        self.device = distributed.device()
        self.evaluation_threads = EvaluationThreads()
        self._left_out = frozenset(unreadable_images(folder)) if distributed.rank() == 0 else None

    @cached_property
    def data(self) -> Data:
        resolution = self.recipe.space.resolutions[-1]
        return open_data(
            self.recipe.data, resolution=resolution, seed=self.recipe.seed, left_out=self._left_out or frozenset()
        )

    def broadcast_unreadable(self) -> None:
        """Gives every process the images that rank 0 left out, as it alone has read all; all must call it."""
        content = json.dumps(sorted(self._left_out)).encode() if self._left_out is not None else None
        self._left_out = frozenset(json.loads(distributed.broadcast_bytes(content)))

    @property
    def model_kwargs(self) -> dict[str, int]:
        """What a model of this data is built with: ``num_classes`` and ``in_chans``."""
        return {"num_classes": len(self.data.classes), "in_chans": self.data.channels}

    @property
    def weights(self) -> Path:
        return self.folder / "supernet" / "weights.safetensors"

    def new_supernet(self) -> Supernet:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.seed)
            rates = {"drop_rate": self.recipe.train.dropout, "drop_path_rate": self.recipe.train.drop_path}
            net = Supernet(self.recipe.space, **self.model_kwargs, **rates)
        preprocessing = {key: getattr(self.data, key) for key in ("mean", "std", "interpolation", "crop_pct")}
        return tell_images(net, **preprocessing).to(self.device)

    @cached_property
    def supernet(self) -> Supernet:
        """The trained supernet."""
        return self._trained(self.weights.read_bytes())

    def broadcast_supernet(self) -> None:
        """Gives every process the trained supernet of rank 0; all must call it."""
        self.supernet = self._trained(
            distributed.broadcast_bytes(self.weights.read_bytes() if distributed.rank() == 0 else None)
        )

    def _trained(self, weights: bytes) -> Supernet:
        net = self.new_supernet()
        net.load_state_dict(safetensors.torch.load(weights))
        return net.eval()

    def images(self, split: str, resolution: int, *, limit: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Normalised batches on the device, resized as deployment would."""
        for images, labels in self.data.split_batches(split, resolution=resolution, limit=limit):
            yield self.data.normalize(images.to(self.device)), labels.to(self.device)

    def train_batches(self, epoch: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        """This process's share of an epoch's training batches, from step ``start`` on."""
        ranks = {"rank": distributed.rank(), "ranks": distributed.world_size()}
        return self.data.train_batches(epoch, self.recipe.train.batch_size, start=start, **ranks)

    def extract_calibrated(
        self, subnet: Subnet, *, net: Supernet | None = None, images: int | None = None
    ) -> torch.nn.Module:
        """The subnet, extracted (from the trained supernet) and calibrated on training images."""
        return self.calibrated((net or self.supernet).extract(subnet), subnet.resolution, images=images)

    @contextmanager
    def evaluating(self, subnet: Subnet) -> Iterator[None]:
        """Around the measurement of its accuracy: with as many threads as are fastest, which is measured when due."""
        self.evaluation_threads.ready(lambda: self._forward(subnet))
        with self.evaluation_threads.timed(self.macs.predict(self.recipe.space.encode(subnet)[None])[0]):
            yield

    @cached_property
    def macs(self) -> CostTable:
        return CostTable.macs(self.recipe.space, **self.model_kwargs)

    @torch.no_grad()
    def _forward(self, subnet: Subnet) -> None:
        """One batch through a network, to be timed."""
        side = subnet.resolution
        self.supernet.activate(subnet)(torch.zeros(_TRIAL_BATCH, self.data.channels, side, side, device=self.device))

    def calibrated(self, model: torch.nn.Module, resolution: int, *, images: int | None = None) -> torch.nn.Module:
        limit = images or self.recipe.collect.calibration_images
        return calibrate(model, (batch for batch, _ in self.images("train", resolution, limit=limit)))
