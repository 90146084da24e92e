"""Published spaces of this family, as data."""

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {}
