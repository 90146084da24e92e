"""Recipes changed at random, as somebody careless or hostile would: for tests and ``benchmarks/fuzz_recipes.py``."""

from __future__ import annotations

import copy
import itertools
import json
import random
from collections.abc import Iterable
from typing import Any

from ofa.config.recipe_file import dump_yaml, find_recipe, load_recipe

SHIPPED = ("fashion_mnist", "fashion_mnist_devices", "image_folder", "imagenet_ofa_mbv3", "quickstart")
HOSTILE: tuple[Any, ...] = (
    *(0, -1, 1, 2, 3, 127, 128, 2**31, 2**32, 2**63, 2**64, 10**30, -(2**63)),
    *(0.0, -0.0, 5e-324, 1e-300, 1e-30, 1e-9, 1e-3, 0.5, 0.999999999, 1.0, 1.5, 1e9, 1e30, 1e308, 1.7e308),
    *(float("inf"), float("-inf"), float("nan")),
    *(True, False, None, "", " ", "x", "0.5x", "1e308x", "0x", "1x", "~", "~nobody/x", "..", "con", "nul.txt", "a/b"),
    *("\0", "a\nb", "a\u2028b", "\u202eabc", "é" * 200, "a" * 300, "9" * 5000, "<b>", "-rf", "rand-m9-n999-w999"),
    *("rand-m9-mstd0.5", "augmix-m3-w3", "rand-x", "3a-m", "sgd", "adamw", "lamb", "rmsprop", "linear", "int8", "tflm"),
    *("random", "sandwich", "attentive", "progressive_shrinking", "in_place", "full", "best_up", "torch", "litert"),
    *([], [[]], {}, [1], [3, 5], [1, 2, 3, 4], [0.3, 3], list(range(1, 200)), {"a": {}}, [{}], [None], [1e308]),
)


def bases() -> list[dict[str, Any]]:
    """The shipped recipes with every key written out."""
    return [load_recipe(find_recipe(name)).to_dict() for name in SHIPPED]


def places(values: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value inside ``values``."""
    items = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    return [way for key, value in items for way in [(*here, key), *places(value, (*here, key))]]


def mutated(base: dict[str, Any], rng: random.Random, *, changes: int) -> dict[str, Any]:
    """A copy of ``base`` with so many values replaced, scaled, removed, repeated or added."""
    values = copy.deepcopy(base)
    for _ in range(changes):
        ways = places(values)
        if not ways:
            break
        *way, last = rng.choice(ways)
        parent = values
        for key in way:
            parent = parent[key]
        _change(parent, last, rng)
    return values


def _change(parent: Any, key: Any, rng: random.Random) -> None:
    value = parent[key]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    kind = rng.random()
    if number and kind < 0.5:
        scaled = value * rng.choice((0.1, 0.5, 0.9, 1.1, 2, 3, 10, 100))
        parent[key] = round(scaled) if isinstance(value, int) and rng.random() < 0.9 else scaled
    elif isinstance(value, bool) and kind < 0.5:
        parent[key] = not value
    elif isinstance(value, list) and kind < 0.5:
        parent[key] = rng.choice((value[:1], value[:-1], value * 2, value + value[-1:], value[::-1], value * 40))
    elif kind < 0.85:
        parent[key] = copy.deepcopy(rng.choice(HOSTILE))
    elif kind < 0.93:
        del parent[key]
    elif isinstance(parent, dict):
        parent[rng.choice(("x", "epohcs", "", "a.b", "\0", "k" * 300))] = value


def text_of(values: dict[str, Any], rng: random.Random) -> bytes:
    """``values`` as YAML or JSON; of every third file some bytes are damaged."""
    text = json.dumps(values) if rng.random() < 0.2 else dump_yaml(values)
    content = bytearray(text.encode("utf-8", errors="surrogatepass"))
    if rng.random() < 0.33:
        for _ in range(rng.randint(1, 5)):
            at = rng.randrange(len(content))
            piece = bytes(content[at : at + rng.randint(1, 200)])
            damage = (b"\t", b"\0", b"\xff", b"*a", b"&a ", b"<<: ", b"!!int ", b"[", b"{", b"'", b": ", b"\n", b"")
            content[at : at + rng.randint(0, 3)] = rng.choice((*damage, piece, piece * 20))
    return bytes(content)


def _lines(lines: Iterable[str]) -> bytes:
    return "\n".join(lines).encode()


BOMBS: dict[str, bytes] = {
    "aliases": _lines(
        ["a: &a [x, x, x, x, x, x, x, x, x]"]
        + [f"{n}: &{n} [{', '.join(9 * [f'*{m}'])}]" for m, n in itertools.pairwise("abcdefghi")]
    ),
    "aliases in a chain": _lines(["a0: &a0 [x]"] + [f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 900)]),
    "merges": _lines(["a: &a {x: 1}"] + [f"a{n}: {{<<: [{', '.join(60 * ['*a'])}]}}" for n in range(99)]),
    "an alias in itself": b"a: &a {b: *a}\n",
    "a merge of itself": b"a: &a {<<: *a}\n",
    "long number": b"seed: " + b"1" * 60_000,
    "long float": b"seed: " + b"1" * 4_900 + b"e",
    "long sexagesimal": b"seed: 1" + b":59" * 1_500,
    "many numbers": b"seed: [" + b"11111111111111111111111111111111111111111111111111111111111111e," * 900 + b"]",
    "long text": b"name: '" + b"a" * 200_000 + b"'",
    "long key": b"'" + b"k" * 900 + b"': 1",
    "deep list": b"a: " + b"[" * 60_000,
    "deep mapping": b"a: " + b"{a: " * 15_000,
    "deep blocks": b"".join(b" " * n + b"a:\n" for n in range(300)),
    "dashes": b"- " * 30_000,
    "many keys": b"\n".join(f"k{n}: 1".encode() for n in range(6_000)),
    "unknown keys": b"\n".join(f"epochs{n}: 1".encode() for n in range(2_000)),
    "tag": b"a: !!int ''",
    "timestamp": b"a: 2001-99-99",
    "surrogate": b'a: "\\ud800"',
    "merge of a number": b"<<: 3",
    "UTF-16": "name: x".encode("utf-16"),
    "two documents": b"a: 1\n---\nb: 2",
    "directives": b"%YAML 9.9\n%TAG ! x\n---\na: 1",
    "binary": bytes(range(256)),
    "empty": b"",
}
