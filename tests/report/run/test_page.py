"""The page is whole, safe, needs nothing else, and is the same each time."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.report.example_run import many_methods, skew_classes, write_example_run
from tests.report.page_checks import Elements, check_on_a_phone

from understudy.errors import UnderstudyError
from understudy.evaluation.gain import corrected
from understudy.report import read_results, write_report
from understudy.runs.recompute import recomputed

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose class, arm and run names try to break out of the page, with its report."""
    pytest.importorskip("matplotlib")
    folder = tmp_path_factory.mktemp("run")
    write_example_run(
        folder,
        name=f"run {HOSTILE}",
        class_names=[HOSTILE, '" onload="alert(2)', "a $x_1$ b", *"defghij"],
        num_test=400,
    )
    results = json.loads((folder / "results.json").read_text())
    results["arms"][HOSTILE] = results["arms"].pop("dkd")
    results["comparisons"][1]["arm"] = HOSTILE
    results["command"] = f"understudy run x --out '{HOSTILE}'"
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "config.yaml").write_text(f"name: '{HOSTILE}'\n")
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    return (run / "report.html").read_text()


def test_every_part_is_there_in_order(page: str) -> None:
    parts = [
        'class="verdicts"',
        ">Results<",
        "published",
        ">Figures<",
        ">Which images changed<",
        ">Seed by seed<",
        ">Class by class<",
    ]
    parts += [">How it was done<", ">Configuration<", ">Glossary<"]
    positions = [page.index(part, page.index("<body>")) for part in parts]
    assert positions == sorted(positions)
    assert page.count("<svg") == page.count("<figcaption>") == 10


def test_html_nests_and_ids_are_unique(page: str) -> None:
    elements = Elements(page)
    assert elements.open == []
    ids = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_names_from_data_come_out_escaped(page: str) -> None:
    assert HOSTILE not in page
    assert (
        page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 6
    )  # title, heading, arm, class, command, config
    elements = Elements(page).found
    assert "script" not in {tag for tag, _ in elements}
    assert not any(
        attribute.startswith("on") for _, attributes in elements for attribute in attributes
    )


def test_page_refers_to_nothing_outside_itself(page: str) -> None:
    targets = [
        attributes.get(key) or ""
        for _, attributes in Elements(page).found
        for key in ("src", "href", "xlink:href")
    ]
    assert all(target == "" or target.startswith(("#", "data:")) for target in targets)
    assert not re.search(r"@import|url\((?!#)", page)
    assert "default-src 'none'" in page


def test_writing_twice_gives_the_same_bytes(run: Path) -> None:
    files = [run / "report.html", run / "results.csv", *sorted((run / "figures").iterdir())]
    assert len(files) == 2 + 2 * 10
    before = {file: file.read_bytes() for file in files}
    write_report(run)
    assert [file.name for file in files if file.read_bytes() != before[file]] == []
    assert sorted((run / "figures").iterdir()) == files[2:]  # and no temporary file is left


def test_many_verdicts_are_counted_first(tmp_path: Path) -> None:
    write_example_run(tmp_path, named_arms=many_methods(20), num_test=100, epochs=1)
    text = write_report(tmp_path, figures=False).read_text()
    gains = [each.gain for each in recomputed(tmp_path, read_results(tmp_path)).comparisons]
    signs = [gain.sign for gain in corrected(gains)]
    assert f"Of 21 comparisons, {signs.count(1)} show a gain, {signs.count(-1)} a loss" in text
    assert "Holm" in text and len(gains) == 21
    assert len(re.findall(r"<li[ >]", text)) == 1 + 21
    assert "<details><summary>67 trainings" in text, "1 teacher and 22 students of 3 seeds, folded"
    Elements(text)


