"""The table of students: what is in it, and how it is read."""

import json
from dataclasses import replace

import pytest

from understudy.files import from_json, to_json
from understudy.models.registry import MODELS, build_model
from understudy.models.students import TABLE, KnownStudent, StudentTable, known_students


def student(*accuracies: float, name: str = "tiny_res", **options: object) -> KnownStudent:
    accuracy = {str(seed): value for seed, value in enumerate(accuracies)}
    return KnownStudent(name=name, options=options, parameters=1, macs=1, accuracy=accuracy)


def table(*students: KnownStudent) -> StudentTable:
    return replace(known_students(), students=students)


def test_a_table_is_read_as_it_was_written() -> None:
    content = json.loads(TABLE.read_text())
    assert to_json(from_json(StudentTable, content, "it", "")) == content


def test_the_table_says_how_it_was_measured() -> None:
    known = known_students()
    assert known.command.startswith("python benchmarks/students.py")
    assert known.created and known.caveat and known.environment["cpu"]
    assert len(known.seeds) > 1 and known.images + known.val_images <= 50_000
    assert known.train["epochs"] >= 1


@pytest.mark.parametrize("entry", known_students().trained, ids=lambda entry: entry.name)
def test_every_student_of_the_table_is_built_with_its_size(entry: KnownStudent) -> None:
    network = build_model(entry.name, known_students().num_classes, options=entry.options)
    assert sum(p.numel() for p in network.parameters()) == entry.parameters
    assert 0.1 < entry.mean < 1 and entry.name in MODELS


@pytest.mark.parametrize("budget", [20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000])
def test_every_budget_has_several_students_of_its_own(budget: int) -> None:
    close = [e for e in known_students().trained if budget / 2.5 < e.parameters <= budget]
    assert len({entry.name for entry in close}) >= 2


def test_the_standard_error_is_pooled_over_the_students() -> None:
    made = table(student(0.6, 0.62), student(0.7, 0.74))
    assert made.standard_error == pytest.approx(((0.0002 + 0.0008) / 2 / 2) ** 0.5)
    assert table(student(0.6), student(0.7)).standard_error == 0


def test_a_student_that_is_not_trained_yet_is_not_known() -> None:
    made = table(student(), student(0.5, 0.7, widths=[1, 2, 3, 4]))
    assert [entry.options for entry in made.trained] == [{"widths": [1, 2, 3, 4]}]
    assert made.accuracy_of("tiny_res", {}) is None
    assert made.accuracy_of("tiny_res", {"widths": [1, 2, 3, 4]}) == pytest.approx(0.6)
