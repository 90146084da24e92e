import json
import re
import shutil
from html.parser import HTMLParser

import pytest

from ofa.config.recipe_file import load_recipe
from ofa.errors import UserError
from ofa.pipeline import manifest
from ofa.pipeline.artefacts.evaluation import Evaluated, Evaluation
from ofa.report.build import build_report, show, write_report
from ofa.report.intervals import wilson

MEASURED = {"phone": Evaluated(latency=0.5, test_accuracy=0.125)}


class Cells(HTMLParser):
    """The rows of every table, as lists of text; and every tag that was opened, and that was not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.tables, self.open, self.tags = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag != "meta":
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "td" in self.open or "th" in self.open:
            self.tables[-1][-1][-1] += data


def parsed(folder) -> Cells:
    parser = Cells()
    parser.feed((folder / "report.html").read_text())
    assert parser.open == []
    return parser


def cells(folder) -> list[list[str]]:
    """The rows of the result table."""
    return parsed(folder).tables[0]


def rewritten(folder) -> str:
    """What ``ofa show`` prints of a report that a test has written itself, which the run's journal does not know."""
    for name in (manifest.NAME, manifest.COPY):
        (folder / name).unlink(missing_ok=True)
    return show(folder)


def reported(folder, recipe=None) -> None:
    """Writes the report of a run whose model was measured to be so good and so fast."""
    evaluation = Evaluation.load(folder).model_copy(update={"targets": MEASURED})
    write_report(build_report(recipe or load_recipe(folder / "recipe.yaml"), folder, evaluation), folder)


def with_interval(measured, split, images) -> str:
    """Of few images every accuracy has its interval."""
    low, high = wilson(measured[f"{split}_accuracy"], images)
    return f"{100 * measured[f'{split}_accuracy']:.1f} ({100 * low:.1f}-{100 * high:.1f})"


@pytest.fixture
def values(finished) -> dict:
    return json.loads((finished.folder / "report.json").read_text())


def test_the_three_files_and_the_screen_say_the_same(finished, values):
    target, images = values["targets"]["phone"], values["data"]["images"]
    predicted, measured, subnet = target["predicted"], target["measured"], target["subnet"]
    head, row = cells(finished.folder)
    assert len(head) == len(row) == 9
    by_name = dict(zip(head, row, strict=True))
    assert by_name["target"] == "phone"
    assert by_name["latency ms, predicted / measured"] == f"{predicted['latency']:.3f} / {measured['latency']:.3f}"
    accuracy = by_name["validation accuracy %, predicted / measured"]
    assert accuracy.startswith(f"{100 * predicted['accuracy']:.1f} +-{100 * predicted['accuracy_std']:.1f} / ")
    before = target["verified"]["finetuned"]["before"]["accuracy"]
    interval = with_interval(measured, "validation", images["validation"])
    assert accuracy.endswith(f" / {interval} (before fine-tuning {100 * before:.1f})")
    assert by_name["test, %"] == with_interval(measured, "test", images["test"])
    depths = "-".join(map(str, subnet["depths"]))
    assert by_name["subnet, id, pixels, depths"] == f"{target['id']} {subnet['resolution']} {depths}"
    assert by_name["limit"].startswith("<= ")
    assert by_name["model"] == "models/phone/model.onnx"

    markdown = (finished.folder / "report.md").read_text().splitlines()
    assert [cell.strip(" `") for cell in markdown[4].strip("|").split(" | ")] == row
    screen = show(finished.folder)
    position = 0
    for cell in [*row[:-1], f"phone: {finished.folder / row[-1]}"]:  # in this order, whatever is between them
        position = screen.index(cell, position) + len(cell)
    assert show(finished.folder).strip() in finished.out


