"""Exports of plain timm models: agreement with torch, operators, and int8, one row a model.

Each model learns, for a few steps, to tell colours behind stripes, so that its logits mean
something; int8 noise of random weights says little. ``python benchmarks/exports.py [--steps N] [NAME ...]``
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import timm
import torch
from torch.nn import functional as F

from ofa.export.graph import onnx_graph
from ofa.export.onnx import export_onnx
from ofa.export.onnx_opset import opset_of
from ofa.export.quantization.tflite import quantize_tflite
from ofa.export.runtimes import litert, onnxruntime
from ofa.export.runtimes.timing import interleaved
from ofa.export.tflite.export import tflite_bytes
from ofa.export.tflite.flatbuffer import schema, unpack
from ofa.export.tflite.xnnpack import for_xnnpack

NAMES = (
    *("mobilenetv4_conv_small", "convnext_atto", "convnextv2_atto", "resnet18", "tf_efficientnet_lite0"),
    *("efficientnet_b0", "deit_tiny_patch16_224", "mobilenetv3_small_050", "ecaresnet26t"),
)
SIZE, CLASSES, BATCH = 64, 8, 16
KINDS = {value: name for name, value in vars(schema.BuiltinOperator).items()}


def stripes(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Normalised images and their classes, eight colours; stripes of any direction and noise lie above them."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, n)
    colours = np.array([[(label >> bit & 1) - 0.5 for bit in range(3)] for label in range(CLASSES)])
    rows, columns = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    waves = np.stack([np.sin(6.3 * (a * rows + b * columns + c)) for a, b, c in rng.uniform(0, 6, (n, 3))])
    noise = 0.3 * rng.standard_normal((n, 3, SIZE, SIZE))
    return (colours[labels][:, :, None, None] + waves[:, None] + noise).astype(np.float32), labels


def trained(name: str, steps: int) -> torch.nn.Module:
    torch.manual_seed(0)
    transformer = name.startswith(("deit", "vit"))
    model = timm.create_model(name, num_classes=CLASSES, **({"img_size": SIZE} if transformer else {})).train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.02)
    for step in range(steps):
        images, labels = stripes(BATCH, step)
        loss = F.cross_entropy(model(torch.from_numpy(images)), torch.from_numpy(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    # Averages of so few steps are those of the first ones.
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        for step in range(8):
            model(torch.from_numpy(stripes(BATCH, 1000 + step)[0]))
    return model.eval()


def row(name: str, folder: Path, *, steps: int) -> str:
    model = trained(name, steps)
    images, labels = stripes(96, 9999)
    with torch.no_grad():
        expected = model(torch.from_numpy(images)).numpy()
    largest = np.abs(expected).max()

    exported = export_onnx(model, folder / "model.onnx", resolution=SIZE)
    graph = onnx_graph(model, (3, SIZE, SIZE))
    errors = [
        np.abs(onnxruntime.run(onnxruntime.load(source), images) - expected).max() / largest
        for source in (exported, graph.SerializeToString())
    ]

    content = tflite_bytes(for_xnnpack(graph, int8=False), resizable=True)
    model_tflite = unpack(content)
    codes = [KINDS[code.builtinCode] for code in model_tflite.operatorCodes]
    found = Counter(codes[operator.opcodeIndex] for operator in model_tflite.subgraphs[0].operators)
    session = litert.load(content)
    errors.append(np.abs(litert.run(session, images) - expected).max() / largest)

    source = tflite_bytes(for_xnnpack(graph, int8=True), resizable=True)
    int8 = litert.load(quantize_tflite(source, [stripes(48, 5000)[0]]))
    got = litert.run(int8, images)
    same = (got.argmax(1) == expected.argmax(1)).mean()
    relative = np.abs(got - expected).mean() / np.abs(expected - expected.mean(0)).mean()
    accuracy = [(logits.argmax(1) == labels).mean() for logits in (expected, got)]
    shape = (1, 3, SIZE, SIZE)
    times = interleaved([litert.bind(session, shape), litert.bind(int8, shape)], rounds=15, progress=False)
    ratio = np.median(times[:, 0] / times[:, 1])
    opset = opset_of(onnx.load(exported))
    return (
        f"| {name} | {errors[0]:.0e} (opset {opset}) | {errors[1]:.0e} | {errors[2]:.0e} | {sum(found.values())} | "
        f"{found['TRANSPOSE']} | {same:.1%} | {relative:.3f} | {accuracy[0]:.1%}, {accuracy[1]:.1%} | {ratio:.1f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--steps", type=int, default=40, help="of training")
    given = parser.parse_args()
    torch.set_num_threads(1)
    packages = ("torch", "timm", "onnxruntime", "ai-edge-litert", "ai-edge-quantizer")
    print(", ".join(f"{package} {version(package)}" for package in packages), end="\n\n")
    print(
        "| model | exported ONNX | direct ONNX | TFLite float32 | operators | TRANSPOSE | int8: same class | "
        "int8: error | accuracy float32, int8 | int8 faster |"
    )
    print("|---" * 10 + "|")
    for name in given.names:
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            print(row(name, Path(folder), steps=given.steps), flush=True)
        print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
