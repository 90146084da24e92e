"""Writes spoken words as images of 32 mel bands by 32 frames, in folders that a recipe reads.

``fsdd``: Free Spoken Digit Dataset, 8 kHz, six speakers. Either one speaker is the test split, the next one (in
alphabetical order) the validation split and the other four the training split; or, with ``takes``, splits are by take:
0 to 4 are the test split, as usual, 5 to 12 the validation split, and all speakers are in all three.

``kws12``: twelve keywords of Google's Speech Commands, 16 kHz, with the splits that the file has: no speaker is in two.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.signal import get_window, resample_poly

SPLITS = ("train", "validation", "test")
SIDE = 32  # mel bands, and frames
TAKES = "takes"
_LOWEST_HZ = 60.0
_RANGE_DB = 60.0  # below the loudest point of a picture; quieter is black
_FIRST_TAKE = {"test": 0, "validation": 5, "train": 13}

# Copies of training recordings.
_SPEEDS = np.arange(88, 113, 2)  # per cent
_SHIFT = 0.08  # seconds
_NOISE_DB = (15.0, 50.0)  # signal to noise


@dataclass(frozen=True)
class Sound:
    """How sound becomes a picture, in samples; ``fills``: recordings are as long as a picture, so words are moved in
    them."""

    rate: int
    window: int
    hop: int
    fft: int
    fills: bool

    @property
    def length(self) -> int:
        return (SIDE - 1) * self.hop + self.window


SOUNDS = {
    "fsdd": Sound(8000, window=320, hop=200, fft=512, fills=False),  # 0.8 s
    "kws12": Sound(16000, window=640, hop=495, fft=1024, fills=True),  # 1 s
}


@dataclass(frozen=True)
class Recordings:
    """``samples[offsets[i]:offsets[i + 1]]`` is recording ``i``: int16, mono."""

    samples: np.ndarray
    offsets: np.ndarray
    labels: np.ndarray
    speakers: np.ndarray
    take: np.ndarray
    names: np.ndarray  # of labels
    split: np.ndarray | None  # 0 train, 1 validation, 2 test

    @classmethod
    def load(cls, folder: Path, name: str) -> Recordings:
        path = folder / f"{name}.npz"
        if not path.is_file():
            raise SystemExit(f"{folder} has no {path.name}; give the folder of that data set")
        with np.load(path) as arrays:
            known = {key: arrays[key] for key in cls.__dataclass_fields__ if key in arrays.files}
        return cls(**{"names": np.arange(10).astype(str), "split": None, **known})

    def __getitem__(self, index: int) -> np.ndarray:
        return self.samples[self.offsets[index] : self.offsets[index + 1]].astype(np.float64)

    def splits(self, held_out: str) -> np.ndarray:
        """The split of each recording: those of the file, or by speaker, or by take."""
        if self.split is not None:
            return np.array(SPLITS)[self.split]
        if held_out == TAKES:
            return np.array(
                [next(name for name, first in reversed(_FIRST_TAKE.items()) if take >= first) for take in self.take]
            )
        speakers = np.unique(self.speakers).tolist()
        if held_out not in speakers:
            raise SystemExit(f"there is no speaker {held_out!r}; there are {', '.join(speakers)}")
        beside = speakers[(speakers.index(held_out) + 1) % len(speakers)]
        return np.where(self.speakers == held_out, "test", np.where(self.speakers == beside, "validation", "train"))


def write_features(name: str, source: Path, folder: Path, *, copies: int, held_out: str = TAKES) -> dict[str, int]:
    """Writes ``folder/SPLIT/LABEL/*.png``; returns the number of images in each split.

    Each training recording has ``copies`` more, with another speed, moved in time and with noise, always the same.
    """
    recordings, sound = Recordings.load(source, name), SOUNDS[name]
    counts = dict.fromkeys(SPLITS, 0)
    for index, split in enumerate(recordings.splits(held_out).tolist()):
        samples, label = recordings[index], recordings.names[recordings.labels[index]]
        into = folder / split / str(label).strip("_")
        into.mkdir(parents=True, exist_ok=True)
        pictures = [picture(samples, sound)]
        if split == "train":
            pictures += [changed(samples, sound, np.random.default_rng([index, copy])) for copy in range(copies)]
        stem = f"{recordings.speakers[index] or 'nobody'}_{recordings.take[index]:02d}_{index}"
        for number, pixels in enumerate(pictures):
            Image.fromarray(pixels).save(into / f"{stem}_{number}.png")
        counts[split] += len(pictures)
    return counts


def picture(samples: np.ndarray, sound: Sound, *, shift: int = 0) -> np.ndarray:
    """Log-mel energies ``(32 bands, 32 frames)`` uint8, low bands at the bottom, 255 at the loudest point.

    Shorter recordings are centred in silence, moved by ``shift`` samples; of longer ones the loudest part is taken.
    """
    fitted = _fitted(samples, sound.length, shift)
    frames = np.lib.stride_tricks.sliding_window_view(fitted, sound.window)[:: sound.hop]
    power = np.abs(np.fft.rfft(frames * get_window("hann", sound.window), sound.fft)) ** 2
    decibels = 10 * np.log10(power @ _mel_bands(sound).T + 1e-9).T[::-1]
    return np.rint((1 + (decibels - decibels.max()) / _RANGE_DB).clip(0) * 255).astype(np.uint8)


def changed(samples: np.ndarray, sound: Sound, rng: np.random.Generator) -> np.ndarray:
    """The picture of a copy with another speed, moved in time and with noise."""
    most = int(_SHIFT * sound.rate)
    speed, shift = int(rng.choice(_SPEEDS)), int(rng.integers(-most, most + 1))
    if sound.fills:
        samples, shift = _moved(samples, shift), 0
    samples = resample_poly(samples, 100, speed)
    noise = rng.standard_normal(max(len(samples), sound.length))
    level = np.sqrt(np.mean(samples**2)) * 10 ** (-rng.uniform(*_NOISE_DB) / 20)
    spare = len(noise) - len(samples)
    before = int(np.clip(spare // 2 + shift, 0, spare))
    noisy = np.pad(samples, (before, spare - before)) + level * noise
    return picture(noisy, sound, shift=shift if spare == 0 else 0)


def _moved(samples: np.ndarray, shift: int) -> np.ndarray:
    """By ``shift`` samples; what leaves at one end is silence at the other."""
    moved = np.zeros_like(samples)
    kept = samples[max(0, -shift) : len(samples) - max(0, shift)]
    moved[max(0, shift) : max(0, shift) + len(kept)] = kept
    return moved


def _fitted(samples: np.ndarray, length: int, shift: int) -> np.ndarray:
    """``length`` samples."""
    spare = len(samples) - length
    if spare > 0:
        energy = np.cumsum(np.concatenate([[0.0], samples**2]))
        start = int(np.argmax(energy[length:] - energy[:-length]))
        return samples[np.clip(start + shift, 0, spare) :][:length]
    before = int(np.clip(-spare // 2 + shift, 0, -spare))
    return np.pad(samples, (before, -spare - before))


@cache
def _mel_bands(sound: Sound) -> np.ndarray:
    """Triangles ``(32, FFT bins)``, evenly spaced on O'Shaughnessy's mel scale."""
    ends = 2595 * np.log10(1 + np.array([_LOWEST_HZ, sound.rate / 2]) / 700)
    edges = 700 * (10 ** (np.linspace(*ends, SIDE + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(sound.fft, 1 / sound.rate)
    low, middle, high = (edges[i : SIDE + i, None] for i in range(3))
    return np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle)).clip(0)