def test_the_report_says_on_what_it_was_measured(finished, values):
    images, table, predictor = values["data"]["images"], values["latency_table"], values["predictor"]
    assert sum(images.values()) == 1797
    for name in ("report.md", "report.html"):
        text = (finished.folder / name).read_text()
        for part in (
            f"{images['validation']} validation and {images['test']} test images",
            f"{table['runtime']} {table['version']}, {table['threads']} thread(s)",
            f"Kendall tau {predictor['kendall_tau']:.2f}",
            f"error {table['quality']['mape']:.1%}",
            f"torch {values['versions']['torch']}",
        ):
            assert part in text


@pytest.mark.parametrize(("limit", "over"), [(0.4, True), (0.5, False), (0.6, False)])
def test_a_latency_over_its_limit_is_marked_and_explained(copied, limit, over):
    path = copied / "search" / "phone.json"
    found = json.loads(path.read_text())
    path.write_text(json.dumps(found | {"limits": {"latency": limit}}))
    reported(copied)
    text = rewritten(copied)
    assert f"<= {limit:.3f} ms" in text
    assert ("/ 0.500!" in text) is over
    assert ("! phone: 25.0% above its latency limit in this last measurement" in text) is over
    assert "12.5" in cells(copied)[1]


def test_names_are_escaped(copied):
    name = "<script>alert(1)</script> & co"
    reported(copied, load_recipe(copied / "recipe.yaml").model_copy(update={"name": name}))
    assert parsed(copied).tags.count("script") == 1
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; co" in (copied / "report.html").read_text()
    assert "<script>" not in (copied / "report.md").read_text()


def test_what_a_run_knows_is_in_its_report(finished, values):
    """Curves, front, blocks and pairs, with nothing that is optional."""
    headings = re.findall("<h2>(.*?)</h2>", (finished.folder / "report.html").read_text())
    assert headings[:3] == ["Result", "Search", "Chosen subnets"] and headings[-2:] == [
        "Training",
        "Machine and versions",
    ]
    captions = re.findall("<figcaption>(.*?)</figcaption>", (finished.folder / "report.html").read_text())
    assert {"phone: accuracy against MACs", "phone", "Accuracy", "Training loss", "Learning rate"} <= set(captions)
    assert len(values["training"]) == len((finished.folder / "train" / "metrics.jsonl").read_text().splitlines())
    assert len(values["predictor"]["held_out"]) == values["predictor"]["rows_held_out"]
    assert values["targets"]["phone"]["history"] and values["targets"]["phone"]["front"]


def test_runs_of_older_versions_are_still_shown(copied, values):
    """Without what reports have since been given; and with damaged training figures, which no report needs."""
    search, quality = copied / "search" / "phone.json", copied / "predictor" / "quality.json"
    found = json.loads(search.read_text())
    for key in ("front", "history", "evaluated", "candidates"):
        found.pop(key, None)
    search.write_text(json.dumps(found))
    quality.write_text(json.dumps({key: value for key, value in values["predictor"].items() if key != "held_out"}))
    table = json.loads((copied / "costs" / "phone.json").read_text())
    table["info"]["quality"].pop("pairs", None)
    (copied / "costs" / "phone.json").write_text(json.dumps(table))
    (copied / "train" / "metrics.jsonl").write_text('{"phase": "full", ')
    reported(copied)
    captions = re.findall("<figcaption>(.*?)</figcaption>", (copied / "report.html").read_text())
    assert not {"Training loss", "Best found after each generation"} & set(captions)
    assert "Candidates measured" not in rewritten(copied) and "Training" not in rewritten(copied)

    older = {key: value for key, value in values.items() if key not in ("space", "training")}
    target = {key: value for key, value in older["targets"]["phone"].items() if key != "latency_table"}
    (copied / "report.json").write_text(json.dumps(older | {"targets": {"phone": target}}))
    assert rewritten(copied).splitlines()[3].startswith("phone ") and "Subnets" not in rewritten(copied)


def test_a_run_without_a_report(copied):
    shutil.rmtree(copied / "models")
    (copied / "report.json").unlink()
    with pytest.raises(UserError, match=f"this run has no report yet; `ofa run {copied}` goes on with it"):
        show(copied)
