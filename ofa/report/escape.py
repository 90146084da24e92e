"""Text that somebody else wrote (names of classes, targets and recipes, licences, paths) in what we write.

One function for each kind of output. Each shows what the text is, and none lets it become markup, code, a second line
or a command to the terminal.
"""

from __future__ import annotations

import html as _html
import re
import unicodedata
from typing import Any

# Joiners that scripts and emoji need; every other invisible character is shown by its number.
_JOINERS = "\u200c\u200d"
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
# Words that some Markdown turns into a link, a mention or a picture, whatever is escaped in them: addresses, domains
# and files, @names, :names:.
_LINKED = re.compile(r"@|://|www\.|mailto:|xmpp:|:\w+:|[^\W\d_]\.[^\W\d_]{2}", re.IGNORECASE)
# Signs that are markup inside a line: always, or beside what follows or precedes them.
_MARKUP = re.compile(r"^#|[\\*~$]|(?<![^\W_])_|_(?![^\W_])|&(?=[#A-Za-z])")
# Those that some readers look for before backslashes are understood: tables are cut at pipes even in code.
_ENTITIES = {"`": "&#96;", "[": "&#91;", "]": "&#93;", "|": "&#124;", "<": "&lt;"}
_ENTITY = re.compile(r"[`\[\]|]|<(?=[A-Za-z/!?])")
_ABSOLUTE = re.compile(r"(?<![\w./:~\\])(?:~|[A-Za-z]:)?[/\\](?:[^\s/\\:;,'\"<>|()]+[/\\])+")
_C_PLAIN = set(range(32, 127)) - set(b'"\\?')  # two question marks begin a trigraph


def printable(text: str) -> str:
    """For a terminal and for anything of one line: control and invisible characters become ``\\x1b`` or ``\\u202e``."""
    return "".join(map(_visible, str(text)))


def printable_lines(text: str) -> str:
    """As ``printable``, of a message that has lines of its own."""
    return "\n".join(map(printable, str(text).split("\n")))


def html(text: str) -> str:
    """For the text of an element or the value of a quoted attribute, in HTML and SVG."""
    return _html.escape(printable(text), quote=True)


def markdown(text: str) -> str:
    """For Markdown inside a line, a heading or a cell of a table.

    Signs of markup get a backslash or become entities; words that become links however they are escaped are code spans.
    """
    words = []
    for word in filter(None, printable(text).split(" ")):
        if _LINKED.search(word):
            words.append(_code_span(word))
        else:
            escaped = _MARKUP.sub(r"\\\g<0>", word)
            words.append(_ENTITY.sub(lambda sign: _ENTITIES[sign[0]], escaped))
    return " ".join(words)


def markdown_line(text: str) -> str:
    """As ``markdown``, at the beginning of a line or of an item of a list."""
    text = markdown(text)
    return re.sub(r"^(\d{1,9})(?=[.)])|^(?=[-+>#=])", r"\g<0>\\", text)


def fenced(language: str, code: str) -> str:
    """A block of code; its fence is longer than any that the code has."""
    longest = max((len(run) for run in re.findall(r"`+", code)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{code.rstrip()}\n{fence}"


def python_string(text: str) -> str:
    """A literal of Python, in ASCII."""
    return ascii(str(text))


def kotlin_string(text: str) -> str:
    """A literal of Kotlin, in ASCII; ``$`` begins no template."""
    data = str(text).encode("utf-16-be", "surrogatepass")
    units = [int.from_bytes(data[start : start + 2], "big") for start in range(0, len(data), 2)]
    plain = [chr(unit) if 32 <= unit < 127 and chr(unit) not in '"\\$' else f"\\u{unit:04x}" for unit in units]
    return f'"{"".join(plain)}"'


def c_string(text: str) -> str:
    """A literal of C and C++, in ASCII: other bytes of its UTF-8 as octal numbers, which end after three digits."""
    data = str(text).encode("utf-8", "surrogatepass")
    plain = [chr(byte) if byte in _C_PLAIN else f"\\{byte:03o}" for byte in data]
    return f'"{"".join(plain)}"'


def without_folders(text: str) -> str:
    """The text with absolute paths, which tell of somebody's home, cut to their last part."""
    return _ABSOLUTE.sub("", text)


def without_folders_inside(values: Any) -> Any:
    """JSON values whose every string went through ``without_folders``; keys stay."""
    if isinstance(values, str):
        return without_folders(values)
    if isinstance(values, dict):
        return {key: without_folders_inside(value) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [without_folders_inside(value) for value in values]
    return values


def _visible(character: str) -> str:
    if (character.isascii() and character.isprintable()) or character in _JOINERS:
        return character
    if character in _SHORT:
        return _SHORT[character]
    # Controls, formats (text direction, tags), surrogates, private and unassigned ones, and ends of lines.
    if unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"):
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"


def _code_span(text: str) -> str:
    """A code span; signs that would be entities in other words stand outside it, as entities."""
    parts = re.split(f"({_ENTITY.pattern})", text)  # every second part is such a sign
    return "".join(_ENTITIES[part] if index % 2 else f"`{part}`" * bool(part) for index, part in enumerate(parts))
