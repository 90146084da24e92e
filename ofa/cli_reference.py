"""The ``ofa`` command as a page of documentation, made from its help: ``python -m ofa.cli_reference``.

It writes ``docs/cli.md`` to standard output; a test holds the file in the repository to it.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

import typer.main

from ofa.cli import app

COMMAND = "python -m ofa.cli_reference > docs/cli.md"
_HEAD = f"""# The command line

Generated from the help of the commands by `{COMMAND}`.

`ofa --help` lists the commands, `ofa COMMAND --help` the options of one. `RUN_OR_RECIPE` is a run folder, a recipe
file, or the name of a shipped recipe. Exit codes: 0 done, 2 a mistake that the message names, 130 stopped by Ctrl-C;
the same command then goes on from there. `--debug` behind any command shows the traceback of an error.
"""


def markdown() -> str:
    """``docs/cli.md``."""
    group = typer.main.get_command(app)
    blocks = [_HEAD, "## `ofa`", *_command(group, "ofa [OPTIONS] COMMAND")]
    for name, command in group.commands.items():
        arguments = " ".join(_name(one) for one in command.params if one.param_type_name == "argument")
        blocks += [f"## `ofa {name}`", *_command(command, f"ofa {name} {arguments}".strip())]
    return "\n\n".join(block.strip() for block in blocks) + "\n"


def _command(command: Any, usage: str) -> list[str]:
    """Text, example and a table of the arguments and options."""
    text, _, example = inspect.cleandoc(command.help).partition("Example:")
    blocks = [re.sub(r"(--\w+)", r"`\1`", text), f"```\n{usage}\n```"]
    if example.strip() != usage:
        blocks.append(f"Example: `{example.strip()}`")
    rows = [f"| `{_name(one)}` | {_default(one)} | {one.help} |" for one in command.params if one.help]
    if rows:
        blocks.append("\n".join(["| argument or option | default | what it is |", "|---|---|---|", *rows]))
    return blocks


def _name(parameter: Any) -> str:
    metavar = parameter.metavar or parameter.name.upper()
    if parameter.param_type_name == "argument":
        return metavar
    names = ", ".join([*parameter.opts, *parameter.secondary_opts])
    return names if getattr(parameter, "is_flag", False) else f"{names} {metavar}"


def _default(parameter: Any) -> str:
    if parameter.required:
        return "needed"
    if getattr(parameter, "is_flag", False):
        return "off"
    return "none" if parameter.default is None else f"`{parameter.default}`"


if __name__ == "__main__":
    import sys

    sys.stdout.write(markdown())
