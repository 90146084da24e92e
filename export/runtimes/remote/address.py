"""The form of a device's address: ``ssh:HOST`` (a name, ``user@name`` or an entry of ``~/.ssh/config``), ``adb``, or
``adb:SERIAL``. Imports nothing, so that a recipe is checked at once.
"""

from __future__ import annotations

import re

_ADDRESS = re.compile(r"ssh:[^\s-]\S*|adb(:[^\s-]\S*)?")


def valid_address(address: str) -> bool:
    """Whether it has the form of an address. What begins with ``-`` would be an option of ssh or adb."""
    return re.fullmatch(_ADDRESS, address) is not None
