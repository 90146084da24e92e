"""Arguments and options that several commands have, and the recipe that they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ofa.config.recipe import Recipe

Source = Annotated[
    str, typer.Argument(metavar="RUN_OR_RECIPE", help="A run folder, a recipe file, or a shipped recipe's name.")
]
Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="The run folder; default: runs/NAME.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one key of the recipe; may be given several times."),
]
Update = Annotated[
    bool, typer.Option("--update", help="Let the recipe replace the run folder's own; stages it changes run again.")
]


def open_recipe(source: str, out: Path | None, overrides: Sequence[str] | None) -> tuple[Recipe, Path]:
    """The recipe and its run folder. A run folder given as ``source`` stands for its own recipe."""
    from ofa.config.recipe_file import find_recipe, is_file, load_recipe, load_run_recipe
    from ofa.pipeline.run_folder import check_folder

    folder = Path(source)
    if is_file(folder / "recipe.yaml"):
        check_folder(folder)
        return load_run_recipe(folder, overrides=overrides or ()), out or folder
    recipe = load_recipe(find_recipe(source), overrides=overrides or ())
    return recipe, out or Path("runs") / recipe.name
