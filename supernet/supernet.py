"""The supernet: the largest network of a space, able to run as any of its subnets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ofa.supernet import families
from ofa.supernet.channel_sorting import sort_channels
from ofa.supernet.extract import assign_state, build_empty, extract_state
from ofa.supernet.images import tell_images
from ofa.supernet.relaxation.mixing.checks import check_plan, check_weights
from ofa.supernet.relaxation.mixing.plan import MixingPlan
from ofa.supernet.relaxation.mixing.swap import mix, restored
from ofa.supernet.space import SearchSpace, Subnet


class Supernet(nn.Module):
    """A timm model whose leaves were made elastic.

    ``net.model`` is the timm model: its state-dict keys are timm's, plus the kernel transforms, and the
    ``alternatives`` of blocks in whose place others may run. A new supernet is active as its largest subnet, and then
    equals the timm model that it was made from. ``net.active`` is the subnet that it runs as.

    ``net.opened`` says which options the weights were trained with: how many of each role, counted from the largest,
    and 1 of a role that is not named. Training keeps it up to date; channels are sorted only as far as it allows.

    Args:
        space: the search space.
        num_classes, in_chans: of the classifier and the images.
        drop_rate: dropout before the classifier while training.
        drop_path_rate: stochastic depth of the last block while training; earlier blocks have proportionally less.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        num_classes: int,
        in_chans: int = 3,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.space, self.num_classes, self.in_chans = space, num_classes, in_chans
        self.model = self.family.build(self.describe(space.largest), drop_rate=drop_rate, drop_path_rate=drop_path_rate)
        self.family.make_elastic(self.model, space)
        self.to(memory_format=torch.channels_last)
        self.opened: dict[str, int] = {}
        self.active = space.largest
        self.pretrained_cfg: dict | None = None  # see ``tell_images``

    @classmethod
    def from_timm(
        cls,
        name_or_model: str | nn.Module,
        *,
        pretrained: bool = False,
        elastic: Mapping[str, Any] | None = None,
        num_classes: int | None = None,
        in_chans: int | None = None,
        arguments: Mapping[str, Any] | None = None,
        **rates: float,
    ) -> Supernet:
        """A supernet whose largest subnet is a timm model, bit for bit, with its weights.

        Args:
            name_or_model: timm's name, or a model that ``timm.create_model`` built; it is left as it is.
            pretrained: download timm's weights of that name.
            elastic: what may be chosen: see ``ofa.supernet.derived.derive.Elastic``.
            num_classes, in_chans: of the classifier and the images; default: the model's own. Another number of
                classes gets a new classifier.
            arguments: of ``timm.create_model``, where the model needs some.
            rates: ``drop_rate``, ``drop_path_rate``.

        Raises ``ValueError`` for a model that is not supported, naming what is.
        """
        from ofa.supernet.derived.start import in_chans_of, named_model, space_of, take_weights

        head, options = {"num_classes": num_classes, "in_chans": in_chans}, dict(arguments or {})
        model = named_model(name_or_model, pretrained=pretrained, arguments=options, **head)
        space = space_of(model, elastic or {}, options)
        net = cls(space, num_classes=model.num_classes, in_chans=in_chans_of(model), **rates)
        take_weights(net, model)
        return net

    @property
    def family(self) -> ModuleType:
        return families.model(self.space.family)  # not kept: a module (of Python) cannot be copied with the network

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(batch, num_classes)`` of images ``(batch, in_chans, height, width)`` by the active subnet."""
        return self.model(x.contiguous(memory_format=torch.channels_last))

    def forward_mixed(self, x: Tensor, weights: Sequence[Tensor]) -> Tensor:
        """Logits of all subnets at once: of a superposition of them, at about the memory and time of the largest.

        ``weights`` ``(options,)``, one vector a gene, say how much of each option runs; with one-hot weights this is
        what the subnet of these options computes, batch statistics included. They are differentiable. Which subnet is
        active does not matter, and stays as it is.

        Raises ``ValueError`` for weights that do not fit the genes, and as ``mixing_plan`` does.
        """
        check_weights(self.space.genes, weights)
        with restored(self.model):
            self.family.activate(self.model, self.space, self.space.largest)
            mix(self.model, self.mixing_plan, weights)
            return self(x)

    def check_mixable(self) -> None:
        """Raises ``ValueError`` naming a choice, or a layer, that ``forward_mixed`` cannot weight."""
        _ = self.mixing_plan

    @cached_property
    def mixing_plan(self) -> MixingPlan:
        """Which genes weight which layer. Raises ``ValueError`` naming a choice that cannot be weighted, or a layer."""
        if not hasattr(self.family, "mixing_plan"):
            raise ValueError(
                f"networks of the family {self.space.family} cannot be relaxed: its model.py lacks mixing_plan"
            )
        plan = self.family.mixing_plan(self.model, self.space)
        check_plan(plan, self.model, self.space.genes)
        return plan

    def forward_intermediates(self, x: Tensor, **options: Any) -> Any:
        """timm's ``forward_intermediates`` of the active subnet, for tasks that need feature maps.

        With ``intermediates_only=True`` a list of maps ``(batch, channels, height, width)``, the finest first; the
        extracted model's own ``forward_intermediates`` gives the same. ``options`` are timm's.
        """
        return self.model.forward_intermediates(x.contiguous(memory_format=torch.channels_last), **options)

    def activate(self, subnet: Subnet) -> Supernet:
        """Runs as ``subnet`` from now on; returns itself. Raises ``ValueError`` when it is not of this space."""
        self.space.encode(subnet)
        self.family.activate(self.model, self.space, subnet)
        self.active = subnet
        return self

    def extract(self, subnet: Subnet) -> nn.Module:
        """``subnet`` as an ordinary timm model with its own copy of the weights, in eval mode, channels_last.

        In eval mode it computes exactly what ``activate(subnet)`` does. Calibrate it before use.
        Its ``pretrained_cfg``, which ``timm.data.resolve_model_data_config`` reads, tells the size of its images, and
        how they are made if ``tell_images`` was called for the supernet.
        """
        self.space.encode(subnet)
        description = self.describe(subnet)
        target = build_empty(description)
        target.description = description  # what ``save_subnet`` writes
        tell_images(target, subnet.resolution, **(self.pretrained_cfg or {}))
        assign_state(target, extract_state(self.model, target, replaced=self.space.replaced(subnet)))
        return target.to(memory_format=torch.channels_last).eval()

    def describe(self, subnet: Subnet) -> dict:
        """What timm needs to build ``subnet``, as JSON values."""
        return self.family.describe(self.space, subnet, num_classes=self.num_classes, in_chans=self.in_chans)

    def sort_channels(self, *, num_open: Mapping[str, int] | None = None) -> None:
        """Moves important channels to the front. Of each role the ``num_open`` largest options (1 unless named) keep
        what they were trained to do; by default those that were trained: ``opened``."""
        groups = self.family.channel_groups(self.model, self.space)
        sort_channels(groups, num_open=self.opened if num_open is None else num_open)

    def no_weight_decay(self) -> set[str]:
        """Parameters that timm's optimizers must not decay, besides biases and norms.

        They are those that timm names, such as a position embedding, and the kernel transforms: decay pulls them to
        zero, and they start at the identity.
        """
        of_model = getattr(self.model, "no_weight_decay", set)()
        transforms = {name for name, _ in self.named_parameters() if ".transforms." in name}
        return transforms | {f"model.{name}" for name in of_model}
