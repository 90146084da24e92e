"""The accuracy predictor: what a subnet would score, learnt from a few hundred measured ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from ofa.predictors.accuracy import serialization
from ofa.predictors.accuracy.features import features, inputs_of
from ofa.predictors.accuracy.kinds import AUTO, KINDS, LOSSES, loss_problem
from ofa.predictors.accuracy.proxy_line import ProxyLine, ScoredNetworks
from ofa.predictors.accuracy.selection import compare
from ofa.predictors.accuracy.sklearn_regressor import SklearnRegressor
from ofa.predictors.accuracy.targets import accuracy_line, rows_measured
from ofa.predictors.blas import one_blas_thread
from ofa.predictors.bounds import between, limits_of
from ofa.predictors.metrics import networks_of
from ofa.supernet.genome import Genome

_CHUNK = 1024
_LINE = "line/"  # before the names of the line's arrays in a file
# Fewer rows cannot tell kinds apart: their comparison would be a draw of lots.
_COMPARABLE = 20


class AccuracyPredictor(RegressorMixin, BaseEstimator):
    """A scikit-learn regressor from codes ``(n, genes)`` to accuracy, in whatever unit accuracy was measured.

    ``kind="gp"``: a Gaussian process, most often the best for few rows and the fastest fit. ``kind="mlp"``: five small
    networks, ``kind="trees"``: five times gradient-boosted trees, and ``kind="graph"``: five graph networks over the
    blocks, each fitted without another fifth of the rows. ``kind="auto"``: the one of highest cross-validated Kendall
    tau, without the slow ``graph`` (``gp`` below 20 rows). ``loss="ranking"``, of ``mlp`` and ``graph``: fitted to the
    order of the accuracies, which a search needs; ``auto`` is then ``mlp``.
    ``model=``: any regressor with ``fit`` and ``predict`` (``get_params`` too, or it is deep-copied); it sees
    ``features(space, codes)`` and ``kind`` is not used. All give a standard deviation that is scaled on rows left out
    of a fit, so that about 68 % of new measurements fall within one.

    Fitted attributes: ``kind_`` (what was fitted; of a ``model`` its class name), ``scores_`` (with ``auto`` Kendall
    tau of each kind, else empty), ``dropped_`` (rows without an accuracy), ``model_``, ``mean_`` and ``scale_`` of
    what was learnt, which is standardised for the fit, ``noise_``, the standard deviation of accuracies around it
    (0 without a ``signal``), and ``proxy_line_`` (None without ``proxies``).
    """

    def __init__(
        self, space: Genome, *, kind: str = "gp", loss: str = "squares", model: Any = None, seed: int = 0
    ) -> None:
        self.space = space
        self.kind = kind
        self.loss = loss
        self.model = model
        self.seed = seed

    @one_blas_thread
    def fit(
        self,
        codes: np.ndarray,
        accuracy: np.ndarray,
        *,
        signal: np.ndarray | None = None,
        proxies: ScoredNetworks | None = None,
    ) -> AccuracyPredictor:
        """Learns from canonical codes ``(n, genes)`` and their accuracies ``(n,)``. Networks may be repeated.

        Rows whose accuracy is NaN were not measured: they are left out, and counted in ``dropped_``.

        Args:
            signal: another measurement of each row ``(n,)`` that rises with accuracy and is less noisy. Then the
                accuracy is learnt that goes with it, by a straight line through the rows
                (``targets.accuracy_line``); as it is where there is no such line. Rows whose signal is not finite are
                left out, unless all are such.
            proxies: zero-cost proxies of these networks and others, as further features: see ``ProxyLine``.

        Raises ``ValueError`` when shapes disagree, an accuracy is infinite, there are fewer than five rows or two
        networks, ``kind`` is unknown, or ``model`` is no regressor.
        """
        self._check_parameters()
        codes, accuracy = self._checked(codes), np.asarray(accuracy, float)
        signal = accuracy if signal is None else np.asarray(signal, float)
        for name, values in (("accuracy", accuracy), ("signal", signal)):
            if values.shape != (len(codes),):
                raise ValueError(f"{name} has the shape {values.shape}; {len(codes)} codes need ({len(codes)},)")
        if np.isinf(accuracy).any():
            raise ValueError(
                f"accuracy[{int(np.argmax(np.isinf(accuracy)))}] is infinite; give NaN for unmeasured ones"
            )
        line = None if signal is accuracy else accuracy_line(accuracy, signal)
        measured = rows_measured(accuracy, signal)
        self.dropped_ = int((~measured).sum())
        self.noise_ = line.noise if line else 0.0
        codes, accuracy = codes[measured], accuracy[measured]
        limits = limits_of(accuracy) if len(accuracy) else None
        if line:
            accuracy = np.clip(line(signal[measured]), *limits) if limits else line(signal[measured])
        networks = networks_of(codes)
        if len(codes) < 5 or networks.max() < 1:
            dropped = f" ({self.dropped_} more have no accuracy)" if self.dropped_ else ""
            raise ValueError(
                f"{len(codes)} rows of {len(set(networks))} networks{dropped}; a fit needs at least 5 rows and 2 "
                "networks"
            )
        # Equal values need not have a standard deviation of exactly zero, nor a mean of exactly the value.
        constant = np.ptp(accuracy) == 0
        self.range_ = (float(accuracy.min()), float(accuracy.max()))
        self.limits_ = limits
        self.mean_ = float(accuracy[0] if constant else accuracy.mean())
        self.scale_ = float(1.0 if constant else accuracy.std())
        targets = (accuracy - self.mean_) / self.scale_
        self.proxy_line_ = None
        if proxies is not None:
            inputs = features(self.space, codes).astype(float)
            self.proxy_line_ = ProxyLine.fit(self.space, proxies, inputs, targets, self.seed)
            targets = (targets - self.proxy_line_.predict(inputs)) / self.proxy_line_.spread
        self.scores_ = {}
        if self.model is not None:
            self.kind_ = type(self.model).__name__
            self.model_ = SklearnRegressor.fit(self.model, self.space, codes, targets, networks, self.seed)
            return self
        self.kind_ = self.kind
        if self.kind == AUTO:
            few = len(codes) < _COMPARABLE or constant
            self.scores_ = {} if few else compare(self.space, codes, targets, self.seed, self.loss)
            first = next(name for name, kind in KINDS.items() if self.loss in kind.losses)
            self.kind_ = max(self.scores_, key=self.scores_.__getitem__, default=first)
        # A kind that is fitted in one way alone need not know of others.
        options = {} if self.loss == "squares" else {"loss": self.loss}
        self.model_ = KINDS[self.kind_].load().fit(self.space, codes, targets, networks, self.seed, **options)
        return self

    @one_blas_thread
    def predict(self, codes: np.ndarray, *, return_std: bool = False) -> Any:
        """Accuracy ``(n,)`` float64 of canonical codes ``(n, genes)``; with ``return_std`` also its std ``(n,)``.

        The standard deviation is that of a new measurement: it includes the noise of measuring. Any number of codes
        fits in memory. Where all measured accuracies are shares, or percents, predictions are too: above the highest
        measured they approach 1 (100), below the lowest 0, in the order that they had.

        Raises ``sklearn.exceptions.NotFittedError`` before ``fit``.
        """
        check_is_fitted(self, "model_")
        codes = self._checked(codes)
        mean, std = np.empty(len(codes)), np.empty(len(codes))
        for start in range(0, len(codes), _CHUNK):
            part = slice(start, start + _CHUNK)
            inputs = inputs_of(self.model_, self.space, codes[part])
            mean[part], std[part] = self.model_.predict(inputs, return_std=return_std)
            if line := self.proxy_line_:
                mean[part] = mean[part] * line.spread + line.predict(features(self.space, codes[part]).astype(float))
                std[part] *= line.spread
        mean = between(mean * self.scale_ + self.mean_, self.limits_, self.range_)
        return (mean, np.hypot(std * self.scale_, self.noise_)) if return_std else mean

    def save(self, folder: Path) -> None:
        """Writes ``predictor.json`` and ``predictor.npz``, each whole or not at all.

        Raises ``ValueError`` for a predictor with ``model=``, which only a pickle could hold.
        """
        check_is_fitted(self, "model_")
        if self.model is not None:
            raise ValueError(
                f"a predictor with model={self.kind_} cannot be stored, for files here hold no pickles; keep the "
                f"measured rows and fit it again, or use kind= one of {', '.join(map(repr, KINDS))}, 'auto'"
            )
        values = {
            "kind": self.kind,
            "chosen": self.kind_,
            "scores": self.scores_,
            "loss": self.loss,
            "seed": int(self.seed),
            "mean": self.mean_,
            "scale": self.scale_,
            "noise": self.noise_,
            "range": list(self.range_ or ()),
            "limits": list(self.limits_ or ()),
        }
        line = self.proxy_line_.arrays() if self.proxy_line_ else {}
        arrays = {**self.model_.arrays(), **{f"{_LINE}{name}": array for name, array in line.items()}}
        serialization.write(Path(folder), values, self.space, arrays)

    @classmethod
    @one_blas_thread
    def load(cls, folder: Path) -> AccuracyPredictor:
        """The predictor that ``save`` wrote: it predicts bit for bit what the saved one did on the same machine.

        Raises ``ValueError`` naming the file that is missing, damaged or of another version.
        """
        folder = Path(folder)
        values, space, arrays = serialization.read(folder, "kind", "chosen", "scores", "seed", "mean", "scale")
        # Predictors of before have no loss.
        predictor = cls(space, kind=values["kind"], loss=values.get("loss", "squares"), seed=values["seed"])
        predictor.kind_, predictor.scores_ = values["chosen"], values["scores"]
        predictor.mean_, predictor.scale_ = values["mean"], values["scale"]
        # Predictors of before have no noise and no range.
        predictor.noise_ = values.get("noise", 0.0)
        predictor.range_, predictor.limits_ = (tuple(values.get(key) or ()) or None for key in ("range", "limits"))
        line = {name.removeprefix(_LINE): array for name, array in arrays.items() if name.startswith(_LINE)}
        try:
            predictor.proxy_line_ = ProxyLine(space, line) if line else None
            own = {name: array for name, array in arrays.items() if not name.startswith(_LINE)}
            predictor.model_ = KINDS[predictor.kind_].load()(space, own)
        except (ValueError, KeyError) as error:
            raise ValueError(f"{folder / 'predictor.npz'} is not a whole predictor ({error}); fit it again") from error
        return predictor

    def _check_parameters(self) -> None:
        known = [*KINDS, AUTO]
        if self.kind not in known:
            raise ValueError(f"kind is {self.kind!r}; there are {', '.join(map(repr, known))}")
        if self.loss not in LOSSES:
            raise ValueError(f"loss is {self.loss!r}; there are {', '.join(map(repr, LOSSES))}")
        if self.model is None and (problem := loss_problem(self.kind, self.loss)):
            raise ValueError(problem)
        usable = all(callable(getattr(self.model, name, None)) for name in ("fit", "predict"))
        if self.model is not None and (isinstance(self.model, type) or not usable):
            raise ValueError(f"model is {self.model!r}; give an object with fit and predict, such as Ridge()")

    def _checked(self, codes: np.ndarray) -> np.ndarray:
        codes = np.asarray(codes)
        if codes.ndim != 2 or codes.shape[1] != self.space.num_genes:
            raise ValueError(f"codes have the shape {codes.shape}; this space needs (n, {self.space.num_genes})")
        return codes
