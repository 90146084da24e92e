"""Reads YAML of users safely: long scalars are text, because parsing them as numbers can take very long."""

from __future__ import annotations

from typing import Any

import yaml

MAX_PLAIN = 64  # characters of a number, date or boolean; longer scalars are text


class PlainLoader(yaml.SafeLoader):
    """``SafeLoader`` that reads long scalars as text.

    The time of PyYAML's patterns grows with the square of a scalar's length.
    """

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        if kind is yaml.ScalarNode and implicit[0] and len(value) > MAX_PLAIN:
            return "tag:yaml.org,2002:str"
        return super().resolve(kind, value, implicit)
