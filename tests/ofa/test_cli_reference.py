"""``docs/cli.md`` is made from the commands' own help."""

from pathlib import Path

import typer.main

from ofa import cli_reference
from ofa.cli import app

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def test_the_page_is_what_the_commands_say():
    page = cli_reference.markdown()
    assert PAGE.read_text() == page, f"docs/cli.md is not of these commands; run: {cli_reference.COMMAND}"


def test_every_command_option_and_example_is_on_the_page():
    page = PAGE.read_text()
    for name, command in typer.main.get_command(app).commands.items():
        _, _, rest = page.partition(f"## `ofa {name}`\n")
        section = rest.partition("\n## ")[0]
        assert f"ofa {name}" in section, name
        for parameter in command.params:
            shown = parameter.metavar if parameter.param_type_name == "argument" else parameter.opts[0]
            assert parameter.help and shown in section and parameter.help in section, (name, parameter.name)
