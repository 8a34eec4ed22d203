"""Carrying out trainings: in this process, in many, in one fused program, or on a cluster."""
