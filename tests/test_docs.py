"""README and docs name what is there: files, links, headings; and README stays short."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
FOLDERS = ("ofa", "supernet", "predictors", "export", "recipes", "tests", "benchmarks", "docs", ".ci", ".github")
NAMES = [page.name for page in PAGES]


def prose(page: Path) -> str:
    """The text outside code blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def slugs(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_file_that_a_page_names_is_there(page):
    for name in re.findall(r"`([\w.\-]+/[\w./*\-]*)`", prose(page)):
        if name.split("/")[0] in FOLDERS and "NAME" not in name:
            assert list(ROOT.glob(name.rstrip("/"))), f"{page.name} names {name}, which is not there"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_resolve(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith(("https://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        there = page if not path else (page.parent / path)
        assert there.exists(), f"{page.name} links to {target}, which is not there"
        assert not anchor or anchor in slugs(there), f"{page.name} links to {target}: no such heading"


def test_every_page_is_linked_from_the_readme():
    linked = set(re.findall(r"\]\(docs/(\w+\.md)", (ROOT / "README.md").read_text()))
    assert {page.name for page in (ROOT / "docs").glob("*.md")} <= linked


def test_the_readme_is_short():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 120
    long = [line for line in lines if len(line) > 100]
    assert not long, f"README.md has lines of more than 100 columns: {long}"
