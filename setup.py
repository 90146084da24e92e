"""Packaging. One import package, ``ofa``; the folders of the repository's root are mapped below it."""

import pathlib

from setuptools import setup

TFLITE = ["flatbuffers>=25,<26", "ai-edge-litert>=2.3,<2.4", "ai-edge-quantizer>=0.10,<0.11"]
MCU = [*TFLITE, "tflite-micro", "bakenn[tflite]>=1.0,<1.1"]
TOOLS = ["ruff>=0.8,<1", "build>=1.2,<2"]  # .ci/run reads this line
TENSORBOARD = ["tensorboard>=2.15,<3"]
TEST = ["pytest>=8,<10", "pytest-xdist>=3.5,<4", *TENSORBOARD, *MCU]

ROOT = pathlib.Path(__file__).parent
# Folder of the repository to its package; every folder below it that has an ``__init__.py`` is found.
FOLDERS = {
    "ofa": "ofa",
    "supernet": "ofa.supernet",
    "predictors": "ofa.predictors",
    "export": "ofa.export",
    "recipes": "ofa.recipes",
}
PACKAGES = {
    ".".join((package, *init.parent.relative_to(ROOT / folder).parts)): init.parent.relative_to(ROOT).as_posix()
    for folder, package in FOLDERS.items()
    for init in sorted((ROOT / folder).rglob("__init__.py"))
}


setup(
    name="once-for-all",
    version="0.1.0",
    description="Train one elastic supernet, then hand every device its own verified network.",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=list(PACKAGES),
    package_dir=PACKAGES,
    package_data={"ofa": ["py.typed"], "ofa.recipes": ["*.yaml"], "ofa.export.microcontroller": ["c/*"]},
    install_requires=[
        "torch>=2.9,<3",
        "timm>=1.0.20,<2",
        "numpy>=1.26,<3",
        "scikit-learn>=1.5,<2",
        "scipy>=1.11,<2",
        "threadpoolctl>=3.1,<4",
        "onnx>=1.19,<2",
        "onnxruntime>=1.20,<2",
        "onnxscript>=0.5,<1",
        "safetensors>=0.4.5,<1",
        "pydantic>=2.7,<3",
        "pyyaml>=6,<7",
        "typer>=0.12,<1",
        "tqdm>=4.66,<5",
        "pillow>=11.3,<14",
    ],
    extras_require={
        "tflite": TFLITE,
        "mcu": MCU,
        "tensorboard": TENSORBOARD,
        "test": TEST,
        "dev": [*TEST, *TOOLS],
    },
    entry_points={"console_scripts": ["ofa = ofa.cli:main"]},
    classifiers=[
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
