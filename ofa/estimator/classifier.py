"""``ofa.OnceForAllClassifier``: ``fit`` on images and labels, and the best network inside the limits."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Mapping
from contextlib import nullcontext, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from ofa.data.decode import Decode, evaluation_pixels
from ofa.data.readers.source import Split
from ofa.errors import UserError
from ofa.estimator.array_job import ArrayJob, holdout, recipe_of
from ofa.estimator.images import Scale, are_paths, array_split, image_array, path_split
from ofa.estimator.networks import find_subnets, train_further
from ofa.stages import collect, train
from ofa.supernet.images import tell_images

_BATCH = 256


class OnceForAllClassifier(ClassifierMixin, BaseEstimator):
    """Trains a supernet on images, and predicts with its most accurate network inside the limits.

    ``fit`` is what ``ofa run`` does up to the export, with the same defaults: train the supernet
    (https://arxiv.org/abs/1908.09791), measure some of its networks, tell the others' accuracy from them, search inside
    the limits, and train the best network further. Networks are chosen on images that are held out of training.

    ``X`` is an array of images ``(n, height, width)``, or ``(n, height, width, channels)`` with 1 or 3 channels, of
    uint8 or any real numbers; or flat rows ``(n, features)``; or a list of paths of image files.

    Args:
        limits: the most that the network may cost, as in a recipe: ``{"macs": 1e6}``, ``{"latency_ms": 0.5}``,
            ``{"params": "0.3x"}``, a share of the largest network's. None: no limit.
        runtime: where costs are measured (``ofa runtimes``), which limits of latency, RAM or instructions need.
            None: costs that can be counted are, and nothing is measured.
        space: the networks to choose from: a preset's name, what a recipe has under ``space:``, or a ``SearchSpace``.
        epochs: of training the supernet.
        batch_size: images a step.
        subnets: how many networks are measured to tell the others' accuracy from.
        validation_fraction: of the images of each class that is held out.
        image_shape: of flat rows, ``(height, width)`` or ``(height, width, channels)``. None: grey squares.
        settings: more keys of a recipe, such as ``{"train.lr": 0.1, "data.augment": {"hflip": 0.5}}``.
        random_state: an int for the same result each time; a ``RandomState``; or None.
        verbose: whether to print a line an epoch.

    Attributes:
        classes_: labels ``(classes,)``, in the order of ``predict_proba``'s columns.
        subnets_: the networks found inside the limits, as ``FoundSubnet``, the chosen one first.
        model_: the chosen one as a plain timm model in eval mode.
        n_features_in_: values of an image; of arrays alone.
    """

    def __init__(
        self,
        *,
        limits: Mapping[str, Any] | None = None,
        runtime: str | None = None,
        space: Any = "tiny_mbv3",
        epochs: int = 30,
        batch_size: int = 32,
        subnets: int = 50,
        validation_fraction: float = 0.2,
        image_shape: tuple[int, ...] | None = None,
        settings: Mapping[str, Any] | None = None,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.limits = limits
        self.runtime = runtime
        self.space = space
        self.epochs = epochs
        self.batch_size = batch_size
        self.subnets = subnets
        self.validation_fraction = validation_fraction
        self.image_shape = image_shape
        self.settings = settings
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any) -> OnceForAllClassifier:
        """Trains on images ``X`` and their labels ``y`` ``(n,)``, numbers or strings.

        Raises ``ValueError`` when ``X`` holds no images, ``y`` has another length or a single class, a parameter is
        wrong, or no network meets the limits.
        """
        images, y = self._training_images(X, y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y has one class, {self.classes_[0]!r}; a classifier needs at least two")
        if not 0 < self.validation_fraction < 1:
            raise ValueError(f"validation_fraction is {self.validation_fraction!r}; give a share between 0 and 1")
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        held_out = holdout(labels, self.validation_fraction, seed=seed)
        try:
            with (
                tempfile.TemporaryDirectory() as folder,
                nullcontext() if self.verbose else redirect_stdout(io.StringIO()),
            ):
                self._fit(Split(images.images, labels.astype(np.int64), images.root), held_out, Path(folder), seed=seed)
        except UserError as error:
            raise ValueError(str(error)) from error
        return self

    def _fit(self, images: Split, held_out: np.ndarray, folder: Path, *, seed: int) -> None:
        names = ("space", "limits", "runtime", "epochs", "subnets", "settings")
        batch_size = min(self.batch_size, int(np.count_nonzero(~held_out)))
        recipe = recipe_of(**{name: getattr(self, name) for name in names}, batch_size=batch_size, seed=seed)
        classes = tuple(map(str, self.classes_))
        job = ArrayJob(recipe, folder, images, classes=classes, held_out=held_out, channels=self._channels)
        train.run(job)
        collect.run(job)
        self.subnets_ = find_subnets(job, runtime=self.runtime is not None)
        self.model_ = train_further(job, self.subnets_[0].subnet)
        data, subnet = job.data, self.subnets_[0].subnet
        self._images = {key: getattr(data, key) for key in ("mean", "std", "interpolation", "crop_pct")}
        tell_images(self.model_, subnet.resolution, **self._images)

    def predict(self, X: Any) -> np.ndarray:
        """The most likely label ``(n,)`` of each image."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(axis=1)]

    @torch.no_grad()
    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability ``(n, classes)`` of each label: softmax of the network's logits."""
        check_is_fitted(self, "model_")
        images = self._images_of(X)
        transform = partial(
            evaluation_pixels, resolution=self.subnets_[0].subnet.resolution, crop_pct=self._images["crop_pct"]
        )
        read = Decode(images, "L" if self._channels == 1 else "RGB", transform, None)
        mean, std = (torch.tensor(self._images[key]).view(-1, 1, 1) for key in ("mean", "std"))
        device = next(self.model_.parameters()).device
        found = []
        for start in range(0, len(images), _BATCH):
            batch = read[np.arange(start, min(start + _BATCH, len(images)))]
            if batch.broken:
                path, reason = batch.broken[0]
                raise ValueError(f"{path} cannot be read ({reason})")
            pixels = (torch.from_numpy(batch.images).float() / 255 - mean) / std
            found.append(self.model_(pixels.to(device)).double().softmax(1).cpu().numpy())
        return np.concatenate(found)

    def export(self, path: str | Path) -> Path:
        """Writes the network as ``.onnx`` or ``.tflite``, else as a folder for ``ofa.load_subnet``; returns the path.

        Files say which classes there are and how images become their input.
        """
        check_is_fitted(self, "model_")
        path, resolution = Path(path), self.subnets_[0].subnet.resolution
        about = {"classes": [str(label) for label in self.classes_], **self._images}
        if path.suffix == ".onnx":
            from ofa.export.onnx import export_onnx

            return export_onnx(self.model_, path, resolution=resolution, metadata=about)
        if path.suffix == ".tflite":
            from ofa.export.tflite.export import export_tflite

            return export_tflite(self.model_, path, resolution=resolution, metadata=about)
        from ofa.supernet.saving import save_subnet

        save_subnet(self.model_, self.subnets_[0].subnet, path)
        return path

    # -- what images are

    def _training_images(self, X: Any, y: Any) -> tuple[Split, np.ndarray]:
        """``X`` as images, and ``y`` checked; remembers what kind they are."""
        if y is None:
            raise ValueError("requires y to be passed, but the target y is None: give a label for each image")
        if are_paths(X):
            y = column_or_1d(y, warn=True)
            if len(y) != len(X):
                raise ValueError(f"y has {len(y)} labels, and X {len(X)} images")
            check_classification_targets(y)
            self._channels, self._scale = 3, None
            return path_split(X, np.zeros(len(y))), y
        X, y = validate_data(self, X, y, allow_nd=True)
        if X.ndim > 2:
            del self.n_features_in_  # images may have any size
        check_classification_targets(y)
        values = image_array(X, self.image_shape)
        self._channels, self._scale = (3 if values.ndim == 4 else 1), Scale.of(values)
        return array_split(self._scale.pixels(values), np.zeros(len(y))), y

    def _images_of(self, X: Any) -> Split:
        """``X`` as images of the kind that ``fit`` was given."""
        if are_paths(X):
            if self._scale is not None:
                raise ValueError("X holds paths, and fit was given arrays; give arrays")
            return path_split(X, np.zeros(len(X)))
        if self._scale is None:
            raise ValueError("X is an array, and fit was given paths of images; give paths")
        values = image_array(validate_data(self, X, reset=False, allow_nd=True), self.image_shape)
        if (3 if values.ndim == 4 else 1) != self._channels:
            raise ValueError(f"X has images of another number of channels than the {self._channels} that fit was given")
        return array_split(self._scale.pixels(values), np.zeros(len(values)))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.classifier_tags.poor_score = True  # few epochs on rows that are no images
        return tags
