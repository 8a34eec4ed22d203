"""Sweeps: many trainings that share data, teacher and teacher outputs, on one machine or many."""
