"""Measures what training for int8 gives where int8 loses: EfficientNet-Lite0 with its trained ImageNet weights.

    python benchmarks/quantization_aware.py WEIGHTS CIFAR10 --out FOLDER

WEIGHTS is timm's ``tf_efficientnet_lite0`` as .safetensors, CIFAR10 the folder of ``../shared/data/cifar10``. The
network has 1,000 classes and the photos at 64 pixels have none of them, so an int8 file is scored by how often it
predicts what the float32 network predicts; training learns the float32 network's classes and soft labels on other
photos. FOLDER keeps a seed's results, so that it can be stopped and started again.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import safetensors.torch
import timm
import torch
from cifar10 import Cifar10
from torch import Tensor, nn

from ofa.config.export import OnnxConfig
from ofa.export.quantization.fake.build import fake_quantized
from ofa.export.runtimes import litert
from ofa.export.tflite.export import export_tflite
from ofa.supernet.training.settings import Settings
from ofa.supernet.training.step import resize
from ofa.supernet.training.student import train_student
from ofa.targets.quantization_attempts import tflite_attempts

SIDE, CALIBRATION, BATCH = 64, 100, 32
TRAINED = "quantization-aware training"
SETTINGS = Settings(optimizer="adamw", weight_decay=0.0, label_smoothing=0.0)


def normalize(images: Tensor) -> Tensor:
    return (images.float() / 255 - 0.5) / 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("cifar10", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--lr", type=float, default=3e-5)
    parser.add_argument("--test", type=int, default=1000)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for seed in range(options.seeds):
        path = options.out / f"seed{seed}-{options.steps}-{options.lr:g}.json"
        if not path.exists():
            path.write_text(json.dumps(measured(options, seed)))
        print(path.read_text(), flush=True)
    results = [json.loads(path.read_text()) for path in sorted(options.out.glob("seed*.json"))]
    print("\n| way | equal predictions, % | error of logits | seeds |\n|---|---|---|---|")
    for way in dict.fromkeys(way for result in results for way in result["ways"]):
        rows = np.array([result["ways"][way] for result in results if way in result["ways"]])
        (equal, error), (spread, _) = rows.mean(0), rows.std(0)
        print(f"| {way} | {100 * equal:.1f} ± {100 * spread:.1f} | {error:.3f} | {len(rows)} |")


def measured(options: argparse.Namespace, seed: int) -> dict:
    """Equal predictions and the logits' error (root mean square, as a share of their deviation) of each way."""
    data = Cifar10(options.cifar10, images=options.steps * BATCH + CALIBRATION, seed=seed)
    float32 = timm.create_model("tf_efficientnet_lite0")
    float32.load_state_dict(safetensors.torch.load_file(options.weights))
    float32.eval()
    rows = np.random.default_rng(seed).permutation(len(data.train))
    calibration = [resize(normalize(torch.from_numpy(data.train[rows[:CALIBRATION]])), SIDE).contiguous().numpy()]
    test = resize(normalize(data.test[: options.test]), SIDE).contiguous()
    with torch.no_grad():
        expected = torch.cat([float32(part) for part in test.split(100)]).numpy()

    def scored(model: nn.Module, ways: dict) -> list[float]:
        path = options.out / f"seed{seed}.tflite"
        export_tflite(model, path, resolution=SIDE, int8_data=calibration, int8_options=ways, int8_check=False)
        logits = litert.run(litert.load(path), test.numpy())
        error = np.sqrt(np.mean((logits - expected) ** 2)) / expected.std()
        return [float((logits.argmax(1) == expected.argmax(1)).mean()), float(error)]

    results = {name: scored(float32, ways) for name, ways in tflite_attempts(OnnxConfig()).items()}
    student, started = fake_quantized(copy.deepcopy(float32), calibration, resolution=SIDE), time.perf_counter()

    def batches(epoch: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        for part in rows[CALIBRATION:].reshape(-1, BATCH)[start:]:
            images = torch.from_numpy(data.train[part])
            with torch.no_grad():
                yield images, float32(resize(normalize(images), SIDE)).argmax(1)

    sizes = {"epochs": 1, "steps_per_epoch": options.steps, "resolution": SIDE}
    teacher = copy.deepcopy(float32)
    train_student(student, teacher, batches, lr=options.lr, normalize=normalize, settings=SETTINGS, **sizes)
    results[TRAINED] = scored(student.model, {"bounds": student.bounds()})
    return {"seed": seed, "seconds": time.perf_counter() - started, "ways": results}


if __name__ == "__main__":
    main()
