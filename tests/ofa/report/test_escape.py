"""What somebody else wrote stays text, in every kind of output: each name, alone and in the places that we write to."""

import ast
import html as html_module
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

import ofa
import ofa.report.build as report_module
from ofa.config.data import DataConfig
from ofa.pipeline.artefacts.evaluation import Evaluation, Preprocessing
from ofa.pipeline.artefacts.report import Report
from ofa.report import escape
from ofa.report.escape import printable
from ofa.report.html import render_html
from ofa.report.model_card import render_card
from ofa.report.text import render_markdown, render_text

# Names that would be markup, code, links or commands to a terminal if they were written as they are.
HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</td></table><h1>x",
    "-->x<!-- y",
    "]]><svg/onload=alert(1)>",
    '" onmouseover="alert(1)',
    "' x='",
    "[x](javascript:alert(1))",
    "![x](http://example.com/x.png)",
    "[x]: http://example.com",
    "[^1]",
    "`code` ``more`` `",
    "```",
    "~~~ python",
    "a|b\\|c\\\\|d",
    "@someone|else@example.com|`|",
    "|---|---|",
    "--- title: x",
    "===",
    "***bold*** _it_ __x__ ~~s~~",
    "# heading #",
    "> quote",
    "- item",
    "+ item",
    "1. item",
    "12) item",
    "http://example.com/<b>",
    "<http://example.com>",
    "www.example.com",
    "someone@example.com",
    ":smile: $x^2$ @team #12",
    "&lt;b&gt; &amp; &#60;",
    "line\nbreak\r\nand\ttab",
    "\u2028# separated\u2029",
    "\x1b[31mred\x1b]0;title\x07\x9b2J\x00",
    "abc\u202efdp.exe\u2066\u200b\ufeff",
    "\ud800 lone",
    "${1 + 1} $name {x} %s \\u0041 \\",
    "\"\"\"; DROP ''' ??/ */ //",
    "  spaces  ",
    "é ß 漢字 👩\u200d👩\u200d👧",
)


class Elements(HTMLParser):
    """Every tag with its attributes, comments and declarations of a page, its text, and whether tags are balanced."""

    VOID = ("meta", "br", "hr", "img", "input", "link")

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags, self.others, self.text, self.open = [], [], "", []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, tuple(name for name, _ in attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_comment(self, data):
        self.others.append(data)

    def handle_decl(self, decl):
        self.others.append(decl)

    def unknown_decl(self, data):
        self.others.append(data)

    def handle_pi(self, data):
        self.others.append(data)

    def handle_data(self, data):
        if "style" not in self.open and "script" not in self.open:
            self.text += data


RENDERERS = [MarkdownIt("commonmark").enable(["table", "strikethrough"])]
PLACES = {
    "heading": ("# {}\n\ntext\n", ["h1", "p"], escape.markdown),
    "words": ("before {} after\nsecond {}\n", ["p"], escape.markdown),
    "paragraph": ("text\n\n{}\n{}\n\nlast\n", ["p", "p", "p"], escape.markdown_line),
    "list": ("- {}\n- {}\n", ["ul", "li", "li"], escape.markdown_line),
    "table": (
        "| a | b |\n|---|---|\n| {} | {} |\n",
        ["table", "thead", "tr", "th", "th", "tbody", "tr", "td", "td"],
        escape.markdown,
    ),
    "quotes": ('"{}": ({}), [{}]\n', ["p"], escape.markdown),
}


def shown(text: str) -> str:
    """What a page shows of a text: single spaces."""
    return " ".join(escape.printable(text).split(" ")).strip()


def one_space(text: str) -> str:
    return re.sub(r"[ \n]+", " ", text)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", HOSTILE)
def test_markdown_shows_the_name_and_makes_no_element(name, place):
    template, ours, function = PLACES[place]
    for renderer in RENDERERS:
        page = Elements(renderer.render(template.replace("{}", function(name).replace("{", "{"))))
        tags = [tag for tag, _ in page.tags if tag != "code"]  # words that would be links are code
        assert tags == ours
        assert all(not attributes for _, attributes in page.tags)
        assert page.others == []
        assert one_space(page.text).count(one_space(shown(name))) >= template.count("{}")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_fence_holds_any_code(name):
    (fence,) = RENDERERS[0].parse(escape.fenced("python", f"x\n{name}\n```\n~~~~"))
    assert fence.type == "fence" and fence.info == "python"


@pytest.mark.parametrize("name", HOSTILE)
def test_html_shows_the_name_as_text_and_in_attributes(name):
    text = escape.html(name)
    page = Elements(f"<p title=\"{text}\" class='{text}'>{text}</p><svg><title>{text}</title></svg>")
    assert page.tags == [("p", ("title", "class")), ("svg", ()), ("title", ())]
    assert page.text == 2 * escape.printable(name)
    assert html_module.unescape(text) == escape.printable(name)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_terminal_gets_no_command_and_no_second_line(name):
    text = escape.printable(name)
    assert text.encode() and len(text.splitlines()) == 1
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]", text)
    assert escape.printable_lines(f"{name}\nx").splitlines()[-1] == "x"


