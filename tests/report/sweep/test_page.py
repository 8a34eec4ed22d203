"""The page of a sweep holds the file's numbers, is safe and needs nothing else."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.report.example_sweep import GRID, write_example_sweep
from tests.report.page_checks import Elements, check_on_a_phone

from understudy.errors import UnderstudyError
from understudy.report import write_report, write_sweep_report
from understudy.report.sweep.page import without_password

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A sweep whose names and reasons try to break out of the page, with its report."""
    pytest.importorskip("matplotlib")
    folder = tmp_path_factory.mktemp("sweep")
    space = [GRID[0], {"key": "method.name", "kind": "choice", "values": ["kd", HOSTILE, "a$x$b"]}]
    results = write_example_sweep(
        folder, name=f"sweep {HOSTILE}", space=space, failed={3: f"lost {HOSTILE}"}, pruned=[5]
    )
    results["command"] = f"understudy sweep {HOSTILE} --storage postgresql://me:secret@host/db"
    results["search"]["storage"] = "postgresql://me:secret@host/db"
    results["importance"] = {"method.temperature": 0.7, "method.name": 0.3}
    (folder / "results.json").write_text(json.dumps(results))
    write_sweep_report(folder)
    return folder, results


@pytest.fixture(scope="module")
def page(sweep: tuple[Path, dict[str, Any]]) -> str:
    return (sweep[0] / "report.html").read_text()


def test_every_part_is_there_in_order(page: str) -> None:
    parts = [
        "verdicts",
        "Tested on fresh seeds",
        "Best trials",
        "Figures",
        "What mattered",
        "All trials",
        "Failed trials",
    ]
    parts += ["How it was done", "Configuration", "Glossary"]
    start = page.index("<body>")
    positions = [
        page.index('class="verdicts"' if part == "verdicts" else f">{part}<", start)
        for part in parts
    ]
    assert positions == sorted(positions)
    assert page.count("<svg") == page.count("<figcaption>") == 4
    elements = Elements(page)
    assert elements.open == []
    ids = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_numbers_are_those_of_the_file(page: str, sweep: tuple[Path, dict[str, Any]]) -> None:
    results = sweep[1]
    for trial in results["trials"]:
        row = re.search(
            rf'<th scope="row">{trial["number"]}</th>((?:<td>[^<]*</td>)+)',
            page[page.index(">All trials<") :],
        )
        assert row is not None
        cells = re.findall(r"<td>([^<]*)</td>", row[1])
        if trial["state"] == "complete":
            mean, gain = trial["summary"], trial["gain"]
            assert (
                cells[2] == f"{100 * mean['mean']:.2f} ± {100 * (mean['high'] - mean['mean']):.2f}"
            )
            assert (
                cells[3]
                == f"{100 * gain['mean']:+.2f} [{100 * gain['low']:.2f}, {100 * gain['high']:.2f}]"
            )
            assert cells[4] == f"{sum(run['seconds'] for run in trial['runs']):.0f}"
        else:
            assert cells[2] == trial["state"]
    for run in results["final"]["arms"]["best"]["runs"]:
        assert f"<td>{100 * run['test']['accuracy']:.2f}</td>" in page
    gain = results["final"]["gain"]
    assert f"{100 * gain['mean']:+.2f} [{100 * gain['low']:.2f}, {100 * gain['high']:.2f}]" in page
    assert "processes 21,900 images/s" in page
    images = 45000 * sum(
        run["epochs"]
        for entry in [*results["trials"], *results["baselines"]]
        for run in entry["runs"]
    )
    assert f"{images / results['seconds']['trials']:,.0f} images/s overall" in page


def test_names_and_reasons_come_out_escaped(page: str) -> None:
    assert HOSTILE not in page
    assert "lost &lt;script&gt;" in page
    elements = Elements(page).found
    assert "script" not in {tag for tag, _ in elements}
    assert not any(
        attribute.startswith("on") for _, attributes in elements for attribute in attributes
    )
    targets = [
        attributes.get(key) or ""
        for _, attributes in elements
        for key in ("src", "href", "xlink:href")
    ]
    assert all(target == "" or target.startswith(("#", "data:")) for target in targets)


def test_passwords_stay_out_of_the_page(page: str) -> None:
    assert "secret" not in page
    assert (
        without_password("x --storage mysql+pymysql://u:p@h:1/d y@z")
        == "x --storage mysql+pymysql://…@h:1/d y@z"
    )


def test_a_sweep_is_recognised_and_written_the_same_twice(
    sweep: tuple[Path, dict[str, Any]],
) -> None:
    folder = sweep[0]
    before = {
        path: path.read_bytes()
        for path in [folder / "report.html", *(folder / "figures").iterdir()]
    }
    assert write_report(folder) == folder / "report.html"
    assert {
        path: path.read_bytes()
        for path in [folder / "report.html", *(folder / "figures").iterdir()]
    } == before
    assert len(before) == 1 + 2 * 4


def test_report_without_figures_loads_no_matplotlib(tmp_path: Path) -> None:
    write_example_sweep(tmp_path)
    code = (
        "import sys, understudy.report as r;"
        "assert not {'matplotlib', 'jinja2', 'rich', 'optuna'} & set(sys.modules);"
        "from pathlib import Path; r.write_sweep_report(Path(sys.argv[1]), figures=False);"
        "assert not {'matplotlib', 'optuna'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert "<svg" not in (tmp_path / "report.html").read_text()


def test_a_sweep_with_one_seed_and_no_test_claims_nothing(tmp_path: Path) -> None:
    results = write_example_sweep(tmp_path, seeds=(0,), final=False)
    for entry in results["trials"]:
        entry["gain"] = None
    results |= {"baselines": [], "environment": {}, "backend": None, "seconds": {}}
    (tmp_path / "results.json").write_text(json.dumps(results))
    text = write_sweep_report(tmp_path, figures=False).read_text()
    assert "One seed" in text
    assert "not tested on fresh seeds" in text
    for absent in (
        "Tested on fresh seeds",
        "gain, points",
        'class="better"',
        "nan",
        "None",
        "Baseline on validation",
    ):
        assert absent not in text


def test_an_incomplete_sweep_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text('{"schema": 1, "kind": "sweep", "trials": []}')
    with pytest.raises(UnderstudyError, match="incomplete") as error:
        write_report(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_on_a_phone(sweep: tuple[Path, dict[str, Any]], chromium: Any, scheme: str) -> None:
    check_on_a_phone(sweep[0] / "report.html", chromium, scheme)
