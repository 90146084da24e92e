"""Writes spoken digits as images of 32 mel bands by 32 frames, in folders that a recipe reads.

Free Spoken Digit Dataset, 8 kHz. Splits are by take, so that no recording is in two of them: takes 0 to 4 are the test
split, as usual, 5 to 12 the validation split, the others the training split. All six speakers are in all three.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.signal import get_window, resample_poly

RATE = 8000
SIDE = 32  # mel bands, and frames
_WINDOW, _HOP, _FFT = 320, 200, 512  # samples: 40 ms, 25 ms
_LENGTH = (SIDE - 1) * _HOP + _WINDOW  # 0.8 s
_LOWEST_HZ = 60.0
_RANGE_DB = 60.0  # below the loudest point of a picture; quieter is black
_FIRST_TAKE = {"test": 0, "validation": 5, "train": 13}

# Copies of training recordings.
_SPEEDS = np.arange(88, 113, 2)  # per cent
_SHIFT = int(0.08 * RATE)
_NOISE_DB = (15.0, 50.0)  # signal to noise


@dataclass(frozen=True)
class Recordings:
    """``samples[offsets[i]:offsets[i + 1]]`` is recording ``i``: int16, mono, 8 kHz."""

    samples: np.ndarray
    offsets: np.ndarray
    labels: np.ndarray
    speakers: np.ndarray
    take: np.ndarray

    @classmethod
    def load(cls, folder: Path) -> Recordings:
        path = folder / "fsdd.npz"
        if not path.is_file():
            raise SystemExit(f"{folder} has no fsdd.npz; give the folder of the Free Spoken Digit Dataset")
        with np.load(path) as arrays:
            return cls(*(arrays[name] for name in cls.__dataclass_fields__))

    def __getitem__(self, index: int) -> np.ndarray:
        return self.samples[self.offsets[index] : self.offsets[index + 1]].astype(np.float64)

    def split(self, index: int) -> str:
        return next(name for name, first in reversed(_FIRST_TAKE.items()) if self.take[index] >= first)


def write_features(source: Path, folder: Path, *, copies: int) -> dict[str, int]:
    """Writes ``folder/SPLIT/DIGIT/*.png``; returns the number of images in each split.

    Each training recording has ``copies`` more, with another speed, moved in time and with noise, always the same.
    """
    recordings = Recordings.load(source)
    counts = dict.fromkeys(_FIRST_TAKE, 0)
    for index, (label, speaker, take) in enumerate(
        zip(recordings.labels, recordings.speakers, recordings.take, strict=True)
    ):
        split, sound = recordings.split(index), recordings[index]
        into = folder / split / str(label)
        into.mkdir(parents=True, exist_ok=True)
        pictures = [picture(sound)]
        if split == "train":
            pictures += [_changed(sound, np.random.default_rng([index, copy])) for copy in range(copies)]
        for number, pixels in enumerate(pictures):
            Image.fromarray(pixels).save(into / f"{speaker}_{take:02d}_{number}.png")
        counts[split] += len(pictures)
    return counts


def picture(sound: np.ndarray, *, shift: int = 0) -> np.ndarray:
    """Log-mel energies ``(32 bands, 32 frames)`` uint8, low bands at the bottom, 255 at the loudest point.

    Shorter recordings are centred in silence, moved by ``shift`` samples; of longer ones the loudest 0.8 s are taken.
    """
    frames = np.lib.stride_tricks.sliding_window_view(_fitted(sound, shift), _WINDOW)[::_HOP]
    power = np.abs(np.fft.rfft(frames * get_window("hann", _WINDOW), _FFT)) ** 2
    decibels = 10 * np.log10(power @ _mel_bands().T + 1e-9).T[::-1]
    return np.rint((1 + (decibels - decibels.max()) / _RANGE_DB).clip(0) * 255).astype(np.uint8)


def _fitted(sound: np.ndarray, shift: int) -> np.ndarray:
    """``_LENGTH`` samples."""
    spare = len(sound) - _LENGTH
    if spare > 0:
        energy = np.cumsum(np.concatenate([[0.0], sound**2]))
        start = int(np.argmax(energy[_LENGTH:] - energy[:-_LENGTH]))
        return sound[np.clip(start + shift, 0, spare) :][:_LENGTH]
    before = int(np.clip(-spare // 2 + shift, 0, -spare))
    return np.pad(sound, (before, -spare - before))


def _changed(sound: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    speed, shift = int(rng.choice(_SPEEDS)), int(rng.integers(-_SHIFT, _SHIFT + 1))
    sound = resample_poly(sound, 100, speed)
    noise = rng.standard_normal(max(len(sound), _LENGTH))
    level = np.sqrt(np.mean(sound**2)) * 10 ** (-rng.uniform(*_NOISE_DB) / 20)
    spare = len(noise) - len(sound)
    before = int(np.clip(spare // 2 + shift, 0, spare))
    return picture(np.pad(sound, (before, spare - before)) + level * noise, shift=shift if spare == 0 else 0)


def _mel_bands() -> np.ndarray:
    """Triangles ``(32, FFT bins)``, evenly spaced on O'Shaughnessy's mel scale."""
    ends = 2595 * np.log10(1 + np.array([_LOWEST_HZ, RATE / 2]) / 700)
    edges = 700 * (10 ** (np.linspace(*ends, SIDE + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(_FFT, 1 / RATE)
    low, middle, high = (edges[i : SIDE + i, None] for i in range(3))
    return np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle)).clip(0)