def test_ordinary_names_stay_as_they_are():
    for name in ("quickstart", "golden retriever", "CC BY 4.0", "T-shirt/top", "my_class", "Österreich", "猫", "a & b"):
        assert escape.markdown(name) == escape.printable(name) == name
        assert escape.markdown_line(name) == name


@pytest.mark.parametrize("name", HOSTILE)
def test_python_and_json_literals_are_the_name(name):
    assert ast.literal_eval(escape.python_string(name)) == name
    assert json.loads(json.dumps(name)) == name


def _kotlin_value(literal: str) -> str:
    """The value of a literal that has no escapes but numbers."""
    assert literal[0] == literal[-1] == '"' and literal.isascii()
    inside = literal[1:-1]
    assert not re.search(r'["$\n]', inside) and re.fullmatch(r"(?:[^\\]|\\u[0-9a-f]{4})*", inside)
    units = [int(code, 16) if code else ord(sign) for code, sign in re.findall(r"\\u([0-9a-f]{4})|(.)", inside)]
    return b"".join(unit.to_bytes(2, "big") for unit in units).decode("utf-16-be", "surrogatepass")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_kotlin_literal_is_the_name(name):
    assert _kotlin_value(escape.kotlin_string(name)) == name


@pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")
def test_c_literals_are_the_names(tmp_path):
    lines = [f"fwrite({escape.c_string(name)}, 1, sizeof {escape.c_string(name)}, stdout);" for name in HOSTILE]
    (tmp_path / "a.c").write_text("#include <stdio.h>\nint main(void) {\n" + "\n".join(lines) + "\nreturn 0;\n}\n")
    flags = ["-std=c11", "-trigraphs", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["gcc", *flags, "a.c", "-o", "a"], cwd=tmp_path, check=True)
    written = subprocess.run([tmp_path / "a"], capture_output=True, check=True).stdout
    assert written == b"".join(name.encode("utf-8", "surrogatepass") + b"\0" for name in HOSTILE)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("/home/alice/data/cats", "cats"),
        ("error in /home/alice/x.c:12: no /usr/bin/gcc", "error in x.c:12: no gcc"),
        ("'/tmp/a b/c' and (C:\\Users\\bob\\x.onnx)", "'a b/c' and (x.onnx)"),
        ("~/private/x.yaml", "x.yaml"),
        ("runs/a/models/b, 1/2, and/or, 3 / 4, https://example.com/a/b", None),
    ],
)
def test_folders_are_left_out(text, left):
    assert escape.without_folders(text) == (text if left is None else left)
    assert escape.without_folders_inside({"a": [text, 1, None]}) == {"a": [text if left is None else left, 1, None]}


# -- whole files ------------------------------------------------------------------------------------------------------


LONG = {("td", ("class",)), ("td", ()), ("span", ("class",))}


