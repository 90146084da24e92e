"""``docs/recipe.md`` is made from the schema, and says of every key what is enforced."""

import math
import re
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import TypeAdapter, ValidationError

from ofa.config import reference
from ofa.config.recipe import Recipe
from ofa.config.yaml_text import parse_yaml

PAGE = Path(__file__).parents[3] / "docs" / "recipe.md"
SECTIONS = list(reference.sections())
KEYS = [(where, model, key) for where, model in SECTIONS for key in reference.keys(model)]
BOUNDED = [(f"{where}.{key.name}".lstrip("."), model, key) for where, model, key in KEYS if key.bounds]


def test_the_page_is_what_the_schema_says():
    assert PAGE.read_text() == reference.markdown(), f"docs/recipe.md is not of this schema; run: {reference.COMMAND}"


def test_every_key_has_one_sentence_and_says_what_it_takes():
    assert len(KEYS) > 90
    for where, _, key in KEYS:
        assert key.type, (where, key.name)
        assert re.fullmatch(r"[A-Z0-9a-z][^|\n]*\.", key.description), (where, key.name, key.description)
        assert ". " not in key.description and "``" not in key.description, (where, key.name)


def test_every_key_is_on_the_page():
    page = PAGE.read_text()
    for where, _, key in KEYS:
        section = re.split(r"^## ", page, flags=re.MULTILINE)
        (text,) = (part for part in section if part.startswith(f"`{where}`" if where else "The whole recipe"))
        assert f"| `{key.name}` |" in text


def accepts(adapter: TypeAdapter, value: float) -> bool:
    try:
        adapter.validate_python(value, strict=True)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(("name", "model", "key"), BOUNDED, ids=[name for name, _, _ in BOUNDED])
def test_the_ranges_shown_are_those_enforced(name, model, key):
    (field,) = (one for field_name, one in model.model_fields.items() if key.name in (field_name, one.alias))
    adapter = TypeAdapter(Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation)
    bounds, whole = key.bounds, key.type.startswith("whole number")
    below, above = (
        (bounds.low - 1, bounds.high + 1)
        if whole
        else (math.nextafter(bounds.low, -math.inf), math.nextafter(bounds.high, math.inf))
    )
    low = bounds.low if bounds.zero_or is None else bounds.zero_or
    if bounds.zero_or is not None:
        assert accepts(adapter, 0.0) and not accepts(adapter, math.nextafter(low, 0))
    assert accepts(adapter, low) and accepts(adapter, bounds.high)
    assert not accepts(adapter, below) and not accepts(adapter, above)
    assert reference.number(low) in key.range and key.range.endswith(f"to {reference.number(bounds.high)}")
    assert float(reference.number(low).replace(",", "")) == low  # nothing is lost by rounding
    assert float(reference.number(bounds.high).replace(",", "")) == bounds.high


def test_choices_shown_are_those_enforced():
    choices = [(where, model, key) for where, model, key in KEYS if key.type.startswith("choice")]
    assert len(choices) > 15
    for where, model, key in choices:
        (field,) = (one for name, one in model.model_fields.items() if key.name in (name, one.alias))
        adapter = TypeAdapter(Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation)
        for value in re.findall(r"`([^`]+)`", key.range):
            assert accepts(adapter, int(value) if value.isdigit() else value), (where, key.name, value)
        assert not accepts(adapter, "none of these")


@pytest.mark.parametrize("where", reference.EXAMPLES)
def test_the_examples_are_recipes(where):
    base = parse_yaml(reference.EXAMPLES[""], "example")
    Recipe.from_dict(base | parse_yaml(reference.EXAMPLES[where], where))
    assert where in dict(SECTIONS)
