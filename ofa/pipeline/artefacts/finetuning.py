"""``finetune/TARGET.json``: what training a target's own network further has changed."""

from __future__ import annotations

from typing import ClassVar

from ofa.pipeline.artefacts.base import Artefact, Value


class Scores(Value):
    """Of a network on the validation images: a share of them, and the mean cross-entropy in nats."""

    accuracy: float
    loss: float


class Finetuned(Value):
    """How a network was trained further, and its scores before and after.

    Attributes:
        lr: the peak of the learning rate.
        kept: whether the target has what came out, which was better; else it has the network as it was.
        diverged: where training ended early, with no finite weights; there is no ``after`` then.
    """

    epochs: int
    lr: float
    kept: bool
    before: Scores
    after: Scores | None = None
    diverged: str | None = None


class FinetuningRecord(Artefact, Finetuned):
    """Targets with one network and the same settings share ``network``: the folder below ``finetune/`` that its weights
    are in, of which ``weights`` is the SHA-256.

    ``made_from``: a digest of all that this was made from.
    """

    FILE: ClassVar[str] = "finetune/{target}.json"
    STAGE: ClassVar[str] = "finetune"

    id: str
    network: str
    weights: str
    made_from: str
