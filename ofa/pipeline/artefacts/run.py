"""``run.json``: what each stage of a run was made from, and what it wrote."""

from __future__ import annotations

from typing import Any

from pydantic import Field, StrictBool

from ofa.pipeline.artefacts.base import Value

Inputs = dict[str, Any]
Digests = dict[str, str]  # SHA-256 by the path inside the run folder


class StageEntry(Value):
    """A stage that was started; ``files`` when it is finished.

    Attributes:
        inputs: what it was made from, by parts; an older version of once-for-all kept one digest of all.
        files: what it wrote.
        logs: what grew while it ran, and is read by the report alone.
        seconds: how long it took.
        update: the user said ``--update``: it may discard what it made.
    """

    inputs: Inputs | str
    files: Digests | None = None
    logs: Digests = Field(default_factory=dict)
    seconds: float | None = None
    update: StrictBool = False

    def to_dict(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude_defaults=True)
