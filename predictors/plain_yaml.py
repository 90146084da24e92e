"""YAML of other people, whose numbers are not allowed to cost time."""

from __future__ import annotations

from typing import Any

import yaml

MAX_PLAIN = 64  # characters of a number, date or truth value; what is longer is text


class PlainLoader(yaml.SafeLoader):
    """``safe_load`` that takes long scalars for text: PyYAML's patterns take a time that grows with the square of their
    length."""

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        if kind is yaml.ScalarNode and implicit[0] and len(value) > MAX_PLAIN:
            return "tag:yaml.org,2002:str"
        return super().resolve(kind, value, implicit)
