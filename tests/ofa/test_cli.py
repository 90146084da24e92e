import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
from shared_networks import scramble

from ofa import __version__
from ofa.cli import main
from ofa.config.recipe_file import find_recipe
from ofa.config.target import Target
from ofa.errors import UserError
from ofa.stages import STAGES
from ofa.supernet import families
from ofa.supernet.space import SearchSpace
from ofa.targets import requirements

COMMANDS = ["run", *STAGES, "check", "init", "spaces", "models", "import-ofa", "runtimes", "show", "compare"]


def ofa(capsys, *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    try:
        main(arguments)
        code = 0
    except SystemExit as stop:
        code = stop.code
    return code, *capsys.readouterr()


@pytest.fixture
def started(monkeypatch):
    """What the command line hands to the run, without training anything."""
    calls = []

    def run_stages(recipe, folder, *, stages, update):
        calls.append((recipe, folder, tuple(stages), update))

    monkeypatch.setitem(sys.modules, "ofa.pipeline.runner", SimpleNamespace(STAGES=STAGES, run_stages=run_stages))
    return calls


def test_help_lists_every_command_and_each_shows_an_example(capsys):
    code, text, _ = ofa(capsys, "--help")
    assert code == 0
    for command in COMMANDS:
        assert f"\n  {command} " in text
        code, own, _ = ofa(capsys, command, "--help")
        assert code == 0
        assert f"Example: ofa {command}" in own
    assert ofa(capsys)[1] == text


def test_help_and_spaces_do_not_import_torch(tmp_path):
    heavy = "[name for name in ('torch', 'timm', 'sklearn', 'onnxruntime', 'onnx') if name in sys.modules]"
    for words in (["--help"], ["spaces"], ["runtimes"], ["check", "nope"]):
        code = f"import sys\nfrom ofa.cli import main\ntry: main({words})\nexcept SystemExit: pass\nprint({heavy})"
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "[]", words


def test_version(capsys):
    assert ofa(capsys, "--version") == (0, f"once-for-all {__version__}\n", "")


def test_spaces_prints_exact_sizes(capsys):
    code, text, _ = ofa(capsys, "spaces")
    rows = {line.split()[0]: line for line in text.splitlines()}
    assert code == 0
    assert list(rows) == list(families.presets())
    for name, row in rows.items():
        space = SearchSpace.preset(name)
        assert f" {space.num_genes} genes " in row
        assert f" {space.size:,} networks " in row
    assert rows["ofa_mbv3"].endswith("128 to 224 by 4 px")


def test_import_ofa_says_what_is_wrong_before_it_reads(capsys, tmp_path):
    file, out = str(tmp_path / "checkpoint"), str(tmp_path / "supernet.safetensors")
    for words, message in [
        (["--space", "ofa_mbv4", "--out", out], '--space ofa_mbv4: no such space; did you mean "ofa_mbv3"?'),
        (["--space", "ofa_mbv3", "--out", "supernet.pth"], "--out supernet.pth: give a name that ends in .safetensors"),
        (["--space", "ofa_mbv3", "--out", out], f"{file} cannot be read: No such file or directory"),
        (["--space", "ofa_mbv3"], "Missing option '--out'"),
    ]:
        code, _, text = ofa(capsys, "import-ofa", file, *words)
        assert code == 2 and message in text, text
    assert not list(tmp_path.iterdir())


def test_import_ofa_writes_weights_that_training_starts_from(capsys, monkeypatch, tmp_path):
    from ofa.supernet import import_ofa
    from ofa.supernet.supernet import Supernet
    from ofa.supernet.training.initial_weights import load_initial
    from ofa.supernet.training.phases import all_open

    space = SearchSpace.preset("tiny_mbv3")
    net = scramble(Supernet(space, num_classes=3))
    net.opened = all_open(space)
    monkeypatch.setattr(import_ofa, "import_ofa", lambda file, wanted: net if wanted == space else None)
    out = tmp_path / "folder" / "supernet.safetensors"
    code, text, _ = ofa(capsys, "import-ofa", "checkpoint", "--space", "tiny_mbv3", "--out", str(out))
    assert (code, text.split(": ")[0]) == (0, str(out)) and f"{space.size:,} networks of 3 classes" in text
    other = Supernet(space, num_classes=3)
    assert load_initial(other, out) == [] and other.opened == net.opened


def test_runtimes_prints_versions(capsys):
    lines = ofa(capsys, "runtimes")[1].splitlines()
    assert lines[0].startswith("onnxruntime ") and lines[0].endswith(f" onnxruntime {version('onnxruntime')}")
    assert [line.split()[0] for line in lines] == list(Target.model_fields["runtime"].annotation.__args__)


def test_runtimes_say_what_they_lack(capsys, monkeypatch):
    monkeypatch.setattr(requirements, "find_spec", lambda name: None)
    monkeypatch.setattr(requirements.shutil, "which", lambda name: None)
    lines = {line.split()[0]: line for line in ofa(capsys, "runtimes")[1].splitlines()}
    assert lines["litert"].endswith("needs: pip install 'once-for-all[tflite]'")
    assert "'once-for-all[mcu,tflite]'; make, arm-none-eabi-gcc, " in lines["cortex_m4"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["runn"], "No such command 'runn'"),
        (["run"], "Missing argument 'RUN_OR_RECIPE'; see `ofa run --help`"),
        (["run", "quickstart", "--sett", "a=1"], "No such option: --sett"),
        (["run", "quickstart", "--set"], "Option '--set' requires an argument; see `ofa "),
        (["--nope", "run"], "No such option: --nope"),
        (["run", "quikstart"], "quikstart: no such recipe, neither a file nor a shipped one; did you mean "),
        (["train", "nowhere/at/all.yaml"], "nowhere/at/all.yaml: no such recipe"),
        (["check", "quickstart", "--set", "train.epohcs=3"], '--set train.epohcs: unknown key; did you mean "epochs"?'),
        (["check", "quickstart", "--set", "train.total_epochs"], "--set train.total_epochs: write it as key=value"),
        (["show", "."], ".: not a run folder (it has no recipe.yaml)"),
        (["run", "."], ".: a folder, not a recipe file"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_2(capsys, tmp_path, monkeypatch, arguments, expected):
    monkeypatch.chdir(tmp_path)
    code, out, err = ofa(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(expected)
    assert err.count("\n") == 1


@pytest.mark.parametrize("words", [["--debug", "run", "nope"], ["run", "nope", "--debug"]])
def test_debug_adds_the_traceback(capsys, words):
    code, _, err = ofa(capsys, *words)
    assert code == 2
    assert err.startswith("Traceback (most recent call last)")
    assert "UserError" in err


def test_run_and_stages_pass_everything_on(capsys, started, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ofa(capsys, "run", "quickstart") == (0, "", "")
    arguments = ["quickstart", "--out", "there", "--set", "train.total_epochs=3", "--set", "seed=4", "--update"]
    for stage in STAGES:
        assert ofa(capsys, stage, *arguments)[0] == 0
    (recipe, folder, stages, update), *others = started
    assert (folder, stages, update) == (Path("runs/quickstart"), STAGES, False)
    assert recipe.train.total_epochs != 3
    assert [call[2] for call in others] == [(stage,) for stage in STAGES]
    for recipe, folder, _, update in others:
        assert (recipe.train.total_epochs, recipe.seed, folder, update) == (3, 4, Path("there"), True)


def test_a_run_folder_stands_for_its_recipe(capsys, started, tmp_path, monkeypatch):
    from ofa.config.recipe_file import dump_yaml, find_recipe, load_recipe

    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "mine"
    folder.mkdir(parents=True)
    stored = load_recipe(find_recipe("quickstart"), overrides=["seed=7"])
    (folder / "recipe.yaml").write_text(dump_yaml(stored.to_dict()))
    assert ofa(capsys, "search", "runs/mine")[0] == 0
    assert ofa(capsys, "run", "runs/mine", "--out", "copy")[0] == 0
    assert [(recipe, where) for recipe, where, _, _ in started] == [(stored, Path("runs/mine")), (stored, Path("copy"))]


def interrupted_import() -> ImportError:
    """What a C library raises when Ctrl-C comes while it is imported."""
    error = ImportError("initialization failed")
    error.__cause__ = KeyboardInterrupt()
    return error


@pytest.mark.parametrize(
    ("raised", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "stopped; the same command goes on from here"),  # nothing is in its folder yet
        (interrupted_import(), 130, "stopped; the same command goes on from here"),
        (UserError("my.yaml: wrong"), 2, "my.yaml: wrong"),
    ],
)
def test_how_a_run_ends(capsys, started, monkeypatch, raised, code, message):
    def stop(*_, **__):
        raise raised

    monkeypatch.setattr(sys.modules["ofa.pipeline.runner"], "run_stages", stop)
    exit_code, _, err = ofa(capsys, "run", "quickstart")
    assert (exit_code, err.strip()) == (code, message)


def test_a_defect_of_ours_keeps_its_traceback(started, monkeypatch):
    def stop(*_, **__):
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(sys.modules["ofa.pipeline.runner"], "run_stages", stop)
    with pytest.raises(ZeroDivisionError, match="ours"):
        main(["run", "quickstart"])


def test_installed_command_from_a_folder_with_modules_of_our_names(tmp_path):
    for name in ("export.py", "supernet.py", "recipes.py"):
        (tmp_path / name).write_text("raise SystemExit('shadowed')\n")
    (tmp_path / "predictors").mkdir()
    command = [sys.executable, "-c", "from ofa.cli import main; main()", "check", "quikstart"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "COLUMNS": "80"})
    assert done.returncode == 2
    assert done.stderr.startswith("quikstart: no such recipe")


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs users")
@pytest.mark.parametrize("words", [["run", "quickstart", "--out", "{}/run"], ["run", "{}/run"], ["show", "{}/run"]])
def test_a_folder_that_may_not_be_entered(capsys, tmp_path, words):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        code, _, err = ofa(capsys, *(word.format(closed) for word in words))
    finally:
        os.seteuid(user)
    assert (code, err.count("\n")) == (2, 1), err
    # The shipped recipes may lie where that user may not go, either.
    places = [str(closed), str(find_recipe("quickstart").parent)]
    assert any(place in err for place in places) and "may not be read, written or entered" in err


def test_a_name_that_is_too_long(capsys, tmp_path):
    code, _, err = ofa(capsys, "run", "quickstart", "--out", str(tmp_path / ("x" * 300)))
    assert (code, err.count("\n")) == (2, 1), err
    assert "has a name that is too long for its file system" in err
