"""Accuracy predictors by the names that other folders use."""

from ofa.predictors.predictor import AccuracyPredictor
from ofa.predictors.quality import quality

__all__ = ["AccuracyPredictor", "quality"]
