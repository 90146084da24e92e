"""Zero-cost proxies on untrained networks of NAS-Bench-201: rank correlation with their published accuracies.

python benchmarks/proxies.py score NASBENCH201_CSV CIFAR10_FOLDER OUT [--networks 400] [--init torch]
python benchmarks/proxies.py table NASBENCH201_CSV OUT [QUIET]
python benchmarks/proxies.py features NASBENCH201_CSV OUT
python benchmarks/proxies.py collection NASBENCH201_CSV OUT

`score` adds a row a network and proxy to OUT/rows_INIT.csv and goes on where it stopped. The networks are the
benchmark's own (16 channels, 5 cells a stage), in one random order, so that more of them are a longer list. QUIET is an
OUT of a few networks that were scored while nothing else ran: milliseconds are taken from there.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.stats import kendalltau, spearmanr
from torch import Tensor, nn

from ofa.predictors.accuracy.predictor import AccuracyPredictor
from ofa.predictors.accuracy.proxy_line import ScoredNetworks
from ofa.predictors.proxies.aggregate import aggregate
from ofa.predictors.proxies.sampling import denser_above
from ofa.predictors.proxies.table import AGGREGATES, PROXIES
from ofa.supernet.cells.model import CellModel
from ofa.supernet.cells.space import CellSpace
from ofa.supernet.cells.subnet import CellSubnet

DATA = {"CIFAR-10": "CIFAR10", "CIFAR-100": "CIFAR100", "IN16-120": "ImageNet"}
_FEATURES = ("naswot", "zico", "macs", "fisher_spectrum", "expressivity", "synflow")
_DRAWS = 10
FIELDS = ("row", "proxy", "value", "milliseconds", "reason")
# Spearman correlation with CIFAR-10 accuracy as published by several papers, over the whole space.
BANDS = {
    "naswot": (0.74, 0.79),
    "synflow": (0.74, 0.77),
    "zico": (0.78, 0.80),
    "macs": (0.73, 0.80),
    "params": (0.74, 0.75),
    "jacob_cov": (0.80, 0.80),
    "grad_norm": (0.44, 0.44),
    "snip": (0.59, 0.59),
    "grasp": (0.51, 0.51),
    "zen": (0.10, 0.10),
    "az_nas": (0.89, 0.91),
    "vkdnw": (0.92, 0.92),
}


def initial_weights(model: nn.Module, init: str, seed: int) -> None:
    """``torch``: as torch's layers begin. ``kaiming``: normal weights of fan-in variance, as AZ-NAS and VKDNW have."""
    torch.manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.reset_parameters()
            if init == "kaiming":
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


