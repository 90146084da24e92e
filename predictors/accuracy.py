"""Accuracy predictors: what a subnet would score, learnt from a few hundred measured ones."""

from __future__ import annotations

import hashlib
import io
import json
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy.stats import kendalltau
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Kernel, Matern, WhiteKernel
from sklearn.neural_network import MLPRegressor
from sklearn.utils.validation import check_is_fitted

from ofa.predictors.features import features
from ofa.supernet.files import write_atomic, write_json
from ofa.supernet.space import SearchSpace

Arrays = dict[str, np.ndarray]

# Raise it when features or models change: an older file would load and predict something else.
_FORMAT = 1
_CHUNK = 4096
_ONE_STD = 0.6827


class AccuracyPredictor(RegressorMixin, BaseEstimator):
    """A scikit-learn regressor from codes ``(n, genes)`` to accuracy, in whatever unit accuracy was measured.

    ``kind="gp"``: a Gaussian process, the better one for few rows. ``kind="mlp"``: five small networks, each fitted
    without another fifth of the rows, whose time and memory grow only in proportion to the rows. Both give a standard
    deviation that is scaled on rows left out of the fit, so that about 68 % of new measurements fall within one.

    Fitted attributes: ``model_``, and ``mean_`` and ``scale_`` of the accuracies, which are standardised for the fit.
    """

    def __init__(self, space: SearchSpace, *, kind: Literal["mlp", "gp"] = "gp", seed: int = 0) -> None:
        self.space = space
        self.kind = kind
        self.seed = seed

    def fit(self, codes: np.ndarray, accuracy: np.ndarray) -> AccuracyPredictor:
        """Learns from canonical codes ``(n, genes)`` and their accuracies ``(n,)``. Networks may be repeated.

        Raises ``ValueError`` when shapes disagree, an accuracy is not finite, or there are fewer than five rows or two
        networks.
        """
        if self.kind not in _MODELS:
            raise ValueError(f"kind is {self.kind!r}; there are {', '.join(map(repr, _MODELS))}")
        codes, accuracy = self._checked(codes), np.asarray(accuracy, float)
        if accuracy.shape != (len(codes),):
            raise ValueError(f"accuracy has the shape {accuracy.shape}; {len(codes)} codes need ({len(codes)},)")
        if not np.isfinite(accuracy).all():
            raise ValueError(f"accuracy[{int(np.argmin(np.isfinite(accuracy)))}] is not a finite number")
        networks = _networks(codes)
        if len(codes) < 5 or networks.max() < 1:
            raise ValueError(
                f"{len(codes)} rows of {len(set(networks))} networks; a fit needs at least 5 rows and 2 networks"
            )
        # Equal values need not have a standard deviation of exactly zero, nor a mean of exactly the value.
        constant = np.ptp(accuracy) == 0
        self.mean_ = float(accuracy[0] if constant else accuracy.mean())
        self.scale_ = float(1.0 if constant else accuracy.std())
        targets = (accuracy - self.mean_) / self.scale_
        self.model_ = _MODELS[self.kind].learn(self.space, codes, targets, networks, self.seed)
        return self

    def predict(self, codes: np.ndarray, *, return_std: bool = False) -> Any:
        """Accuracy ``(n,)`` float64 of canonical codes ``(n, genes)``; with ``return_std`` also its std ``(n,)``.

        The standard deviation is that of a new measurement: it includes the noise of measuring. Any number of codes
        fits in memory. Raises ``sklearn.exceptions.NotFittedError`` before ``fit``.
        """
        check_is_fitted(self, "model_")
        codes = self._checked(codes)
        mean, std = np.empty(len(codes)), np.empty(len(codes))
        for part in _chunks(len(codes)):
            inputs = features(self.space, codes[part]).astype(float)
            mean[part], std[part] = self.model_.predict(inputs, return_std=return_std)
        mean = mean * self.scale_ + self.mean_
        return (mean, std * self.scale_) if return_std else mean

    def save(self, folder: Path) -> None:
        """Writes ``predictor.json`` and ``predictor.npz``, each whole or not at all."""
        check_is_fitted(self, "model_")
        buffer = io.BytesIO()
        np.savez(buffer, **self.model_.arrays())
        document = {
            "format": _FORMAT,
            "kind": self.kind,
            "seed": int(self.seed),
            "mean": self.mean_,
            "scale": self.scale_,
            "space": self.space.to_dict(),
            "arrays_sha256": hashlib.sha256(buffer.getvalue()).hexdigest(),
        }
        document["sha256"] = _digest(document)
        # The JSON names the arrays it belongs to, so a crash between the two is noticed by load.
        write_atomic(folder / "predictor.npz", buffer.getvalue())
        write_json(folder / "predictor.json", document)

    @classmethod
    def load(cls, folder: Path) -> AccuracyPredictor:
        """The predictor that ``save`` wrote: it predicts bit for bit what the saved one did on the same machine.

        Raises ``ValueError`` naming the file that is missing, damaged or of another version.
        """
        json_path, npz_path = folder / "predictor.json", folder / "predictor.npz"
        try:
            document = json.loads(_read(json_path))
            if document.pop("sha256") != _digest(document):
                raise ValueError("its contents do not match their checksum")
            if document["format"] != _FORMAT:
                raise ValueError(f"it has format {document['format']}, this version reads {_FORMAT}")
            predictor = cls(SearchSpace.from_dict(document["space"]), kind=document["kind"], seed=document["seed"])
            predictor.mean_, predictor.scale_ = document["mean"], document["scale"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{json_path} is not a whole predictor ({error}); fit it again") from error
        try:
            raw = _read(npz_path)
            if hashlib.sha256(raw).hexdigest() != document["arrays_sha256"]:
                raise ValueError(f"its contents do not match the checksum in {json_path.name}")
            with np.load(io.BytesIO(raw), allow_pickle=False) as arrays:
                predictor.model_ = _MODELS[predictor.kind](predictor.space, dict(arrays))
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{npz_path} is not a whole predictor ({error}); fit it again") from error
        return predictor

    def _checked(self, codes: np.ndarray) -> np.ndarray:
        codes = np.asarray(codes)
        if codes.ndim != 2 or codes.shape[1] != self.space.genes:
            raise ValueError(f"codes have the shape {codes.shape}; this space needs (n, {self.space.genes})")
        return codes


def quality(
    space: SearchSpace, codes: np.ndarray, accuracy: np.ndarray, *, kind: Literal["mlp", "gp"] = "gp", seed: int = 0
) -> dict[str, float]:
    """How well ``kind`` predicts networks it has not seen: fitted on four fifths of the networks, judged on the others.

    All values are floats: ``kendall_tau`` (0 where either side is constant), ``rmse`` and ``mae`` in the unit of
    accuracy, ``calibration`` (share of measurements within one predicted standard deviation; 0.68 is ideal), and
    ``rows_fitted`` and ``rows_held_out``. Repeated rows of one network stay on one side. Raises ``ValueError`` below
    ten rows or three networks.
    """
    codes, accuracy = np.asarray(codes), np.asarray(accuracy, float)
    networks = _networks(codes)
    count = len(set(networks))
    if len(codes) < 10 or count < 3:
        raise ValueError(
            f"{len(codes)} measured rows of {count} networks are too few to judge a predictor; measure at least 10"
        )
    held_out = np.isin(networks, np.random.default_rng(seed).permutation(count)[: -(-count // 5)])
    predictor = AccuracyPredictor(space, kind=kind, seed=seed).fit(codes[~held_out], accuracy[~held_out])
    mean, std = predictor.predict(codes[held_out], return_std=True)
    errors = np.abs(mean - accuracy[held_out])
    ordered = np.ptp(mean) > 0 and np.ptp(accuracy[held_out]) > 0
    return {
        "kendall_tau": float(kendalltau(mean, accuracy[held_out]).statistic) if ordered else 0.0,
        "rmse": float(np.sqrt(np.mean(errors**2))),
        "mae": float(errors.mean()),
        "calibration": float(np.mean(errors <= std)),
        "rows_fitted": float((~held_out).sum()),
        "rows_held_out": float(held_out.sum()),
    }


class _GaussianProcess:
    """Matern 3/2 plus noise. Built from its rows and hyper-parameters alone, so that a loaded one is the fitted one."""

    # Three hyper-parameters need no more, and the cost of fitting them grows with the cube of the rows.
    _TUNING_ROWS = 400

    def __init__(self, space: SearchSpace, arrays: Arrays) -> None:
        self._codes, self._targets, self._theta = arrays["codes"], arrays["targets"], arrays["theta"]
        kernel = _kernel().clone_with_theta(self._theta)
        inputs = features(space, self._codes).astype(float)
        self._process = GaussianProcessRegressor(kernel, optimizer=None).fit(inputs, self._targets)
        self._std_scale = self._leave_one_out_scale()

    @classmethod
    def learn(cls, space: SearchSpace, codes: np.ndarray, targets: np.ndarray, networks: np.ndarray, seed: int) -> Any:
        rows = np.random.default_rng(seed).permutation(len(codes))[: cls._TUNING_ROWS]
        tuner = GaussianProcessRegressor(_kernel(), n_restarts_optimizer=1, random_state=seed)
        with warnings.catch_warnings():
            # A hyper-parameter at its bound is a fair answer: noise-free or constant accuracies lead there.
            warnings.simplefilter("ignore", ConvergenceWarning)
            tuner.fit(features(space, codes[rows]).astype(float), targets[rows])
        return cls(space, {"codes": codes, "targets": targets, "theta": tuner.kernel_.theta})

    def predict(self, inputs: np.ndarray, *, return_std: bool) -> tuple[np.ndarray, Any]:
        if not return_std:
            return self._process.predict(inputs), np.nan
        mean, std = self._process.predict(inputs, return_std=True)
        return mean, std * self._std_scale

    def arrays(self) -> Arrays:
        return {"codes": self._codes, "targets": self._targets, "theta": self._theta}

    def _leave_one_out_scale(self) -> float:
        """What to multiply standard deviations by so that 68 % of the rows, each left out in turn, fall within one.

        The likelihood answers for outliers with too wide a noise. Left-out residuals and variances are in closed form
        (Rasmussen and Williams, Gaussian Processes for Machine Learning, section 5.4.2).
        """
        factor = self._process.L_
        precision = np.linalg.inv(factor @ factor.T).diagonal()
        ratios = np.abs(self._process.alpha_) / np.sqrt(precision)
        return float(np.clip(np.quantile(ratios, _ONE_STD), 0.1, 10))


class _Ensemble:
    """Five one-layer networks, each fitted without another fifth of the networks; their mean, and spread plus noise."""

    _MEMBERS = 5

    def __init__(self, space: SearchSpace, arrays: Arrays) -> None:
        self._arrays = arrays
        self._noise = float(arrays["noise"])
        count = sum(name.startswith("coef_0_") for name in arrays)
        self._members = [_member(arrays, number) for number in range(count)]

    @classmethod
    def learn(cls, space: SearchSpace, codes: np.ndarray, targets: np.ndarray, networks: np.ndarray, seed: int) -> Any:
        inputs = features(space, codes).astype(float)
        count = int(networks.max()) + 1
        folds = np.random.default_rng(seed).permutation(count)[networks] % cls._MEMBERS
        arrays: Arrays = {}
        predictions, left_out = [], np.empty(len(codes))
        for number in range(min(cls._MEMBERS, count)):
            out = folds == number
            state = int(np.random.SeedSequence((seed, number)).generate_state(1)[0])
            model = MLPRegressor(hidden_layer_sizes=(64,), solver="lbfgs", alpha=1.0, max_iter=300, random_state=state)
            with warnings.catch_warnings():
                # Stopping early is part of the regularisation: more iterations do not raise the held-out rank.
                warnings.simplefilter("ignore", ConvergenceWarning)
                model.fit(inputs[~out], targets[~out])
            for layer, (coef, intercept) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
                arrays[f"coef_{layer}_{number}"], arrays[f"intercept_{layer}_{number}"] = coef.copy(), intercept.copy()
            predictions.append(model.predict(inputs))
            left_out[out] = predictions[-1][out] - targets[out]
        # A left-out error holds the members' disagreement too, which predict adds again for each network.
        total = np.quantile(np.abs(left_out), _ONE_STD) ** 2
        noise = np.sqrt(max(total - np.median(np.var(predictions, axis=0, ddof=1)), 0.01 * total))
        return cls(space, {**arrays, "noise": np.array(noise)})

    def predict(self, inputs: np.ndarray, *, return_std: bool) -> tuple[np.ndarray, Any]:
        each = np.stack([member.predict(inputs) for member in self._members])
        return each.mean(axis=0), np.sqrt(each.var(axis=0, ddof=1) + self._noise**2) if return_std else np.nan

    def arrays(self) -> Arrays:
        return self._arrays


_MODELS: dict[str, Any] = {"gp": _GaussianProcess, "mlp": _Ensemble}


def _kernel() -> Kernel:
    signal = ConstantKernel(10.0, (1e-3, 1e4)) * Matern(5.0, (0.1, 1e3), nu=1.5)
    return signal + WhiteKernel(0.05, (1e-5, 10.0))


def _member(arrays: Arrays, number: int) -> MLPRegressor:
    layers = sum(name.startswith("coef_") and name.endswith(f"_{number}") for name in arrays)
    model = MLPRegressor()
    model.coefs_ = [arrays[f"coef_{layer}_{number}"] for layer in range(layers)]
    model.intercepts_ = [arrays[f"intercept_{layer}_{number}"] for layer in range(layers)]
    model.n_layers_, model.n_outputs_, model.out_activation_ = layers + 1, 1, "identity"
    model.n_features_in_ = len(model.coefs_[0])
    return model


def _networks(codes: np.ndarray) -> np.ndarray:
    """The number ``(n,)`` of each row's network, counted from 0."""
    return np.unique(codes, axis=0, return_inverse=True)[1].ravel()


def _chunks(n: int) -> Iterator[slice]:
    return (slice(start, start + _CHUNK) for start in range(0, n, _CHUNK))


def _digest(document: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(error.strerror) from error
