"""The recipe's section ``data:``."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from ofa.config.types import Absolute, Probability, Section, Share, Takes, Text, real, whole, zero_or

MAX_WORKERS = 128
# timm's own words: a policy, and settings such as -m9 and -mstd0.5 behind it. More than nine operations take seconds.
_POLICY = (
    r"^(rand|augmix|original|originalr|v0|v0r|3a)"
    r"(-((m|mstd|mmax|inc|p|a|b|t)([0-9]{1,3}(\.[0-9]{1,4})?)?|[nwd][0-9])){0,8}$"
)


def _channels(value: int) -> int:
    # Not Literal[1, 3]: pydantic takes true for 1 there.
    if value not in (1, 3):
        raise ValueError("must be 1 (grey) or 3 (colour)")
    return value


def _ascending_pair(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError("must be [smallest, largest]")
    return value


Ratio = real(0.01, 100)
Area = real(0.001, 1)


class AugmentConfig(Section):
    """Random changes to training images: arguments of ``timm.data.create_transform``. The defaults change nothing."""

    scale: Annotated[tuple[Area, Area], AfterValidator(_ascending_pair)] = Field(
        (1.0, 1.0), description="Smallest and largest random crop, as fractions of the image's area."
    )
    ratio: Annotated[tuple[Ratio, Ratio], AfterValidator(_ascending_pair)] = Field(
        (1.0, 1.0), description="Smallest and largest width divided by height of a random crop."
    )
    hflip: Probability = Field(0.0, description="Probability of mirroring an image left to right.")
    color_jitter: zero_or(1e-3, 4) = Field(
        0.0, description="Strength of random brightness, contrast and saturation; 0 turns it off."
    )
    auto_augment: Annotated[str, Field(pattern=_POLICY), Takes("text", "timm's policies")] | None = Field(
        None, description="A policy of timm by its name, such as rand-m9-mstd0.5; null: none."
    )


class DataConfig(Section):
    """Where the images come from: ``folder``, ``idx``, or neither: scikit-learn's embedded digits.

    Paths are absolute here; a recipe's relative ones start at the working directory.
    """

    folder: Absolute | None = Field(
        None, description="A folder of images, with CLASS/ or train/CLASS/, val/CLASS/ and test/CLASS/ inside."
    )
    idx: Absolute | None = Field(None, description="A folder of files in MNIST's format (train-*, t10k-*).")
    channels: Annotated[int, AfterValidator(_channels), Takes("whole number", "1 or 3")] | None = Field(
        None,
        description="Channels of an image: 1 is grey, 3 is colour; null: 3 for a folder, 1 for idx files and digits.",
    )
    crop_pct: real(0.25, 1) | None = Field(
        None,
        description="Fraction of the image's shorter side that evaluation looks at; null: 0.875 for a folder, else 1.",
    )
    val_fraction: Share = Field(
        0.2, description="Fraction of the images that is held out for validation where there is no val/ folder."
    )
    test_fraction: Share = Field(
        0.2, description="Fraction of the images that is held out for the final test where there is no test/ folder."
    )
    test: Text | None = Field(None, description="Name of another sub-folder of data.folder to use as the test split.")
    workers: whole(0, MAX_WORKERS) = Field(2, description="Processes that read images; they change no result.")
    licence: Text | None = Field(None, description="The data's licence, as the models' cards shall state it.")
    augment: AugmentConfig = Field(AugmentConfig(), description="Random changes to training images.")