def test_report_without_figures_loads_no_matplotlib(tmp_path: Path) -> None:
    write_example_run(tmp_path, num_test=100, epochs=1)
    code = (
        "import sys, understudy.report as r;"
        "assert not {'matplotlib', 'jinja2', 'rich', 'torch'} & set(sys.modules);"
        "from pathlib import Path; r.write_report(Path(sys.argv[1]), figures=False);"
        "assert not {'matplotlib', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    text = (tmp_path / "report.html").read_text()
    assert "<svg" not in text
    assert "Glossary" in text


def test_what_was_not_measured_is_left_out(tmp_path: Path) -> None:
    """A bare student, one seed, no teacher: no verdict, no spread, no invented numbers."""
    results = write_example_run(tmp_path, num_seeds=1, num_test=100, epochs=1, reference=False)
    bare = {
        "role": "baseline",
        "model": "m",
        "method": "ce",
        "runs": [{"seed": 0, "test": {"accuracy": 0.5}}],
    }
    results |= {
        "arms": {"baseline": bare},
        "comparisons": [],
        "environment": {},
        "latency_conditions": None,
    }
    (tmp_path / "results.json").write_text(json.dumps(results))
    text = write_report(tmp_path, figures=False).read_text()
    assert "50.00" in text
    assert "One seed" in text
    for absent in (
        'class="verdicts"',
        'class="published"',
        "Which images changed<",
        "Class by class<",
        "nan",
        "None",
    ):
        assert absent not in text


def test_fixed_minus_broken_is_the_change_in_right_answers(tmp_path: Path) -> None:
    write_example_run(tmp_path, num_test=300, epochs=1)
    text = write_report(tmp_path, figures=False).read_text()
    for key in ("right", "wrong"):
        cells = re.search(rf'<th scope="row">{key}</th>((?:<td>[\d,]+</td>)+)', text)
        assert cells is not None
        images, before, after, fixed, broken = (int(cell) for cell in re.findall(r"\d+", cells[1]))
        assert before <= images
        assert (
            abs((after - before) - (fixed - broken)) <= 2
        )  # means over seeds are rounded to whole images


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        (b'{"schema": 1, "arms": ', "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"[]", "schema None"),
        (b'{"schema": 2}', "schema 2"),
        (b'{"schema": 1, "arms": {}, "data": {"class_names": []}}', "incomplete"),
        (
            b'{"schema": 1, "arms": {"a": {"runs": [{"seed": 0, "test": {}}]}}, '
            b'"data": {"class_names": ["x"]}}',
            "incomplete",
        ),
    ],
)
def test_broken_results_are_one_clear_line(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "results.json").write_bytes(content)
    with pytest.raises(UnderstudyError, match=message) as error:
        write_report(tmp_path)
    assert "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)
    assert not (tmp_path / "report.html").exists()


def test_broken_companions_are_named(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    write_example_run(tmp_path, num_test=100, epochs=1)
    assert read_results(tmp_path).schema == 1
    predictions = tmp_path / "arms" / "distilled-seed1" / "predictions.npz"
    whole = predictions.read_bytes()
    predictions.write_bytes(b"not a zip")
    with pytest.raises(UnderstudyError, match="distilled-seed1"):
        write_report(tmp_path, figures=False)
    np.savez(
        predictions, logits=np.array([object()]), labels=np.zeros(1)
    )  # a pickle inside is never loaded
    with pytest.raises(UnderstudyError, match="distilled-seed1"):
        write_report(tmp_path, figures=False)
    predictions.write_bytes(whole)
    (tmp_path / "history.csv").write_text("arm,seed,epoch\nteacher,0,zero\n")
    with pytest.raises(UnderstudyError, match=r"history\.csv"):
        write_report(tmp_path)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_on_a_phone(run: Path, chromium: Any, scheme: str) -> None:
    check_on_a_phone(run / "report.html", chromium, scheme)


def test_page_of_skewed_classes_shows_what_an_accuracy_hides(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    write_example_run(tmp_path, num_test=300, epochs=2)
    skewed = skew_classes(tmp_path)
    text = write_report(tmp_path).read_text()
    assert "balanced %" in text and "Macro F1" in text
    run = skewed["arms"]["teacher"]["runs"][0]["test"]
    low, high = run["per_class_interval"][1]
    cell = f"{100 * run['per_class'][1]:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
    assert cell in text, "the accuracy on a class with its interval"
    assert f"<td>{run['class_counts'][1]}</td>" in text
    assert (tmp_path / "figures" / "confusion.png").exists()
    rows = (tmp_path / "results.csv").read_text().splitlines()
    assert {"test_balanced_accuracy", "test_macro_f1"} <= set(rows[0].split(","))


def test_an_arm_at_chance_is_stated_above_the_verdicts(tmp_path: Path) -> None:
    write_example_run(tmp_path, num_test=200, epochs=2)
    results = skew_classes(tmp_path)
    for run in results["arms"]["teacher"]["runs"]:
        predicts_first = [1.0] + [0.0] * 9
        counts = run["test"]["class_counts"]
        run["test"] |= {"per_class": predicts_first, "accuracy": counts[0] / sum(counts)}
    (tmp_path / "results.json").write_text(json.dumps(results))
    text = write_report(tmp_path, figures=False).read_text()
    assert text.index("The teacher is at chance: ") < text.index('<ul class="verdicts">')
    assert "The baseline is at chance" not in text
