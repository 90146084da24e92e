"""Recipes from somebody else: a sentence or a recipe, never a traceback, a wait or a full memory."""

import os
import random
import time
import tracemalloc

import pytest
from recipe_mutations import BOMBS, bases, mutated, text_of

from ofa.config.recipe_file import load_recipe
from ofa.config.yaml_text import parse_yaml
from ofa.errors import UserError

MUTANTS = 240
GOOD = "space: tiny_mbv3\ntrain: {epochs: 2, lr: 0.1}\ntargets: {phone: {limits: {latency: 0.5x}}}\n"


def outcome(path, content, overrides=()):
    """None when the file was a recipe, else what was said about it."""
    path.write_bytes(content)
    try:
        recipe = load_recipe(path, overrides=overrides)
    except UserError as error:
        assert str(error)
        assert len(str(error)) < 10_000
        return str(error)
    assert type(recipe).from_dict(recipe.to_dict()) == recipe
    return None


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_neither_time_nor_memory(tmp_path, name):
    tracemalloc.start()
    started = time.process_time()
    assert outcome(tmp_path / "my.yaml", BOMBS[name])
    assert time.process_time() - started < 10  # traced; alone these take a tenth of it
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


def test_mutated_recipes_are_recipes_or_refused_in_sentences(tmp_path):
    rng, originals = random.Random(11), bases()
    accepted = 0
    for _ in range(MUTANTS):
        values = mutated(rng.choice(originals), rng, changes=rng.randint(1, 2))
        accepted += outcome(tmp_path / "my.yaml", text_of(values, rng)) is None
    assert MUTANTS // 20 < accepted < MUTANTS // 2


@pytest.mark.parametrize(
    "option",
    [
        "train=" + "[" * 9000,
        "train.lr=" + "1" * 60_000,
        "a." * 5000 + "b=1",
        "train.phases." + "9" * 6000 + "=1",
        "train.lr=&a [*a]",
        "train.lr=!!int ''",
        'train.lr="\\ud800"',
        "\0=1",
        "name=" + "a" * 5001,
    ],
)
def test_options_are_bounded_as_files_are(tmp_path, option):
    said = outcome(tmp_path / "my.yaml", GOOD.encode(), [option])
    assert said.startswith("--set ")
    assert len(said) < 500


def test_aliases_and_merges_of_an_honest_size_are_read():
    text = "a: &a {x: 1, y: [2, 3]}\nb: {<<: *a, x: 4}\nc: [*a, *a]"
    assert parse_yaml(text, "x") == {
        "a": {"x": 1, "y": [2, 3]},
        "b": {"x": 4, "y": [2, 3]},
        "c": [{"x": 1, "y": [2, 3]}, {"x": 1, "y": [2, 3]}],
    }


def test_endless_files_and_pipes_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    for path in (tmp_path / "pipe.yaml", "/dev/zero"):
        with pytest.raises(UserError, match="not a file"):
            load_recipe(path)
