"""What is wrong with a recipe, in the user's words: pydantic's errors as dotted keys and plain sentences."""

from __future__ import annotations

import difflib
import json
import re
import types
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ofa.config.types import UNPRINTABLE
from ofa.errors import UserError
from ofa.supernet.space import SearchSpace

MAX_SHOWN = 20  # problems; those left out are shown when these are fixed
Problem = tuple[str, str]  # dotted key, what is wrong with it


def recipe_error(problems: Sequence[Problem], *, source: str, overridden: Sequence[str]) -> UserError:
    """The error that lists ``problems``, one a line.

    Each begins with ``source``, or with ``--set`` where one of the ``overridden`` keys is its key, or is inside or
    around it.
    """
    lines = []
    for key, text in problems[:MAX_SHOWN]:
        by_option = any(f"{key}.".startswith(f"{option}.") or option.startswith(f"{key}.") for option in overridden)
        shown = short_text(key)
        lines.append(f"--set {shown}: {text}" if by_option else f"{source}: {shown}: {text}")
    if len(problems) > MAX_SHOWN:
        lines.append(f"{source}: and {len(problems) - MAX_SHOWN} more problems")
    return UserError("\n".join(lines))


def invalid_keys(error: ValidationError, model: type[BaseModel], *, space: type[BaseModel]) -> list[Problem]:
    """Everything wrong with the values given for ``model``, whose ``SearchSpace`` is of the class ``space``."""
    # A list whose items are all wrong is reported as empty as well.
    found = [one for one in error.errors(include_url=False) if one["type"] != "too_short" or not one["input"]]
    # Each sentence takes a while, as it looks for what was meant; those that nobody will read are only counted.
    return [_problem(one, model, space) for one in found[:MAX_SHOWN]] + [("", "")] * (len(found) - MAX_SHOWN)


def _problem(details: ErrorDetails, model: type[BaseModel], space: type[BaseModel]) -> Problem:
    places = [place for place in details["loc"] if not re.fullmatch(r"<\w+>|\[key\]", str(place))]
    key = ".".join(map(str, places)) or "recipe"
    if details["type"] == "extra_forbidden":
        return key, f"unknown key{nearest(places[-1], _keys_at(model, places[:-1], space))}"
    if details["type"] == "missing":
        return key, "missing; it has no default"
    text = re.sub(r"^\w+ should |^Value error, ", lambda found: "must " if "should" in found[0] else "", details["msg"])
    text = (
        text.replace("a valid array", "a list")
        .replace("an object", "a mapping")
        .replace("a valid integer", "an integer")
    )
    text = re.sub(r" after validation, not [0-9]+", "", text.replace(" a valid ", " a "))
    if isinstance(details["input"], dict):
        return key, f"{text}; it is a mapping" if details["type"].endswith("_type") else text
    return key, f"{text}; it is {short(details['input'])}"


def short(value: Any) -> str:
    """``value`` as JSON in at most 60 characters, on one line."""
    return short_text(json.dumps(value, default=str, ensure_ascii=False))


def short_text(text: str) -> str:
    """``text`` in at most 60 characters, on one line."""
    text = UNPRINTABLE.sub("?", text)
    return text if len(text) <= 60 else f"{text[:57]}..."


def nearest(word: Any, allowed: Iterable[str], *, label: str = "Allowed") -> str:
    """The end of a sentence about a ``word`` that is none of ``allowed``: the one that was likely meant, then all."""
    close = difflib.get_close_matches(str(word)[:60], list(allowed), n=1)
    guess = f'; did you mean "{close[0]}"?' if close else "."
    return f"{guess} {label}: {', '.join(allowed)}"


def _keys_at(model: type[BaseModel], places: Sequence[str | int], space: type[BaseModel]) -> list[str]:
    """The keys that the section of ``model`` at ``places`` may have."""
    kind: Any = model
    for place in places:
        kind = _child(kind, place)
        kind = space if kind is SearchSpace else kind
    section = next(
        option for option in type_options(kind) if isinstance(option, type) and issubclass(option, BaseModel)
    )
    return [field.alias or name for name, field in section.model_fields.items()]


def _child(kind: Any, place: str | int) -> Any:
    for option in type_options(kind):
        if get_origin(option) is tuple and isinstance(place, int):
            return get_args(option)[0]
        if get_origin(option) is dict:
            return get_args(option)[1]
        if isinstance(option, type) and issubclass(option, BaseModel):
            for name, field in option.model_fields.items():
                if place == (field.alias or name):
                    return field.annotation
    raise LookupError(f"{kind} has nothing at {place!r}")


def type_options(kind: Any) -> list[Any]:
    """The types that a union or annotated type stands for."""
    if get_origin(kind) is Annotated:
        return type_options(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return [option for part in get_args(kind) for option in type_options(part)]
    return [kind]
