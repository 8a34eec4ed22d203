"""Measuring: accuracy, calibration, statistics, latency, the machine."""
