"""The command ``ofa proxies``. It imports what it needs when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ofa.command_options import Set, Source, open_recipe


def proxies(
    source: Source,
    subnets: Annotated[int, typer.Option("--subnets", metavar="N", help="How many subnets are scored.")] = 30,
    names: Annotated[
        str | None, typer.Option("--names", metavar="NAMES", help="Proxies, by commas; `all` for every one.")
    ] = None,
    images: Annotated[int, typer.Option("--images", metavar="N", help="Training images that they are scored on.")] = 16,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The table; default: proxies.csv in the run folder.")
    ] = None,
    set_: Set = None,
) -> None:
    """Score subnets without training, by zero-cost proxies.

    The weights are those of the run's trained supernet, or new ones where there is none. Subnets of accuracy.csv come
    first, so that each proxy is compared with what was measured. The table grows by a row a subnet, and the same
    command goes on with it.

    Example: ofa proxies runs/quickstart --subnets 50 --names naswot,zico
    """
    recipe, folder = open_recipe(source, None, set_)
    from ofa.proxies.run import run

    wanted = tuple(name.strip() for name in names.split(",") if name.strip()) if names else ()
    for line in run(recipe, folder, subnets=subnets, names=wanted, images=images, out=out):
        typer.echo(line)