def images_of(folder: Path, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Normalised CIFAR-10 training images ``(count, 3, 32, 32)`` and their labels."""
    sheet = np.asarray(Image.open(folder / "train_00.webp").convert("RGB"))
    pixels = sheet.reshape(50, 32, 50, 32, 3).transpose(0, 2, 1, 3, 4).reshape(-1, 32, 32, 3)
    labels = np.load(folder / "labels.npz")["y_train"][: len(pixels)]
    chosen = np.random.default_rng(seed).permutation(len(pixels))[:count]
    images = torch.from_numpy(pixels[chosen].copy()).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ((0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)))
    return (images - mean) / std, torch.from_numpy(labels[chosen].astype(np.int64))


def published(path: Path) -> tuple[list[str], dict[str, np.ndarray]]:
    """The cells as text, and the accuracies of each data set in percent."""
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    accuracies = {
        data: np.array([float(row[f"{key}TestAccuracy200Epochs"]) for row in rows]) for data, key in DATA.items()
    }
    return [row["ArchitectureString"] for row in rows], accuracies


def order(count: int) -> np.ndarray:
    return np.random.default_rng(0).permutation(count)


def score(table: Path, data: Path, out: Path, *, networks: int, init: str, batch: int, names: list[str]) -> None:
    architectures, _ = published(table)
    images, labels = images_of(data, batch, seed=0)
    space, path = CellSpace.preset("nasbench201"), out / f"rows_{init}.csv"
    out.mkdir(parents=True, exist_ok=True)
    done = {(row["row"], row["proxy"]) for row in _rows(path)}
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        if not done:
            writer.writerow(FIELDS)
        for row in order(len(architectures))[:networks].tolist():
            missing = [name for name in names if (str(row), name) not in done]
            if not missing:
                continue
            model = CellModel(space, CellSubnet.from_arch(architectures[row]), num_classes=10)
            initial_weights(model, init, seed=row)
            for name in missing:
                value, reason, milliseconds = PROXIES[name].measure(model, images, labels, 0)
                writer.writerow([row, name, repr(value), f"{milliseconds:.1f}", reason])
            file.flush()


def tables(table: Path, out: Path, quiet: Path | None = None) -> None:
    _, accuracies = published(table)
    for path in sorted(out.glob("rows_*.csv")):
        print(f"\n### {path.stem.removeprefix('rows_')} initialisation\n")
        print(table_of(_rows(path), accuracies, _rows((quiet or out) / path.name)))


def table_of(rows: list[dict[str, str]], accuracies: dict[str, np.ndarray], timed: list[dict[str, str]]) -> str:
    values: dict[str, dict[int, float]] = defaultdict(dict)
    times: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        values[row["proxy"]][int(row["row"])] = float(row["value"])
    for row in timed:
        times[row["proxy"]].append(float(row["milliseconds"]))
    for name, members in AGGREGATES.items():
        if all(member in values for member in members):
            common = sorted(set.intersection(*(set(values[member]) for member in members)))
            ranked = aggregate({member: [values[member][row] for row in common] for member in members})
            values[name] = dict(zip(common, ranked.tolist(), strict=True))
            times[name] = np.sum([np.median(times[member]) for member in members])[None]
    data = list(accuracies)
    lines = [
        "| proxy | networks (NaN) | " + " | ".join(f"{name} Spearman / Kendall" for name in data)
        + " | published, CIFAR-10 | 95 % interval | regret, points: " + ", ".join(data) + " | ms |",
        "|---|---|" + "---|" * (len(data) + 4),
    ]  # fmt: skip
    for name, of_row in values.items():
        found = np.array(list(of_row))
        scores = np.array(list(of_row.values()))
        missing = int(np.isnan(scores).sum())
        scores = np.nan_to_num(scores, nan=-np.inf)
        cells, regrets = [], []
        for accuracy in accuracies.values():
            true = accuracy[found]
            cells.append(f"{spearmanr(scores, true).statistic:.3f} / {kendalltau(scores, true).statistic:.3f}")
            regrets.append(f"{true.max() - true[scores.argmax()]:.2f}")
        low, high = _interval(scores, accuracies[data[0]][found])
        band = f"{BANDS[name][0]:.2f} to {BANDS[name][1]:.2f}" if name in BANDS else "-"
        count = f"{len(found)} ({missing})"
        lines.append(
            f"| {name} | {count} | {' | '.join(cells)} | {band} | {low:.2f} to {high:.2f} | {', '.join(regrets)} | "
            f"{np.median(times[name]):.0f} |"
        )
    return "\n".join(lines)


def features(table: Path, out: Path) -> None:
    """Kendall's tau of accuracy predictors on networks that were neither measured nor scored, with and without proxies.

    Of the scored networks, 70 % give surrogates of the proxies, some of them have an accuracy, and the others judge.
    """
    architectures, accuracies = published(table)
    space, values = CellSpace.preset("nasbench201"), _values(out)
    rows = np.array(sorted(set.intersection(*(set(values[name]) for name in _FEATURES))))
    codes = np.stack([space.encode(CellSubnet.from_arch(architectures[row])) for row in rows])
    scores = {name: np.array([values[name][row] for row in rows.tolist()]) for name in _FEATURES}
    print(f"{len(rows)} networks, Kendall tau with CIFAR-10 accuracy, mean of {_DRAWS} draws\n")
    print(
        "| accuracies | choices alone | and naswot, zico | and all of " + ", ".join(_FEATURES) + " |\n|---|---|---|---|"
    )
    for measured in (10, 20, 50):
        taus = defaultdict(list)
        for draw in range(_DRAWS):
            chosen = np.random.default_rng(draw).permutation(len(rows))
            scored, judged = np.split(chosen, [round(0.7 * len(rows))])
            known, true = scored[:measured], accuracies["CIFAR-10"][rows]
            for names in ((), ("naswot", "zico"), _FEATURES):
                proxies = (
                    ScoredNetworks(codes[scored], {name: scores[name][scored] for name in names}) if names else None
                )
                fitted = AccuracyPredictor(space).fit(codes[known], true[known], proxies=proxies)
                taus[names].append(kendalltau(fitted.predict(codes[judged]), true[judged]).statistic)
        print(
            f"| {measured} | " + " | ".join(f"{np.mean(of_names):.2f}" for of_names in taus.values()) + " |", flush=True
        )


def collection(table: Path, out: Path) -> None:
    """What is found when a few networks are measured that spread over MACs, or that az_nas ranks first at each cost.

    Of 80 networks, drawn again and again, 20 are measured. The best of them, the tau of a predictor of them on the 60
    others, and the regret of the network that it likes best of all.
    """
    architectures, accuracies = published(table)
    space, values = CellSpace.preset("nasbench201"), _values(out)
    rows = np.array(sorted(set.intersection(*(set(values[name]) for name in AGGREGATES["az_nas"]))))
    codes = np.stack([space.encode(CellSubnet.from_arch(architectures[row])) for row in rows])
    scores = {name: np.array([values[name][row] for row in rows.tolist()]) for name in AGGREGATES["az_nas"]}
    print("| collection | regret of the best measured, points | tau on the others | regret of the best predicted |")
    print("|---|---|---|---|")
    for name in ("spread", "proxies"):
        found = []
        for draw in range(_DRAWS * 3):
            rng = np.random.default_rng(draw)
            pool = rng.permutation(len(rows))[:80]
            ranks = aggregate({proxy: column[pool] for proxy, column in scores.items()})
            ranks = ranks if name == "proxies" else rng.random(len(pool))
            chosen = denser_above(ranks, scores["macs"][pool], n=20, rng=rng)
            true, others = accuracies["CIFAR-10"][rows[pool]], np.setdiff1d(np.arange(len(pool)), chosen)
            predicted = AccuracyPredictor(space).fit(codes[pool][chosen], true[chosen]).predict(codes[pool])
            tau = kendalltau(predicted[others], true[others]).statistic
            found.append((true.max() - true[chosen].max(), tau, true.max() - true[predicted.argmax()]))
        print(f"| {name} | " + " | ".join(f"{mean:.2f}" for mean in np.mean(found, axis=0)) + " |", flush=True)


def _values(out: Path) -> dict[str, dict[int, float]]:
    """Of each proxy by row of the benchmark's table."""
    values: dict[str, dict[int, float]] = defaultdict(dict)
    for row in _rows(out / "rows_torch.csv"):
        values[row["proxy"]][int(row["row"])] = float(row["value"])
    return values


def _interval(scores: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """Of Spearman's correlation, by 500 draws of networks with replacement."""
    rng = np.random.default_rng(0)
    draws = (rng.integers(len(true), size=len(true)) for _ in range(500))
    return tuple(np.percentile([spearmanr(scores[draw], true[draw]).statistic for draw in draws], [2.5, 97.5]))


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["reason"] is not None]  # but for one that was cut short


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["score", "table", "features", "collection"])
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--networks", type=int, default=400)
    parser.add_argument("--init", choices=["torch", "kaiming"], default="torch")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--names", default=",".join(PROXIES), help="proxies, by commas")
    arguments = parser.parse_args()
    if arguments.command != "score":
        {"table": tables, "features": features, "collection": collection}[arguments.command](*arguments.paths)
        return
    torch.set_num_threads(1)
    options = {"networks": arguments.networks, "init": arguments.init, "batch": arguments.batch}
    score(*arguments.paths, **options, names=arguments.names.split(","))


if __name__ == "__main__":
    main()
