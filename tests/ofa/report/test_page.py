"""Reports with everything that a run may know: as text, and as a page in a real browser."""

import copy
import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from ofa.pipeline.artefacts.report import Report
from ofa.report.html import render_html
from ofa.report.text import render_markdown, render_text
from ofa.supernet.space import SearchSpace

CHROMIUM = shutil.which("chromium")
NOT_THERE = "chromium is not installed: apt-get install chromium"
FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync --enable-logging=stderr --dump-dom --virtual-time-budget=2000"""
NAMES = ("server", "phone", "board")


def target(space, rng, *, limits):
    codes = space.sample(30, rng)
    subnets = [space.decode(code) for code in codes]
    latency = np.sort(rng.uniform(0.8, 12, 30))
    accuracy = np.sort(rng.uniform(0.7, 0.79, 30))

    def predicted(row):
        return {"accuracy": accuracy[row], "latency": latency[row], "macs": 30e6 * latency[row]}

    candidates = [
        {
            "subnet": subnets[row].to_dict(),
            "id": subnets[row].id,
            "predicted": predicted(row),
            "measured": {
                "accuracy": accuracy[row] - 0.01 * rng.normal(),
                "latency": latency[row] * rng.uniform(0.9, 1.1),
            },
            "chosen": row == 27,
        }
        for row in range(20, 28)
    ]
    return {
        "subnet": subnets[27].to_dict(),
        "id": subnets[27].id,
        "limits": limits,
        "predicted": predicted(27) | {"accuracy_std": 0.006, "params": 5.3e6},
        "measured": {
            "validation_accuracy": accuracy[27] - 0.004,
            "latency": latency[27] * 1.02,
            "test_accuracy": 0.777,
        },
        "verified": {"validation_accuracy_before_finetuning": None},
        "model": "/home/someone/with/a/long/path/runs/imagenet/models/phone/model.onnx",
        "candidates": candidates,
        "front": [
            {"subnet": one.to_dict(), "accuracy": accuracy[row], "costs": {key: predicted(row)[key] for key in limits}}
            for row, one in enumerate(subnets)
        ],
        "history": [{"generation": g, "accuracy": 0.75 + 0.001 * g, "evaluated": 100 * g + 100} for g in range(30)],
        "evaluated": 3000,
    }


@pytest.fixture
def values():
    rng, space = np.random.default_rng(0), SearchSpace.preset("ofa_mbv3")
    pairs = [[value, value * rng.uniform(0.95, 1.05)] for value in rng.uniform(1, 12, 24)]
    quality = {"mape": 0.03, "kendall_tau": 0.96, "repeat_mape": 0.02, "test_subnets": 24, "pairs": pairs}
    limits = [{"latency": 12.5}, {"latency": 13.0, "macs": 400e6}, {"macs": 380e6}]
    epochs = [("full", 180), ("kernel", 120), ("depth-2", 25), ("depth-3", 1), ("expand-2", 1), ("expand-3", 120)]
    accuracies = {f"accuracy_{name}": 0.7 + rng.uniform(0, 0.05) for name in ("smallest", "median", "largest")}
    return {
        "name": "imagenet",
        "date": "2026-11-22",
        "data": {"source": "/data/imagenet", "images": {"train": 1281167, "validation": 25000, "test": 25000}},
        "machine": {"cpu": "AMD EPYC", "python": "3.11.7", "system": "Linux"},
        "versions": {"torch": "2.15.0", "numpy": "2.4.6"},
        "space": space.to_dict(),
        "predictor": {
            "kendall_tau": 0.94,
            "rmse": 0.004,
            "held_out": [[a + 0.004 * rng.normal(), 0.004, a] for a in rng.uniform(0.7, 0.79, 60)],
        },
        "latency_table": {
            "runtime": "onnxruntime",
            "version": "1.31.1",
            "threads": 1,
            "cpu": "AMD EPYC",
            "quality": quality,
        },
        "targets": {name: target(space, rng, limits=some) for name, some in zip(NAMES, limits, strict=True)},
        "training": [
            {"phase": name, "epoch": epoch, "loss": 3 - epoch / count, "lr": 2.6 * (1 - epoch / count), **accuracies}
            for name, count in epochs
            for epoch in range(1, count + 1)
        ],
    }


def page(values) -> str:
    return render_html(Report.model_validate(values))


def markdown(values) -> str:
    return render_markdown(Report.model_validate(values))


def screen(values) -> str:
    return render_text(Report.model_validate(values))


def hostile(value):
    """The same with every text and key of a name a tag that would run."""
    text = "<img src=x onerror=alert(1)>&'\"|"
    if isinstance(value, dict):
        return {
            key: text + item if key in ("id", "name", "source", "model", "phase") else hostile(item)
            for key, item in value.items()
        }
    return [hostile(item) for item in value] if isinstance(value, list) else value


def browse(folder, text, script, *, width=1200):
    """What ``script`` (the body of a function) returns in the page, and everything the console was given."""
    path = folder / "page.html"
    answer = "const p = document.createElement('pre'); p.id = 'answer'; p.textContent = JSON.stringify(answer);"
    added = f"<script>const answer = (() => {{ {script} }})(); {answer} document.body.append(p);</script>"
    path.write_text(text.replace("</body>", f"{added}</body>"))
    profile = folder / "profile"
    command = [CHROMIUM, *FLAGS.split(), f"--user-data-dir={profile}", f"--window-size={width},900", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    shutil.rmtree(profile, ignore_errors=True)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    found = re.search(r'<pre id="answer">(.*?)</pre>', done.stdout, re.S)
    return json.loads(html.unescape(found[1])) if found else None, console


def test_the_screen_is_a_page_for_three_targets(values):
    lines = screen(values).splitlines()
    assert len(lines) <= 66 and not any(line.endswith(" ") for line in lines)
    text = "\n".join(lines)
    for name, one in values["targets"].items():
        chosen = next(row for row in lines if row.startswith(name) and " yes " in row)
        assert one["id"] in chosen and f"{one['predicted']['latency']:.3f}" in chosen
    assert "(15 more in report.html)" in text  # eight of each were measured, three are shown
    # Read off by hand: what the notes say is the mean over all candidates.
    every = [one for target in values["targets"].values() for one in target["candidates"]]
    away = [abs(one["predicted"]["latency"] / one["measured"]["latency"] - 1) for one in every]
    assert (
        "24 measured candidates: accuracy " in text
        and f"latency {np.mean(away):.1%} on average, {max(away):.1%}" in text
    )
    assert "\nphone   " in text and " px  24: k" in text
    assert [line.split()[0] for line in lines[-6:]] == ["full", "kernel", "depth-2", "depth-3", "expand-2", "expand-3"]


def test_markdown_and_html_have_the_tables_of_the_screen(values):
    text, shown = markdown(values), page(values)
    for heading in ("Candidates measured", "Prediction errors", "Training"):
        assert f"## {heading}" in text
    first = values["targets"]["server"]["candidates"][0]
    latency = f"{first['predicted']['latency']:.3f}"
    assert f"| server | {first['id']} |  | {100 * first['predicted']['accuracy']:.1f} |" in text
    assert f">{first['id']}</td>" in shown and f">{latency}</td>" in shown


def test_a_prediction_is_compared_with_what_it_was_made_for(values):
    """The predictor knows networks before fine-tuning; errors are predicted minus measured."""
    one = values["targets"]["phone"]
    one["verified"]["validation_accuracy_before_finetuning"] = one["predicted"]["accuracy"] - 0.012
    row = next(line for line in markdown(values).splitlines() if line.startswith("| phone | ") and "+2.0" in line)
    assert " | +1.2 | +2.0 | " in row
    assert "(before fine-tuning " in screen(values)


def test_candidates_that_were_timed_alone(values):
    """Those above a limit are not scored."""
    before = page(values).count("measured</title>")
    del values["targets"]["board"]["candidates"][0]["measured"]["accuracy"]
    row = next(
        line for line in screen(values).splitlines() if values["targets"]["board"]["candidates"][0]["id"] in line
    )
    assert row.split()[3:5] == ["-", "-"] and "Candidates without a measured accuracy were above" in screen(values)
    assert page(values).count("measured</title>") == before - 1


def test_targets_with_tables_of_their_own(values):
    other = values["latency_table"] | {"runtime": "litert"}
    values["targets"]["phone"]["latency_table"] = other
    text = screen(values)
    assert "Latency of server, board: one image, onnxruntime" in text and "Latency of phone: one image, litert" in text
    assert "<figcaption>Latency: litert 1.31.1 (phone)</figcaption>" in page(values)


def test_a_target_that_was_not_timed(values):
    del values["targets"]["board"]["measured"]["latency"], values["targets"]["board"]["predicted"]["latency"]
    assert re.search(r"^board .* - / -( |$)", screen(values), re.M)
    assert "board: accuracy against MACs" in page(values)


def test_a_microcontroller(values):
    """Other costs than latency, limited and measured, in units of their own; an int8 model."""
    board = values["targets"]["board"]
    board["limits"] = {"sram": 64 * 1024, "instructions": 40e6}
    board["predicted"] |= {"sram": 60 * 1024, "instructions": 38e6, "flash": 300e3}
    board["measured"] = {"sram": 66 * 1024, "instructions": 37e6, "validation_accuracy": 0.74, "test_accuracy": 0.73}
    del board["predicted"]["latency"]
    board["candidates"] = []
    board["front"] = [{"subnet": board["subnet"], "accuracy": 0.75, "costs": {"sram": 50 * 1024, "instructions": 30e6}}]
    info = {"runtime": "cortex_m4", "version": "9.0", "cost": "instructions", "unit": "instructions", "bits": 8}
    board["latency_table"] = info
    board["verified"] |= {
        "validation_accuracy": 0.74,
        "validation_accuracy_float32": board["predicted"]["accuracy"] - 0.006,
        "int8": {"tried": {"min/max": 0.73, "bias": 0.74}, "used": "bias", "allowed_drop": 0.01, "within": False},
    }
    board["verified"]["int8"] |= {"calibration_images": 5, "calibration_images_asked": 5}
    lines = screen(values).splitlines()
    assert any(line.startswith("board ") and "<= 64.0 KB sram, <= 40 M instructions" in line for line in lines)
    start = next(number for number, line in enumerate(lines) if "sram KB" in line)  # where the second table begins
    head, below, *_, row = lines[start : start + 6]
    at = head.index("sram KB"), head.index("instructions  ")
    assert [row[start:].split("  ")[0] for start in at] == ["60.0 / 66.0!", "38 M / 37 M"] and "flash" not in head
    assert below[at[0] :].startswith("predicted / measured")
    text = screen(values)
    assert "! board: 3.1% above its sram limit in this last measurement.\n" in text
    assert "Instructions of board: one image, cortex_m4 9.0 int8." in text
    assert "! board: int8 (bias) has 74.0 % validation accuracy, float32 " in text and "tried: min/max, bias." in text
    board["verified"]["int8"]["within"] = True
    assert "board: int8 (bias) has 74.0 %" in screen(values) and "tried" not in screen(values)
    errors = next(line for line in markdown(values).splitlines() if line.startswith("| board | ") and "+1.0" in line)
    assert errors.split(" | ")[3:5] == ["+0.6", "+1.0"] and errors.endswith(
        "| 60.0 | 66.0 | -9.1 | 38 M | 37 M | +2.7 |"
    )
    shown = page(values)
    for words in ("board: accuracy against sram", "sram (KB)", "limit 64 KB", "instructions (millions)"):
        assert words in shown
    assert "<figcaption>Instructions: cortex_m4 9.0 (board)</figcaption>" in shown


def test_every_text_is_escaped(values):
    bad = hostile(values)
    bad["targets"] = {f"<img src=y>{name}": one for name, one in bad["targets"].items()}
    bad["machine"]["cpu"] = bad["versions"]["<img>"] = bad["latency_table"]["runtime"] = "<img src=z>"
    shown = page(bad)
    assert "<img" not in shown and shown.count("&lt;img") > 20
    assert "<img" not in markdown(bad)


def test_nothing_is_fetched_from_elsewhere(values):
    shown = page(values)
    assert not re.search(r"https?:|\b(src|href|xlink)\b\s*=|@import|url\(", shown)
    assert "undefined" not in shown and "nan" not in re.sub(r"<script>.*?</script>", "", shown, flags=re.S).lower()


@pytest.mark.skipif(not CHROMIUM, reason=NOT_THERE)
def test_tables_sort_on_a_click(values, tmp_path):
    script = """
      const table = [...document.querySelectorAll("table")].find(one => /chosen/.test(one.tHead.textContent));
      const column = name => [...table.tHead.rows[0].cells].findIndex(one => one.textContent === name);
      const read = index => [...table.tBodies[0].rows].map(row => row.cells[index].textContent);
      const click = index => {
        const button = table.tHead.rows[0].cells[index].querySelector("button");
        button.focus();
        document.activeElement.click();
        return table.tHead.rows[0].cells[index].getAttribute("aria-sort");
      };
      const latency = column("latency ms, measured"), answer = {before: read(latency)};
      answer.first = [click(latency), read(latency)];
      answer.second = [click(latency), read(latency)];
      answer.text = [click(0), read(0)];
      answer.within = read(latency).slice(0, 8);
      answer.sorted = table.querySelectorAll("[aria-sort]").length;
      return answer;"""
    values["targets"]["server"]["candidates"][3]["measured"].pop("latency")
    answer, console = browse(tmp_path, page(values), script)
    assert console == []
    known = sorted((text for text in answer["before"] if text != "-"), key=float)
    assert len({len(text) for text in known}) > 1 and answer["before"] != [*known, "-"]  # 9.5 and 12.3
    assert answer["first"] == ["ascending", [*known, "-"]]
    assert answer["second"] == ["descending", [*known[::-1], "-"]]
    assert answer["text"] == ["ascending", sorted(answer["text"][1])]
    assert answer["within"] == sorted(answer["within"], key=float, reverse=True)  # the order before, within a target
    assert answer["sorted"] == 1


@pytest.mark.skipif(not CHROMIUM, reason=NOT_THERE)
@pytest.mark.parametrize("width", [1200, 360])
def test_nothing_overlaps_or_sticks_out(values, tmp_path, width):
    """Text in a chart touches no other text; only tables and rows of blocks are wider than a phone, and they scroll."""
    script = f"""
      document.body.style.width = "{width}px";
      const touching = [];
      for (const chart of document.querySelectorAll("figure svg")) {{
        const texts = [...chart.querySelectorAll("text")].map(one => [one.textContent, one.getBoundingClientRect()]);
        const frame = chart.getBoundingClientRect();
        texts.forEach(([text, box], number) => {{
          if (box.left < frame.left - 1 || box.right > frame.right + 1) touching.push([text, "the frame"]);
          for (const [other, next] of texts.slice(number + 1))
            if (Math.min(box.right, next.right) - Math.max(box.left, next.left) > 0.5 &&
                Math.min(box.bottom, next.bottom) - Math.max(box.top, next.top) > 3) touching.push([text, other]);
        }});
      }}
      const edge = document.body.getBoundingClientRect().right;
      const out = [...document.querySelectorAll("h1,h2,p,figure,figcaption,.scroll,.legend,figure>svg")].filter(
        one => one.getBoundingClientRect().right > edge + 1).map(one => one.outerHTML.slice(0, 80));
      return {{touching, out, charts: document.querySelectorAll("figure>svg").length}};"""
    answer, console = browse(tmp_path, page(values), script)
    assert console == []
    assert answer == {"touching": [], "out": [], "charts": 4 + 1 + 2 + 3}


@pytest.mark.skipif(not CHROMIUM, reason=NOT_THERE)
def test_the_result_s_last_column_is_seen(values, tmp_path):
    """At 1,300 pixels the whole table, with intervals and two limits; on less it scrolls, and its edge shows that."""
    for target in values["targets"].values():
        target["measured"] |= {"validation_interval": [0.7, 0.8], "test_interval": [0.7, 0.8]}
        target["model"] = "models/server/model.int8.tflite"
    script = """
      const box = document.querySelector("section>.scroll"), last = [...box.querySelectorAll("tr>:last-child")];
      return [1300, 800].map(width => {
        document.body.style.width = width + "px";
        const right = box.getBoundingClientRect().right + 1, style = getComputedStyle(box);
        return [last.filter(cell => cell.getBoundingClientRect().right > right).length, style.overflowX,
          style.backgroundImage.includes("gradient")];
      });"""
    (wide, narrow), console = browse(tmp_path, page(values), script, width=1300)
    assert console == [] and wide[0] == 0
    assert narrow[0] == 0 or narrow[1:] == ["auto", True]


@pytest.mark.skipif(not CHROMIUM, reason=NOT_THERE)
def test_an_error_in_the_page_would_be_seen(values, tmp_path):
    broken = page(values).replace("querySelectorAll", "querySelectorAl")
    assert any("TypeError" in line for line in browse(tmp_path, broken, "return 1")[1])


@pytest.mark.skipif(not CHROMIUM, reason=NOT_THERE)
def test_the_page_of_a_real_run_has_no_error(finished, tmp_path):
    answer, console = browse(tmp_path, (finished.folder / "report.html").read_text(), "return document.title")
    assert answer == json.loads((finished.folder / "report.json").read_text())["name"] and console == []


def test_reports_of_one_run_are_equal(values):
    assert page(copy.deepcopy(values)) == page(values)
