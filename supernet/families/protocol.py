"""What the folder of a family must hold, and nothing else does: four files, of which ``model`` alone may need torch.

``space.py``: a class ``Space``, a ``SearchSpace`` with the layout as pydantic fields, its checks, and what
``SearchSpace`` says that a family supplies. ``presets.py``: ``PRESETS``, published spaces by name, as ``to_dict`` gives
them. ``operators.py``: ``FamilyOperators``. ``model.py``: ``FamilyModel``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from ofa.supernet.operators import Operators

if TYPE_CHECKING:
    from torch import nn

    from ofa.supernet.channel_sorting import ChannelGroup
    from ofa.supernet.relaxation.mixing.plan import MixingPlan


class FamilyOperators(Protocol):
    """The operators of each part of a network: all that its counted costs need to know of it."""

    # ``choices`` are the values of the genes that the part depends on (``SearchSpace.part_columns``), by their keys.

    def stem(self, space: Any, *, in_chans: int, **choices: Any) -> Operators: ...

    def block(self, space: Any, position: Any, **choices: Any) -> Operators:
        """Of one block."""

    def head(self, space: Any, *, num_classes: int, **choices: Any) -> Operators: ...


class FamilyModel(Protocol):
    """How networks are built by timm, and made to run as each other."""

    def describe(self, space: Any, subnet: Any, *, num_classes: int, in_chans: int) -> dict[str, Any]:
        """What timm needs to build ``subnet``, as JSON values; ``"class"`` is the space's ``timm_class``.

        ``subnet.json`` holds it, so that readers without ofa can build the network, too.
        """

    def build(
        self,
        description: dict[str, Any],
        *,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        device: str | None = None,
    ) -> nn.Module:
        """A plain timm model, freshly initialised, with its ``num_classes`` and ``in_chans``."""

    def make_elastic(self, model: nn.Module, space: Any) -> None:
        """Replaces the classes of the elastic leaves of the space's largest model, in place; see ``supernet.elastic``.

        State-dict keys stay timm's, and what the largest subnet computes stays what timm's model computes.
        """

    def activate(self, model: nn.Module, space: Any, subnet: Any) -> None:
        """Makes an elastic model run as ``subnet``."""

    def channel_groups(self, model: nn.Module, space: Any) -> Iterable[ChannelGroup]:
        """Which channels may be reordered together: who writes them, who reads them, how many each option keeps."""

    def mixing_plan(self, model: nn.Module, space: Any) -> MixingPlan:
        """Which genes weight which layer of an elastic model, for differentiable search; a family may lack it."""

    def parts(self, model: nn.Module) -> tuple[nn.Module, list[nn.Sequential], nn.Module]:
        """A plain model cut into stem, stages of blocks and head, sharing its layers: what is timed apart."""
