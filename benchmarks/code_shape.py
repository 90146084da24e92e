"""The shape of the code, before and after: files, lines, functions, circles, names.

    python benchmarks/code_shape.py NAME=TREE [NAME=TREE ...] [--out benchmarks/results/code_shape.md]

Each TREE is a checkout. Counts are by ``ast``; tests, benchmarks and prose are not counted.
"""

from __future__ import annotations

import argparse
import ast
import re
import statistics
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

FOLDERS = {"supernet": "ofa.supernet", "export": "ofa.export", "predictors": "ofa.predictors", "ofa": "ofa"}
FAMILY = re.compile(r"mobilenet_?v3", re.IGNORECASE)
MAX_TINY_LINES = 6

Function = ast.FunctionDef | ast.AsyncFunctionDef


def modules(tree: Path) -> dict[str, Path]:
    """Import name to file of every module of the product."""
    found = {}
    for folder, package in FOLDERS.items():
        for path in sorted((tree / folder).rglob("*.py")):
            parts = path.relative_to(tree / folder).with_suffix("").parts
            found[".".join((package, *parts)).removesuffix(".__init__")] = path
    return found


def imports(parsed: ast.Module, known: set[str]) -> set[str]:
    """The known modules that a module imports anywhere."""
    names = set()
    for node in ast.walk(parsed):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            submodules = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= submodules & known or {node.module}
    return names & known


def circular(edges: dict[str, set[str]]) -> set[str]:
    """Modules that import themselves through others."""

    def reachable(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = list(edges[start])
        while waiting:
            if (name := waiting.pop()) not in seen:
                seen.add(name)
                waiting += edges[name]
        return seen

    return {name for name in edges if name in reachable(name)}


def functions(parsed: ast.Module) -> Iterator[Function]:
    yield from (node for node in ast.walk(parsed) if isinstance(node, Function))


def code_lines(function: Function, lines: list[str]) -> int:
    """Lines without the docstring, blank lines and whole-line comments."""
    documented = ast.get_docstring(function) is not None
    first = function.body[0]
    skipped = set(range(first.lineno, first.end_lineno + 1)) if documented else set()
    numbers = range(function.lineno, function.end_lineno + 1)
    texts = (lines[number - 1].strip() for number in numbers if number not in skipped)
    return sum(bool(text) and not text.startswith("#") for text in texts)


def tiny_helpers(parsed: ast.Module, lines: list[str]) -> int:
    """Private functions of a module that are used once and have at most six lines."""
    names = Counter(node.id for node in ast.walk(parsed) if isinstance(node, ast.Name))
    private = (node for node in parsed.body if isinstance(node, Function) and node.name.startswith("_"))
    return sum(names[node.name] == 1 and code_lines(node, lines) <= MAX_TINY_LINES for node in private)


def shape(tree: Path) -> dict[str, str]:
    """The counts of a tree, as text."""
    files = modules(tree)
    sources = {name: path.read_text(encoding="utf-8") for name, path in files.items()}
    parsed = {name: ast.parse(source) for name, source in sources.items()}
    lengths = {name: len(source.splitlines()) for name, source in sources.items() if source.strip()}
    largest = max(lengths, key=lengths.__getitem__)
    counts = [
        code_lines(node, sources[name].splitlines()) for name, module in parsed.items() for node in functions(module)
    ]
    comments = sum(line.strip().startswith("#") for source in sources.values() for line in source.splitlines())
    family = [n for n, source in sources.items() if ".families" not in n and FAMILY.search(source)]
    tiny = sum(tiny_helpers(module, sources[name].splitlines()) for name, module in parsed.items())
    edges = {name: imports(module, set(files)) - {name} for name, module in parsed.items()}
    total = sum(lengths.values())
    return {
        "files (not empty)": f"{len(lengths)}",
        "lines": f"{total:,}",
        "median file": f"{statistics.median(lengths.values()):.0f}",
        "largest file": f"{lengths[largest]} ({largest})",
        "files directly in `ofa/`": f"{len(list((tree / 'ofa').glob('*.py')))}",
        "functions": f"{len(counts):,}",
        "functions over 50 lines of code": f"{sum(count > 50 for count in counts)}",
        "longest function": f"{max(counts)}",
        "private helpers of at most 6 lines, used once": f"{tiny}",
        "whole-line comments": f"{100 * comments / total:.1f} %",
        "modules in circles of imports": f"{len(circular(edges))}",
        "files outside `families/` that name MobileNetV3": f"{len(family)}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trees", nargs="+", metavar="NAME=TREE")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    names, trees = zip(*(tree.split("=", 1) for tree in options.trees), strict=True)
    shapes = [shape(Path(tree)) for tree in trees]
    rows = [[key, *(each[key] for each in shapes)] for key in shapes[0]]
    table = [["", *names], ["---"] * (1 + len(names)), *rows]
    text = "\n".join(f"| {' | '.join(row)} |" for row in table) + "\n"
    print(text)
    if options.out:
        options.out.write_text(f"# The shape of the code\n\n{text}", encoding="utf-8")


if __name__ == "__main__":
    main()
