"""YAML as recipes use it, read so that a file from somebody else costs neither time nor memory.

A recipe is a small tree of mappings, lists, numbers and text. Everything larger or cleverer is refused while it is
being read: long files and scalars before they are understood, aliases before what they stand for is copied.
"""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from ofa.config.types import UNPRINTABLE
from ofa.errors import UserError
from ofa.predictors.plain_yaml import PlainLoader

MAX_BYTES = 64 * 1024  # of a file or an option; the longest shipped recipe has 3 KiB
MAX_LEVELS = 20  # of lists and mappings within each other
MAX_NODES = 5_000  # values and keys, where an alias counts as what it stands for
MAX_SCALAR = 5_000  # characters of a value: a long path
# YAML 1.2 reads 5e6 and 1e-3 as numbers. No two parts of the pattern can match the same characters.
_FLOAT = re.compile(r"^[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$")


class _Loader(PlainLoader):
    """``safe_load`` with the bounds above, without tags and without keys that are given twice."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._sizes: dict[yaml.Node, tuple[int, int]] = {}  # nodes and levels, aliases copied

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        if self._depth > MAX_LEVELS:
            raise _refused(event, f"nested deeper than {MAX_LEVELS} levels")
        if getattr(event, "tag", None) not in (None, "!"):
            raise _refused(event, f"the tag {event.tag[:40]}; a recipe has none, so leave it out")
        if isinstance(event, yaml.ScalarEvent):
            if len(event.value) > MAX_SCALAR:
                raise _refused(event, f"a value of {len(event.value)} characters; the limit is {MAX_SCALAR}")
            if surrogate := re.search("[\ud800-\udfff]", event.value):
                raise _refused(event, f"the character U+{ord(surrogate[0]):04X}; remove it")
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        if isinstance(event, yaml.AliasEvent) and node not in self._sizes:
            raise _refused(event, f"*{event.anchor[:40]} refers to a value that contains it")
        size, levels = self._sizes[node] = self._size(node)
        if size > MAX_NODES:
            raise _refused(event, f"more than {MAX_NODES} values, with aliases counted in full")
        if self._depth + levels > MAX_LEVELS + 1:
            raise _refused(event, f"nested deeper than {MAX_LEVELS} levels")
        return node

    def _size(self, node: yaml.Node) -> tuple[int, int]:
        if isinstance(node, yaml.ScalarNode):
            return 1, 1
        children = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
        sizes = [self._sizes[child] for child in children]
        return 1 + sum(size for size, _ in sizes), 1 + max((levels for _, levels in sizes), default=0)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or not re.search(r":(str|merge)$", key.tag):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key that is not text; put it in quotes", key.start_mark
                )
            if key.value in seen:
                text = f'"{key.value[:60]}" is given twice'
                raise yaml.constructor.ConstructorError(None, None, text, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """``safe_dump`` that puts text in quotes where ``_Loader`` would read a number."""


for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))


def _refused(event: yaml.Event, text: str) -> yaml.MarkedYAMLError:
    return yaml.composer.ComposerError(None, None, text, event.start_mark)


def dump_yaml(values: dict[str, Any]) -> str:
    """``Recipe.to_dict()`` as the text of a recipe file."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def parse_yaml(text: str, source: str) -> Any:
    """The plain values of ``text``; ``source`` names it in messages.

    Raises ``UserError`` naming line and column of what is no YAML, or more than a recipe has.
    """
    if len(text) > MAX_BYTES:
        raise UserError(f"{source}: too long for a recipe; the limit is {MAX_BYTES} characters")
    try:
        # The round trip through JSON gives every part its own object where YAML's aliases share one.
        return json.loads(json.dumps(_Loader(text).get_single_data(), default=str))
    except yaml.reader.ReaderError as error:
        before = text[: error.position].split("\n")
        place = f"line {len(before)}, column {len(before[-1]) + 1}"
        raise UserError(
            f"{source}: {place}: not valid YAML: the character U+{error.character:04X}; remove it"
        ) from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" line {mark.line + 1}, column {mark.column + 1}:" if mark else ""
        reason = UNPRINTABLE.sub("?", str(getattr(error, "problem", None) or error))
        raise UserError(f"{source}:{place} not valid YAML: {reason[:300]}") from error
