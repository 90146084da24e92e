"""Compares ways to choose a network by the test accuracy of what they choose.

python benchmarks/choice.py replay RUN... --rows choice_rows.jsonl
python benchmarks/choice.py table choice_rows.jsonl
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from choice_data import SIZES
from choice_measured import Measured
from choice_methods import SIGNALS, Images, Replay, variants
from choice_runs import prepare
from scipy.stats import t as student

from ofa.predictors.costs.cost_table import CostTable
from ofa.predictors.metrics import kendall_tau

_DRAWS_OF_SIGNALS = 6
SHARES = (0.12, 0.25, 0.5)  # limits, of the largest network's MACs
DRAWS = {100: 1, 300: 1, None: 1}  # validation images (None: all), and how many draws of them


def replay(run: Path, names: list[str] | None) -> list[dict]:
    """A row for each method, draw of validation images and limit."""
    measured, rows = Measured(run), []
    macs = CostTable.macs(measured.space, **measured.job.model_kwargs)
    largest = float(macs.predict(measured.space.encode(measured.space.largest)[None])[0])
    data, _, seed = run.name.rpartition("_")
    for size, draws in DRAWS.items():
        for draw in range(draws):
            order = np.random.default_rng([int(seed), 7, draw]).permutation(len(measured.labels))
            played = Replay(measured, macs, Images(measured, order[:size]), seed=int(seed))
            for name, method in variants().items():
                if names and name not in names:
                    continue
                for share in SHARES:
                    code = played.choose(method, share * largest)
                    accuracy, loss = measured.test(code[None])[0]
                    key = {"data": data, "seed": int(seed), "images": size or 0, "draw": draw, "limit": share}
                    rows.append(key | {"method": name, "accuracy": accuracy, "loss": loss})
            measured.save()
    codes = measured.codes
    costs, tests = macs.predict(codes), measured.test(codes)[:, 0]
    best = {share: float(tests[costs <= share * largest].max()) for share in SHARES}
    return [row | {"regret": best[row["limit"]] - row["accuracy"]} for row in rows]


def signals(run: Path) -> str:
    """Kendall tau of each signal with test accuracy: over all measured networks, and over the better half of them."""
    measured = Measured(run)
    codes = measured.codes
    logits, tests = measured.logits(codes), measured.test(codes)[:, 0]
    upper = tests >= np.median(tests)
    lines = [f"{run.name}: {len(codes)} networks, test accuracy {tests.min():.1%} to {tests.max():.1%}"]
    lines += [f"| images | {' | '.join(SIGNALS)} |", "|---" * (len(SIGNALS) + 1) + "|"]
    rng = np.random.default_rng(0)
    for size in (100, 300, len(measured.labels)):
        taus = []
        for _ in range(_DRAWS_OF_SIGNALS if size < len(measured.labels) else 1):
            rows = rng.permutation(len(measured.labels))[:size]
            values = [[signal(one[rows], measured.labels[rows]) for one in logits] for signal in SIGNALS.values()]
            taus.append([(kendall_tau(v, tests), kendall_tau(v[upper], tests[upper])) for v in np.array(values)])
        cells = [f"{every:.2f}, {better:.2f}" for every, better in np.mean(taus, axis=0)]
        lines.append(f"| {size} | {' | '.join(cells)} |")
    return "\n".join(lines)


def table(rows: list[dict], *, baseline: str = "baseline") -> str:
    """Mean gain over the baseline in points, with a 95 % interval over supernets, in all and by validation images."""
    gains: dict[str, dict] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    key = ("data", "seed", "images", "draw", "limit")
    base = {tuple(row[name] for name in key): row["accuracy"] for row in rows if row["method"] == baseline}
    regrets = defaultdict(list)
    for row in rows:
        place = tuple(row[name] for name in key)
        if place not in base:
            continue
        gain, net = 100 * (row["accuracy"] - base[place]), (row["data"], row["seed"])
        size = row["images"] or "all"
        for group in ("mean", f"{size} images", row["data"], f"{row['limit']}x MACs"):
            gains[row["method"]][group][net].append(gain)
        regrets[row["method"]].append(100 * row["regret"])
    groups = list(dict.fromkeys(group for method in gains.values() for group in method))
    lines = [f"| method | regret | {' | '.join(groups)} |", "|---" * (len(groups) + 2) + "|"]
    for method, by_group in gains.items():
        cells = [f"{np.mean(regrets[method]):.2f}", *(_cell(by_group[group]) for group in groups)]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(by_net: dict) -> str:
    means = np.array([np.mean(values) for values in by_net.values()])
    if not len(means):
        return ""
    if len(means) < 2:
        return f"{means[0]:+.2f}"
    half = student.ppf(0.975, len(means) - 1) * means.std(ddof=1) / np.sqrt(len(means))
    return f"{means.mean():+.2f} ±{half:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    prepared = commands.add_parser("prepare", help="train a supernet and measure some of its networks")
    prepared.add_argument("data", choices=SIZES)
    prepared.add_argument("seed", type=int)
    prepared.add_argument("folder", type=Path)
    prepared.add_argument("--keywords", type=Path, default=Path("../shared/data/speech_commands"))
    told = commands.add_parser("signals", help="which signal tells test accuracy best")
    told.add_argument("runs", type=Path, nargs="+")
    replayed = commands.add_parser("replay", help="what each method chooses in some runs")
    replayed.add_argument("runs", type=Path, nargs="+")
    replayed.add_argument("--rows", type=Path, required=True)
    replayed.add_argument("--methods", nargs="*")
    shown = commands.add_parser("table", help="what is better by how much")
    shown.add_argument("rows", type=Path, nargs="+")
    chosen = parser.parse_args()
    if chosen.command == "prepare":
        print(prepare(chosen.data, chosen.seed, chosen.folder, keywords=chosen.keywords))
        return
    if chosen.command == "signals":
        for run in chosen.runs:
            print(signals(run) + "\n", flush=True)
        return
    if chosen.command == "replay":
        for run in chosen.runs:
            rows = replay(run, chosen.methods)
            with chosen.rows.open("a") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)
            print(run, len(rows), flush=True)
        return
    print(table([json.loads(line) for path in chosen.rows for line in path.read_text().splitlines()]))


if __name__ == "__main__":
    main()
