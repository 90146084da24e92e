"""The shape of the code, read by ``ast``: floors, circles, family names, sizes of files and functions.

Each rule has a list of today's exceptions, which only shrinks: one that is no longer needed fails the test, too.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
# Folder of the repository to its import name; a later floor may import an earlier one, never the other way round.
FLOORS = {"supernet": "ofa.supernet", "export": "ofa.export", "predictors": "ofa.predictors", "ofa": "ofa"}
MAX_FILE_LINES, MAX_FUNCTION_LINES = 350, 80
FAMILIES = sorted(path.parent.name for path in (ROOT / "supernet" / "families").glob("*/space.py"))
# As a value or a folder; timm calls modules by the same names, whose layers are of no family.
FAMILY_NAMES = re.compile(rf"(?i:mobilenet_?v3)|([\"'])({'|'.join(FAMILIES)})\1|families[./]({'|'.join(FAMILIES)})\b")

# Modules in circles of imports, those in functions and for type checking included.
CIRCULAR: set[str] = set()
# Files outside ``supernet/families/`` that name a family.
NAME_A_FAMILY: set[str] = set()
LONG_FILES: set[str] = set()
LONG_FUNCTIONS: set[str] = set()


def modules() -> dict[str, Path]:
    """Import name to file, of every module of the product."""
    found = {}
    for folder, package in FLOORS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            name = ".".join((package, *parts))
            found[name.removesuffix(".__init__")] = path
    return found


MODULES = modules()


def imports(name: str) -> Iterator[str]:
    """Modules of the product that a module imports anywhere: at the top, in functions, for type checking."""
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import"
            targets = [f"{node.module}.{alias.name}" for alias in node.names] + [node.module or ""]
        else:
            continue
        # ``from package import module`` needs the module; ``from module import name`` the module that has the name.
        submodules = {target.rpartition(".")[0] for target in targets if target in MODULES}
        yield from {target for target in targets if target in MODULES and target not in submodules}


def circular(edges: dict[str, set[str]]) -> set[str]:
    """The modules that import themselves by way of others."""

    def reachable(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = list(edges[start])
        while waiting:
            if (module := waiting.pop()) not in seen:
                seen.add(module)
                waiting += edges[module]
        return seen

    return {name for name in edges if name in reachable(name)}


def test_imports_go_down_only() -> None:
    floor = {package: number for number, package in enumerate(FLOORS.values())}

    def floor_of(name: str) -> int:
        return next(floor[package] for package in FLOORS.values() if f"{name}.".startswith(f"{package}."))

    climbing = [f"{name} -> {other}" for name in MODULES for other in imports(name) if floor_of(other) > floor_of(name)]
    assert climbing == []


def test_no_circle_of_imports() -> None:
    assert circular({name: set(imports(name)) - {name} for name in MODULES}) == CIRCULAR


def test_circular_finds_circles_and_nothing_else() -> None:
    assert circular({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}, "e": set()}) == {"b", "c"}


def test_families_are_named_in_their_folder_alone() -> None:
    named = {
        path.relative_to(ROOT).as_posix()
        for path in MODULES.values()
        if "families" not in path.parts and FAMILY_NAMES.search(path.read_text(encoding="utf-8"))
    }
    assert named == NAME_A_FAMILY


def test_the_guard_knows_every_family() -> None:
    assert {"mobilenetv3", "efficientnet", "resnet"} <= set(FAMILIES)
    assert all(FAMILY_NAMES.search(f'"{name}"') and FAMILY_NAMES.search(f"families/{name}") for name in FAMILIES)
    assert not FAMILY_NAMES.search("from timm.models.resnet import BasicBlock")


def test_files_are_small() -> None:
    long = {
        path.relative_to(ROOT).as_posix()
        for path in MODULES.values()
        if len(path.read_text(encoding="utf-8").splitlines()) > MAX_FILE_LINES
    }
    assert long == LONG_FILES


def test_functions_are_short() -> None:
    assert {name for name, lines in function_lines() if lines > MAX_FUNCTION_LINES} == LONG_FUNCTIONS


def function_lines() -> Iterator[tuple[str, int]]:
    """Each function's name and its lines of code: no docstring, blank lines or whole-line comments."""
    for module, path in MODULES.items():
        text = path.read_text(encoding="utf-8")
        lines = text.splitlines()
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            documented = ast.get_docstring(node) is not None
            skipped = set(range(node.body[0].lineno, node.body[0].end_lineno + 1)) if documented else set()
            code = [
                lines[number - 1]
                for number in range(node.lineno, node.end_lineno + 1)
                if number not in skipped and lines[number - 1].strip() and not lines[number - 1].strip().startswith("#")
            ]
            yield f"{module}.{node.name}", len(code)
