"""Measuring: accuracy, calibration, statistics, latency, the machine."""

from understudy.evaluation.cross_validation import cross_validated_gain
from understudy.evaluation.gain import paired_gain

__all__ = ["cross_validated_gain", "paired_gain"]
