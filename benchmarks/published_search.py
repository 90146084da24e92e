"""The published implementation's side of ``search.py``: its evolution, its MLP and its FLOPs model, on one thread.

Its package is called ``ofa`` like ours, so ``search.py`` starts this file as a process that has the package's folder
first on its path. Protocol: the folder in the first argument; then per line of input the number of generations of one
search of populations of 100, and per line of output its seconds (of processor time) and how many subnets it evaluated.
"""

from __future__ import annotations

import contextlib
import io
import random
import sys
import time
import types
from pathlib import Path

import numpy as np
import torch

POPULATION, ROWS = 100, 300


def main() -> None:
    folder = Path(sys.argv[1]).resolve()
    sys.path.insert(0, str(folder))
    # Its data loader needs modules that torch dropped years ago; a search needs no data loader.
    sys.modules["ofa.utils.my_dataloader"] = types.ModuleType("ofa.utils.my_dataloader")
    from ofa.imagenet_classification.elastic_nn.networks import OFAMobileNetV3
    from ofa.nas.accuracy_predictor import AccuracyPredictor, MobileNetArchEncoder
    from ofa.nas.efficiency_predictor import Mbv3FLOPsModel
    from ofa.nas.search_algorithm import EvolutionFinder

    if not Path(sys.modules["ofa"].__file__).resolve().is_relative_to(folder):
        raise SystemExit(f"{folder} has no published package: pip install ofa --no-deps --target FOLDER")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  (the package draws from global state)
    choices = {"ks_list": [3, 5, 7], "expand_list": [3, 4, 6], "depth_list": [2, 3, 4]}
    encoder = MobileNetArchEncoder(image_size_list=list(range(128, 225, 4)), **choices)
    predictor = AccuracyPredictor(encoder, device="cpu")
    net = OFAMobileNetV3(ks_list=[3, 5, 7], expand_ratio_list=[3, 4, 6], depth_list=[2, 3, 4])
    fit(predictor, encoder, Mbv3FLOPsModel(net))
    print("ready", flush=True)
    for line in sys.stdin:
        generations = int(line)
        finder = EvolutionFinder(
            Mbv3FLOPsModel(net), predictor, population_size=POPULATION, max_time_budget=generations
        )
        started = time.process_time()
        with contextlib.redirect_stdout(io.StringIO()):
            finder.run_evolution_search(300)
        print(time.process_time() - started, POPULATION * (1 + generations), flush=True)


def fit(predictor: torch.nn.Module, encoder: object, costs: object) -> None:
    """Fits the MLP to the made-up accuracies of ``search.py``, which grow with size, so that the limit matters."""
    samples = [encoder.random_sample_arch() for _ in range(ROWS)]
    inputs = torch.tensor(np.array([encoder.arch2feature(sample) for sample in samples])).float()
    targets = 10 * torch.tensor([costs.get_efficiency(sample) for sample in samples]).float().log()
    targets = (targets - targets.mean()) / targets.std()
    optimizer = torch.optim.Adam(predictor.parameters(), lr=1e-3, weight_decay=1e-4)
    for _ in range(200):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(predictor(inputs), targets).backward()
        optimizer.step()


if __name__ == "__main__":
    main()
