"""The configuration of a run: frozen dataclasses, recipes, schedules."""
