"""The package from outside: quick to import, whole, and not shadowed by a user's own files."""

import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import ofa

TIMED = """
import time
started = time.perf_counter()
import ofa
print(time.perf_counter() - started)
import sys
print([name for name in ("torch", "numpy", "timm", "onnx") if name in sys.modules])
"""


def python(code: str, cwd=None) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_is_quick_and_imports_nothing_heavy(tmp_path):
    outputs = [python(TIMED, tmp_path).splitlines() for _ in range(5)]
    assert {heavy for _, heavy in outputs} == {"[]"}
    seconds = statistics.median(float(first) for first, _ in outputs)
    print(f"import ofa: {seconds:.3f} s")
    assert seconds < 0.6  # 0.3 on a machine that does nothing else


def test_every_public_name_is_there():
    assert dir(ofa) == sorted(ofa.__all__)
    for name in ofa.__all__:
        value = getattr(ofa, name)
        assert name == "__version__" or value.__name__ == name
    with pytest.raises(AttributeError, match="module 'ofa' has no attribute 'Serach'"):
        _ = ofa.Serach


def test_the_version_is_the_distributions():
    from importlib.metadata import version

    assert version("once-for-all") == ofa.__version__


def test_a_users_own_files_shadow_nothing(tmp_path):
    for name in ("export.py", "supernet.py", "predictors/__init__.py", "recipes/__init__.py", "strategies.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("ours = False\n")
    code = (
        "import ofa, export, predictors, supernet, recipes\n"
        "assert not any(module.ours for module in (export, predictors, supernet, recipes))\n"
        "space = ofa.SearchSpace.preset('tiny_mbv3')\n"
        "import ofa.supernet.supernet, ofa.predictors.costs.table, ofa.export.onnx, ofa.strategies.search\n"
        "print(ofa.CostTable.macs(space, num_classes=10).predict(space.encode(space.largest)[None])[0] > 0)\n"
    )
    assert python(code, tmp_path) == "True\n"


def test_inside_a_clone_with_a_normal_install():
    """`python -m ofa` there finds the clone's ofa/ before the installed package; supernet/ lies beside it."""
    code = (
        "import sys; sys.meta_path = [one for one in sys.meta_path if 'editable' not in repr(one).lower()]\n"
        "sys.path.insert(0, '.')\n"
        "from ofa.cli import main; main(['check', 'quickstart', '--set', 'seed=x'])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert (done.returncode, "seed" in done.stderr, "Traceback" in done.stderr) == (2, True, False), done.stderr


def test_a_shipped_recipe_is_found_from_any_folder(tmp_path):
    code = "from ofa.config.recipe_file import find_recipe; print(find_recipe('quickstart'))"
    (found,) = python(code, tmp_path).splitlines()
    assert Path(found).name == "quickstart.yaml"
    assert Path(found).read_text().startswith("# The handwritten digits")