def told(report: dict, name: str) -> Report:
    """The report of a run in which everything that somebody may name has this name."""
    values = json.loads(json.dumps(report))
    values["name"] = values["data"]["source"] = values["machine"]["cpu"] = values["machine"]["system"] = name
    values["targets"] = {name: values["targets"]["phone"]}
    (target,) = values["targets"].values()
    for found in (values["latency_table"], target["latency_table"], target["verified"]):
        found |= {"runtime": name, "version": name, "cpu": name}
    for row in values["training"]:
        row["phase"] = name
    target["verified"]["int8"] = {"calibration_images": 5, "calibration_images_asked": 64, "used": name}
    target["verified"]["int8"] |= {"within": False, "allowed_drop": 0.01, "tried": {name: 0.9}}
    target["verified"]["validation_accuracy_float32"] = 0.9
    return Report.model_validate(values)


def written(report: dict, name: str) -> dict[str, Elements]:
    """Every file that leaves the house, rendered."""
    whole = told(report, name)
    pixels = Preprocessing(channels=1, mean=(0.5,), std=(0.5,), interpolation="bilinear", crop_pct=1.0)
    evaluation = Evaluation.model_construct(classes=(name, "b", name), preprocessing=pixels)
    card = render_card(whole, name, evaluation, licence=name)
    rendered = {"card": RENDERERS[0].render(card), "report.md": RENDERERS[0].render(render_markdown(whole))}
    return {kind: Elements(text) for kind, text in {**rendered, "report.html": render_html(whole)}.items()}


def test_no_name_makes_an_element_of_a_card_or_a_report(finished):
    report = json.loads((finished.folder / "report.json").read_text())
    harmless = written(report, "harmless")
    for name in HOSTILE:
        for kind, found in written(report, name).items():
            # Words that would be links are code; long cells have a class, or parts.
            ours = [tag for tag, _ in harmless[kind].tags if tag not in ("code", "span")]
            assert [tag for tag, _ in found.tags if tag not in ("code", "span")] == ours, (kind, name)
            assert set(found.tags) <= {*harmless[kind].tags, *LONG, ("code", ())}
            assert found.others == harmless[kind].others
            assert one_space(shown(name)) in one_space(found.text), kind


def test_no_name_reaches_the_terminal_as_a_command(finished):
    report = json.loads((finished.folder / "report.json").read_text())
    for name in HOSTILE:
        # Of the same width, so that tables and sentences break alike.
        harmless = re.sub(r"\S", "x", printable(name))
        lines = len(render_text(told(report, harmless)).split("\n"))
        text = render_text(told(report, name))
        assert all(line.isprintable() or "\u200d" in line for line in text.split("\n"))
        assert len(text.split("\n")) == lines


def test_an_error_message_reaches_the_terminal_as_text(call, tmp_path):
    path = tmp_path / "a\x1b[31m\u202eb.yaml"
    path.write_text("targets: 3\n")
    code, out, err = call("check", path)
    assert code == 2 and "a\\x1b[31m\\u202eb.yaml" in err
    assert (out + err).replace("\n", "").isprintable()


def test_no_file_that_is_given_away_tells_a_folder_of_this_machine(finished, tmp_path):
    folder = finished.folder
    given = [path for path in (folder / "models").rglob("*") if path.is_file()]
    given += [folder / f"report.{kind}" for kind in ("json", "md", "html")]
    assert len(given) >= 8
    places = [str(folder.parent), *map(str, (Path.home(), Path.cwd(), Path(ofa.__file__).parents[1])), "site-packages"]
    for path in given:
        content = path.read_bytes()
        for place in places:
            assert len(place) < 4 or place.encode() not in content, (path, place)


@pytest.mark.parametrize(
    ("given", "source"),
    [
        ({}, "scikit-learn digits"),
        ({"folder": "/home/alice/secret/cats"}, "images of the folder cats"),
        ({"idx": "../data/fashion"}, "IDX files of the folder fashion"),
        ({"folder": str(Path.home())}, "images of the folder that the recipe names"),
        ({"folder": ".."}, "images of the folder that the recipe names"),
    ],
)
def test_a_report_names_the_data_without_its_place(given, source):
    assert report_module._source(DataConfig(**given)) == source
