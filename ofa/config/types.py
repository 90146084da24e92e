"""What the sections of a recipe are made of: numbers between bounds, text on one line, paths.

Every number has a smallest and a largest value. A stage works with everything between them, and what lies outside is a
mistake or an attack.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag

MAX_COUNT = 1_000_000
MAX_EPOCHS = 10_000
MAX_IMAGES = 1_000_000_000
MAX_TEXT = 300
MAX_FILE_NAME = 255  # bytes; the usual file systems' own bound
MAX_PATH = 4000
MIN_FRACTION = 1e-6
# Control characters, line and paragraph separators, what turns the direction of text, halves of characters.
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# Names that Windows keeps for devices, whatever follows the first dot.
_DEVICES = r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?"


@dataclass(frozen=True)
class ZeroOr:
    """Of a number's type: 0, or at least ``low``. Beside what enforces it, so that it can be shown."""

    low: float


@dataclass(frozen=True)
class Takes:
    """What a key takes, in words for ``docs/recipe.md``, where its Python type does not say it."""

    type: str
    range: str = ""
    default: str = ""  # where that is no value of its own


def whole(low: int, high: int) -> Any:
    """The type of an integer from ``low`` to ``high``."""
    return Annotated[int, Field(ge=low, le=high)]


def real(low: float, high: float) -> Any:
    """The type of a number from ``low`` to ``high``."""
    return Annotated[float, Field(ge=low, le=high)]


def zero_or(low: float, high: float) -> Any:
    """The type of a number that is 0 or from ``low`` to ``high``: what is nearly 0 breaks divisions and draws."""

    def checked(value: float) -> float:
        if value and value < low:
            raise ValueError(f"must be 0, or at least {low:g}")
        return value

    return Annotated[float, Field(ge=0, le=high), AfterValidator(checked), ZeroOr(low)]


def reserved(name: str) -> bool:
    """Whether Windows cannot have a file or folder of this name."""
    return re.fullmatch(_DEVICES, name) is not None


def as_fraction(text: str) -> float | None:
    """``"0.5x"`` as 0.5; ``None`` when it is not a fraction above 0x and up to 1x."""
    match = re.fullmatch(r"([0-9]{0,20}\.?[0-9]{1,20}|[0-9]{1,20}\.)x", text)
    return float(match[1]) if match and MIN_FRACTION <= float(match[1]) <= 1 else None


def _share(value: str) -> str:
    if as_fraction(value) is None:
        raise ValueError("must be a share of the supernet's such as 0.1x, or a number")
    return value


def number_or_share(number: Any) -> Any:
    """The type of a number, or of a share of what the supernet has."""
    share = Annotated[str, AfterValidator(_share), Takes("text", "a share such as `0.1x`")]
    options = Annotated[share, Tag("<share>")] | Annotated[number, Tag("<number>")]
    return Annotated[options, Discriminator(lambda value: "<share>" if isinstance(value, str) else "<number>")]


def _one_line(value: str) -> str:
    value = value.strip()
    if not value or UNPRINTABLE.search(value):
        raise ValueError("must be text on one line without control characters")
    if len(value) > MAX_TEXT:
        raise ValueError(f"must have at most {MAX_TEXT} characters, not {len(value)}")
    return value


def _usable_path(path: Path) -> Path:
    text = str(path)
    if UNPRINTABLE.search(text) or any(len(part.encode()) > MAX_FILE_NAME for part in path.parts):
        raise ValueError(f"must be a path without control characters, of names up to {MAX_FILE_NAME} bytes")
    if len(text) > MAX_PATH:
        raise ValueError(f"must have at most {MAX_PATH} characters, not {len(text)}")
    try:
        return path.expanduser().absolute()
    except RuntimeError as error:
        raise ValueError(f"{path.parts[0]} is not a user of this machine") from error


Count = whole(1, MAX_COUNT)
Epochs = whole(1, MAX_EPOCHS)
LearningRate = real(1e-9, 1e3)
Positive = real(1e-9, 1e9)
Probability = zero_or(1e-6, 1)
Share = real(1e-6, 1 - 1e-6)
Text = Annotated[str, AfterValidator(_one_line), Takes("text", f"at most {MAX_TEXT} characters")]
Absolute = Annotated[Path, AfterValidator(_usable_path), Takes("path")]


class Section(BaseModel):
    """Frozen; a key it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
