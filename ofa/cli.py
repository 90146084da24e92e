"""The ``ofa`` command. Commands import what they need when they run, so that help and errors come at once."""

from __future__ import annotations

import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from ofa import __version__
from ofa.benchmarking.command import benchmark
from ofa.command_options import Out, Set, Source, Update, open_recipe
from ofa.errors import UserError, denied
from ofa.proxies.command import proxies
from ofa.stages import STAGE_TABLE

if TYPE_CHECKING:
    from ofa.config.recipe import Recipe

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"once-for-all {__version__}")
        raise typer.Exit()


@app.callback()
def _global_options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of every error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Train one elastic supernet, then hand every device its own verified network.

    Example: ofa run quickstart
    """


@app.command()
def run(source: Source, out: Out = None, set_: Set = None, update: Update = False) -> None:
    """Run all stages, or continue a run.

    Stages that are finished and whose inputs have not changed are skipped.

    Example: ofa run recipes/quickstart.yaml --out runs/first --set train.total_epochs=3
    """
    recipe, folder = open_recipe(source, out, set_)
    from ofa.stages import STAGES

    _go(recipe, folder, STAGES, update=update)


def _stage_command(stage: str) -> Callable[..., None]:
    def command(source: Source, out: Out = None, set_: Set = None, update: Update = False) -> None:
        recipe, folder = open_recipe(source, out, set_)
        _go(recipe, folder, (stage,), update=update)

    command.__doc__ = f"{STAGE_TABLE[stage].help} One stage of `ofa run`.\n\nExample: ofa {stage} runs/quickstart"
    return command


def measure(
    source: Source,
    out: Out = None,
    set_: Set = None,
    update: Update = False,
    ssh: Annotated[str | None, typer.Option("--ssh", metavar="HOST", help="Time litert targets on a host.")] = None,
    adb: Annotated[bool, typer.Option("--adb", help="Time litert targets on an Android phone.")] = False,
    serial: Annotated[
        str | None, typer.Option("--serial", metavar="SERIAL", help="Which phone, when several are connected.")
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", metavar="NAME", help="Only this target, with --ssh or --adb.")
    ] = None,
    known: Annotated[
        Path | None, typer.Option("--from", metavar="TABLE", help="A latency table of another device to go on from.")
    ] = None,
    samples: Annotated[
        int | None, typer.Option("--samples", metavar="N", help="Subnets timed with --from; default: the recipe's, 10.")
    ] = None,
) -> None:
    """Time the space's blocks on each target's runtime. One stage of `ofa run`.

    --ssh and --adb write the device into the recipe as `remote`, of the targets whose runtime is litert. --from times a
    few whole subnets in place of all blocks, and writes `measure.known` into the recipe.

    Example: ofa measure runs/quickstart --ssh raspberrypi --target board
    """
    from ofa.targets.measure_options import device_address, known_overrides, remote_overrides

    address = device_address(ssh=ssh, adb=adb, serial=serial, target=target)
    changes = known_overrides(known, samples)
    if address:
        changes += remote_overrides(open_recipe(source, out, set_)[0], address, target)
    set_ = [*(set_ or ()), *changes]
    update = update or (bool(changes) and (Path(source) / "recipe.yaml").is_file())
    recipe, folder = open_recipe(source, out, set_)
    _go(recipe, folder, ("measure",), update=update)


for _stage in STAGE_TABLE:
    app.command(_stage)(measure if _stage == "measure" else _stage_command(_stage))


@app.command()
def check(source: Source, set_: Set = None) -> None:
    """Validate a recipe and print what would run.

    Example: ofa check my.yaml --set space=ofa_mbv3
    """
    recipe, _ = open_recipe(source, None, set_)
    from ofa.data.readers.one_look import one_look
    from ofa.pipeline.estimate import plan

    with one_look():
        for line in plan(recipe):
            _echo(line)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Images, in a folder for each class.")],
    targets: Annotated[
        str, typer.Option("--targets", metavar="NAMES", help="Devices: server, phone, board, m4, m55, by commas.")
    ] = "phone,board",
    time: Annotated[
        str, typer.Option("--time", metavar="TIME", help="How long the run may take here, such as 2h or 90m.")
    ] = "1h",
    timm: Annotated[
        str | None, typer.Option("--timm", metavar="NAME", help="The model of timm to make elastic; see `ofa models`.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", metavar="FILE", help="Trained weights to start from, .safetensors.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The recipe to write.")] = Path("recipe.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite the recipe that is there.")] = False,
) -> None:
    """Write a recipe for a folder of images, for the devices named and the time that there is.

    It looks at the images and at what is installed, and times a few training steps. Without --timm and --weights it
    takes a model whose pretrained weights timm has on this machine, or a preset.

    Example: ofa init my_images --targets phone,m4 --time 2h
    """
    from ofa.init.write import write_recipe

    names = [name.strip() for name in targets.split(",") if name.strip()]
    write_recipe(folder, out, targets=names, time=time, timm=timm, weights=weights, force=force, told=_echo)


@app.command()
def spaces() -> None:
    """List the search spaces that a recipe can name.

    Example: ofa spaces
    """
    from ofa.catalogue.spaces import preset_lines

    typer.echo("\n".join(preset_lines()))


@app.command()
def models(
    wanted: Annotated[
        str | None, typer.Argument(metavar="FILTER", help="Part of a name, a pattern such as resnet*d, or one name.")
    ] = None,
) -> None:
    """List the models of timm that a recipe can make elastic, as `space: {timm: NAME}`.

    Each with the number of its networks and the multiply-accumulates of the smallest and the largest. It takes about a
    second a model. Of one name that does not work it says why.

    Example: ofa models mobilenetv4
    """
    from ofa.catalogue.models import model_lines

    for line in model_lines(wanted):
        typer.echo(line)


app.command()(proxies)


@app.command("import-ofa")
def import_ofa(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A published checkpoint, as torch.save wrote it.")],
    space: Annotated[str, typer.Option("--space", metavar="NAME", help="The space it was trained on (`ofa spaces`).")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The .safetensors file to write.")],
) -> None:
    """Turn a published once-for-all checkpoint into weights that `train.init` takes.

    Example: ofa import-ofa ofa_mbv3_d234_e346_k357_w1.0 --space ofa_mbv3 --out supernet.safetensors
    """
    from ofa.config.errors import nearest
    from ofa.supernet.space import SearchSpace

    try:
        wanted = SearchSpace.preset(space)
    except KeyError as error:
        from ofa.supernet import families

        raise UserError(f"--space {space}: no such space{nearest(space, families.presets())}") from error
    if out.suffix != ".safetensors":
        raise UserError(f"--out {out}: give a name that ends in .safetensors")
    from ofa.supernet.import_ofa import import_ofa as read
    from ofa.supernet.training.opened import save_supernet

    try:
        net = read(file, wanted)
    except ValueError as error:
        raise UserError(str(error)) from error
    save_supernet(net, out)
    parameters = sum(parameter.numel() for parameter in net.parameters())
    typer.echo(f"{out}: {wanted.size:,} networks of {net.num_classes} classes, {parameters:,} parameters")


@app.command()
def runtimes() -> None:
    """List the runtimes that a target can name, and what they lack here.

    Example: ofa runtimes
    """
    from ofa.targets.requirements import runtime_lines

    typer.echo("\n".join(runtime_lines()))


@app.command()
def show(run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]) -> None:
    """Print the result table of a run.

    Example: ofa show runs/quickstart
    """
    from ofa.pipeline.run_folder import check_folder

    check_folder(run)
    if not (run / "recipe.yaml").is_file():
        raise UserError(f"{run}: not a run folder (it has no recipe.yaml); `ofa run RECIPE` makes one below runs/")
    from ofa.report.build import show as text

    typer.echo(text(run))


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders, of one supernet or of several.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The page to write.")] = Path("compare.html"),
) -> None:
    """Compare finished runs: accuracy, cost, front, hypervolume, regret and seconds of each target.

    Prints a table, and writes a page with the same table and a chart for each cost.

    Example: ofa compare runs/evolution runs/nsga2 --out compare.html
    """
    from ofa.comparison.shown import compare as text

    typer.echo(text(runs, out))


app.command()(benchmark)


def _echo(line: str) -> None:
    from ofa.report.escape import printable_lines

    typer.echo(printable_lines(line))


def _go(recipe: Recipe, folder: Path, stages: Sequence[str], *, update: bool) -> None:
    from ofa.pipeline.runner import run_stages

    try:
        run_stages(recipe, folder, stages=stages, update=update)
    except KeyboardInterrupt as stop:
        # The run folder has the recipe with its --set: its name alone is enough.
        again = f"`ofa {'run' if len(stages) > 1 else stages[0]} {shlex.quote(str(folder))}`"
        adopted = (folder / "recipe.yaml").is_file()
        raise _Stopped(f"stopped; {again if adopted else 'the same command'} goes on from here") from stop


class _Stopped(Exception):
    """By Ctrl-C, with a sentence that says how to go on."""


def _fail(message: str, *, code: int, debug: bool = False) -> NoReturn:
    if debug:
        traceback.print_exc()
    from ofa.report.escape import printable_lines

    print(printable_lines(message), file=sys.stderr)
    raise SystemExit(code)


def _was_interrupted(error: BaseException) -> bool:
    """Whether a Ctrl-C is among the causes."""
    cause = error.__cause__ or error.__context__
    return cause is not None and (isinstance(cause, KeyboardInterrupt) or _was_interrupted(cause))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line (``arguments`` default to ``sys.argv[1:]``).

    Exits with 2 and a message for a user's mistake, 130 for Ctrl-C. Other exceptions pass through.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]  # wherever it stands, also behind the command
    try:
        code = app(words or ["--help"], prog_name="ofa", standalone_mode=False)
        # How typer passes Ctrl-C on differs between its versions: an exception here, or the code 130.
        if code == 130:
            raise KeyboardInterrupt
    except UserError as error:
        _fail(str(error), code=2, debug=debug)
    except _Stopped as stop:
        _fail(str(stop), code=130, debug=debug)
    except (KeyboardInterrupt, typer.Abort):
        _fail("stopped; the same command goes on from here", code=130, debug=debug)
    except OSError as error:
        if not (text := denied(error)):
            raise
        _fail(text, code=2, debug=debug)
    except Exception as error:
        # A C library that Ctrl-C meets while it is imported says that it could not be.
        if _was_interrupted(error):
            _fail("stopped; the same command goes on from here", code=130, debug=debug)
        # Click's usage errors: by their method, since newer typers carry a click of their own.
        if not hasattr(error, "format_message"):
            raise
        context = getattr(error, "ctx", None)
        help_command = f"{context.command_path if context else 'ofa'} --help"
        _fail(f"{error.format_message().rstrip('.')}; see `{help_command}`", code=2, debug=debug)
    if isinstance(code, int) and code:
        raise SystemExit(code)
