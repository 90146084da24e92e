"""The error for optional packages that an export needs and that are not installed."""

from __future__ import annotations


def missing(package: str, extra: str) -> ValueError:
    """The error for a package that is not installed, with the line that installs it."""
    return ValueError(f"{package} is not installed: pip install 'once-for-all[{extra}]'")
