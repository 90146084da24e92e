"""``relax/TARGET.json``: what a differentiable search learned for a target, epoch by epoch."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from ofa.pipeline.artefacts.base import Artefact, SubnetValue, Value


class GeneOptions(Value):
    """A gene of the space by its name among all of them, and its options in words."""

    name: str
    options: tuple[str, ...]


class RelaxedEpoch(Value):
    """An epoch of the search.

    Attributes:
        loss: of the weights, the mean over the epoch's batches; None without images.
        entropy: of the probabilities, the mean over the genes: 1 where all options are alike, 0 where all is chosen.
        skip_share: of the choices that can skip something, those that most probably do; None where there are none.
        costs: expected of a network drawn by the probabilities, by cost.
        chosen: id of the most probable network inside the limits.
        probabilities: of each gene's options, in the order of ``Relaxation.genes``.
    """

    epoch: int
    loss: float | None = None
    entropy: float
    skip_share: float | None = None
    costs: dict[str, float] = Field(default_factory=dict)
    chosen: str
    probabilities: tuple[tuple[float, ...], ...]


class GapAccuracies(Value):
    """The discretisation gap: shares of the validation images that are told right.

    Attributes:
        relaxed: by the network whose choices are weighted.
        inherited: by the most probable network inside the limits, with the search's weights as they are.
        calibrated: by the same with batch norm statistics of its own.
        supernet: by that network with the trained supernet's weights, calibrated: what the run goes on with.
    """

    relaxed: float
    inherited: float
    calibrated: float
    supernet: float


class Relaxation(Value):
    """A differentiable search.

    Attributes:
        method: a key of ``ofa.supernet.relaxation.methods.METHODS``.
        epochs: that were asked for; ``history`` has those that were run.
        architecture_share: of the training images, that taught the architecture.
        alternates: whether each image taught both, in different epochs.
        subnet, id: the most probable network inside the limits.
        stopped: why the search ended early.
        warnings: sentences on what went wrong: a collapse, parameters that did not move.
    """

    method: str
    epochs: int
    architecture_share: float
    alternates: bool
    limits: dict[str, float]
    genes: tuple[GeneOptions, ...]
    history: tuple[RelaxedEpoch, ...]
    subnet: SubnetValue
    id: str
    accuracies: GapAccuracies
    stopped: str | None = None
    warnings: tuple[str, ...] = ()


class RelaxationRecord(Artefact, Relaxation):
    """Targets with equal limits on equal tables share ``folder``, below ``relax/``, in which the architecture
    parameters are; ``architecture`` is the SHA-256 of their file.

    ``made_from``: a digest of all that this was made from but the limits, which the folder's name tells apart.
    """

    FILE: ClassVar[str] = "relax/{target}.json"
    STAGE: ClassVar[str] = "relax"

    folder: str
    architecture: str
    made_from: str
