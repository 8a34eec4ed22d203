"""What a run measured, as ``results.json`` and ``history.csv`` hold it."""

import csv
import json
import math
from pathlib import Path
from typing import Any, TypeGuard

from understudy.errors import UnderstudyError

SCHEMA = 1


def load_results(folder: Path) -> dict[str, Any]:
    """The mapping in ``folder/results.json``, of a run or a sweep; only its schema is checked."""
    path = Path(folder) / "results.json"
    try:
        results = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UnderstudyError(
            f"{path} does not exist; give the directory of a finished run"
        ) from None
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UnderstudyError(
            f"{path} cannot be read ({reason}); run again with --resume to write it anew"
        ) from None
    if not isinstance(results, dict) or results.get("schema") != SCHEMA:
        found = results.get("schema") if isinstance(results, dict) else None
        raise UnderstudyError(
            f"{path} has schema {found!r}, this version reads {SCHEMA}; report with the version that ran it"
        )
    return results


def read_results(run: Path) -> dict[str, Any]:
    """The mapping in ``run/results.json``, checked so far that tables and figures can be made of it."""
    results = load_results(run)
    path = Path(run) / "results.json"
    try:
        assert isinstance(results["data"]["class_names"], list)
        assert results["arms"]
        for arm in results["arms"].values():
            assert arm["runs"]
            for one in arm["runs"]:
                assert isinstance(one["seed"], int)
                assert present(one["test"]["accuracy"])
                assert len(one["test"].get("per_class") or []) in (
                    0,
                    len(results["data"]["class_names"]),
                )
    except (KeyError, TypeError, AttributeError, AssertionError):
        missing = "arms, runs, test accuracy or class names"
        raise UnderstudyError(
            f"{path} is incomplete ({missing}); run again with --resume to write it anew"
        ) from None
    return results


def read_history(run: Path) -> list[dict[str, Any]]:
    """Rows of ``history.csv``: ``arm`` as text, every other column as float, None where empty. No file, no rows."""
    path = run / "history.csv"
    if not path.exists():
        return []
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = [
                {key: _cell(key, text) for key, text in row.items()} for row in csv.DictReader(file)
            ]
        assert all(row["arm"] and present(row["epoch"]) for row in rows)
    except (ValueError, TypeError, KeyError, AssertionError):
        raise UnderstudyError(
            f"{path} is not a history of a run; delete it to make the report without training curves"
        ) from None
    return rows


def _cell(column: str, text: str) -> str | float | None:
    return text if column == "arm" else float(text) if text else None


def present(value: Any) -> TypeGuard[float]:
    """Whether this is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
