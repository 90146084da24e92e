"""The page's colours can be read, in light and dark."""

import re

import pytest

from ofa.report.style import STYLE


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_can_be_read(theme):
    blocks = dict(zip(("light", "dark"), re.findall(r":root\{(.*?)\}", STYLE, re.S), strict=True))
    named = {name: dict(re.findall(r"--(\w+):(#\w+)", block)) for name, block in blocks.items()}
    assert named["light"].keys() == named["dark"].keys()
    used = set(re.findall(r"var\(--(\w+)\)", STYLE)) - {"c"}
    assert used <= named["light"].keys()

    def luminance(colour):
        digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
        parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(one, other):
        low, high = sorted((luminance(named[theme][one]), luminance(named[theme][other])))
        return (high + 0.05) / (low + 0.05)

    # Web Content Accessibility Guidelines 2.1: 4.5 for text, 3 for what is drawn.
    assert all(contrast(text, back) >= 4.5 for text in ("fg", "soft", "limit") for back in ("bg", "panel"))
    assert all(contrast(f"c{number}", "panel") >= 3 for number in range(7))
