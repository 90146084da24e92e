"""What the JSON files of a run have in common: frozen typed values, a number for their format, one way in and out.

A file without the key ``format`` is of format 1, which every version of once-for-all has written so far. A key that was
added later has a default. A change that no default can bridge gets the next number, and ``load`` either reads the older
format or refuses it by name. (The key is not called ``version``: beside the name of a runtime that is the runtime's.)
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationError

from ofa.errors import UserError
from ofa.supernet.files import read_json, write_json
from ofa.supernet.space import Subnet


class Value(BaseModel):
    """A part of an artefact. A default that was not given explicitly is not written."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return self.model_dump(mode="json", exclude_unset=True)


class OpenValue(Value):
    """A part that keeps keys it does not know: figures of a cost, or of an environment that only its runtime knows."""

    model_config = ConfigDict(extra="allow")


class Artefact(Value):
    """One JSON file of a run folder.

    Attributes:
        FORMAT: the number of the format that is written, and the highest that is read.
        FILE: its place in the run folder, with ``{target}`` where each target has one.
        STAGE: the stage that makes it.
    """

    FORMAT: ClassVar[int] = 1
    FILE: ClassVar[str]
    STAGE: ClassVar[str]

    @classmethod
    def path(cls, folder: Path, target: str = "") -> Path:
        return Path(folder) / cls.FILE.format(target=target)

    @classmethod
    def load(cls, folder: Path, target: str = "") -> Self:
        """From a run folder. Raises ``UserError`` naming the file that is missing, damaged or of a newer version."""
        path, remedy = cls.path(folder, target), f"`ofa {cls.STAGE} {shlex.quote(str(folder))}`"
        try:
            values = read_json(path)
        except FileNotFoundError as error:
            raise UserError(f"{path} is missing; {remedy} makes it") from error
        except ValueError as error:
            raise UserError(f"{error}; {remedy} makes it anew") from error
        number = values.pop("format", 1) if isinstance(values, dict) else 1
        if isinstance(number, int) and number > cls.FORMAT:
            raise UserError(
                f"{path} is of format {number}, which a newer version of once-for-all writes (this one reads up to "
                f"{cls.FORMAT}); install that version, or let {remedy} make it anew"
            )
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            key = ".".join(map(str, first["loc"]))
            problem = f"{key}: {first['msg']}" if key else first["msg"]
            raise UserError(f"{path} is damaged: {problem}; {remedy} makes it anew") from error

    @classmethod
    def readable(cls, folder: Path) -> Iterator[Self]:
        """Those of all targets that a run folder has, by name; damaged ones are left out: they are made anew."""
        for path in sorted(cls.path(folder, "*").parent.glob("*.json")):
            try:
                yield cls.load(folder, path.stem)
            except UserError:
                continue

    def save(self, folder: Path, target: str = "") -> Path:
        """Writes it atomically; returns the path."""
        path = self.path(folder, target)
        write_json(path, {"format": self.FORMAT, **self.to_dict()})
        return path


def _subnet(value: Any) -> Any:
    return Subnet.from_dict(value) if isinstance(value, dict) else value


# In a file a subnet is the mapping of ``Subnet.to_dict``.
SubnetValue = Annotated[Subnet, BeforeValidator(_subnet), PlainSerializer(Subnet.to_dict)]
