"""Results round-trip through JSON, those of earlier versions are read, damage is one clear line."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from tests.report.example_run import typed, write_example_run

from understudy.errors import UnderstudyError
from understudy.files import from_json, to_json, write_json
from understudy.runs.results import ArmResult, RunResults, is_sweep, read_result, read_results
from understudy.sweep.results import SweepResults, read_sweep

COMMITTED = sorted((Path(__file__).parents[2] / "results").rglob("results.json"))

RESULT: dict[str, Any] = {
    "val": {
        "accuracy": 0.5,
        "per_class": [0.5, None],
        "nll": 0.7,
        "ece": 0.1,
        "agreement": None,
        "teacher_kl": None,
        "reliability": {"confidence": [None, 0.6], "accuracy": [None, 0.5], "count": [0, 4]},
    },
    "arm": "baseline",
    "seed": 0,
    "model": "tiny_res",
    "method": "ce",
    "taught_by": None,
    "precision": "fp32",
    "threads": 1,
    "ranks": 1,
    "seconds": 1.5,
    "epochs": 2,
    "images_per_second": 100.0,
    "label_seconds": 0.0,
    "best_epoch": 1,
    "best_val_accuracy": 0.5,
}


ADDED = {"confidence": 0.95, "num_compared": 1}
"""Keys that earlier versions did not write, and what they mean there."""


def holds(written: Any, original: Any) -> bool:
    """Whether all of ``original`` is in ``written``, which may add what is null, empty or
    :data:`ADDED`."""
    if isinstance(original, dict):
        added = {key: written[key] for key in written.keys() - original.keys()}
        return all(value in (None, [], ADDED.get(key)) for key, value in added.items()) and all(
            holds(written[key], value) for key, value in original.items()
        )
    if isinstance(original, list):
        pairs = zip(written, original, strict=True)
        return all(holds(one, other) for one, other in pairs)
    return bool(written == original)


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.parent.name)
def test_committed_results_round_trip(path: Path) -> None:
    read = read_sweep if is_sweep(path.parent) else read_results
    results: RunResults | SweepResults = read(path.parent)
    original = json.loads(path.read_text())
    written = json.loads(json.dumps(to_json(results)))
    assert holds(written, original)
    assert from_json(type(results), written, "here", "run again") == results


def test_keys_and_their_order_are_those_of_the_file() -> None:
    result = from_json(ArmResult, RESULT, "here", "run again")
    assert json.dumps(to_json(result)) == json.dumps(RESULT)


def test_sealed_test_split_has_no_key() -> None:
    sealed = from_json(ArmResult, RESULT, "here", "run again")
    assert sealed.test is None and "test" not in to_json(sealed)
    tested = dataclasses.replace(sealed, test=sealed.val)
    assert to_json(tested)["test"] == RESULT["val"]
    assert list(to_json(tested))[:2] == ["val", "test"]


def test_nan_is_written_as_null(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"a": float("nan"), "b": [1.0, float("nan")]})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": None, "b": [1.0, None]}


def test_keys_of_another_version_are_ignored() -> None:
    found = from_json(ArmResult, RESULT | {"colour": "red"}, "here", "run again")
    assert to_json(found) == RESULT


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"val": {}}, "val.accuracy is missing"),
        ({"val": {"accuracy": "high"}}, "val.accuracy: input should be a valid number"),
        ({"val": {"accuracy": float("nan")}}, "val.accuracy: input should be a finite number"),
        ({"seed": None}, "seed: input should be a valid integer"),
    ],
)
def test_damage_names_file_key_and_remedy(
    tmp_path: Path, change: dict[str, Any], problem: str
) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps(RESULT | change))
    with pytest.raises(UnderstudyError) as error:
        read_result(path)
    message = str(error.value)
    assert message.startswith(f"{path} is incomplete: {problem}")
    assert message.endswith("; delete it, and --resume evaluates that training again")
    assert "\n" not in message


def test_results_that_cannot_be_opened_are_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "results.json").mkdir()
    with pytest.raises(UnderstudyError, match=r"results\.json cannot be read \(.*\); ") as error:
        read_results(tmp_path)
    assert "\n" not in str(error.value)


def test_half_a_file_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps(RESULT)[:100])
    with pytest.raises(UnderstudyError, match=r"result\.json is damaged: delete it, and --resume"):
        read_result(path)


def test_arm_of_another_number_of_classes_is_damage(tmp_path: Path) -> None:
    results = write_example_run(tmp_path, num_test=50, epochs=1)
    results["arms"]["baseline"]["runs"][0]["test"]["per_class"].pop()
    with pytest.raises(UnderstudyError, match="arm baseline has another number of classes"):
        typed(results)


def test_published_numbers_of_an_arm_without_any_are_absent(tmp_path: Path) -> None:
    results = typed(write_example_run(tmp_path, num_test=50, epochs=1))
    assert results.published("teacher").accuracy == 0.8313
    assert results.published("dkd").accuracy is None
