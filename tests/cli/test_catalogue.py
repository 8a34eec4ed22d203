"""The list of networks: what is known of them, and which fit a budget."""

import json

import pytest

from understudy.cli import main
from understudy.models.students import known_students


def listed(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict]:
    assert main(["models", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_networks_are_listed_with_their_accuracy_where_it_is_known(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = {row["name"]: row for row in listed(capsys)}
    assert rows["tiny_res"]["accuracy"] == known_students().accuracy_of("tiny_res", {})
    assert rows["tiny_res"]["accuracy"] is not None and rows["wrn_28_10"]["accuracy"] is None
    assert main(["models"]) == 0
    assert "after a short training of" in capsys.readouterr().out


def test_a_budget_lists_what_fits_with_the_chosen_one_first(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = listed(capsys, "--budget", "100k")
    assert len(rows) >= 3 and all(row["parameters"] <= 100_000 for row in rows)
    best = max(row["accuracy"] for row in rows)
    assert rows[0]["accuracy"] >= best - known_students().standard_error
    large = listed(capsys, "--budget", "100k", "--image-size", "64", "--classes", "200")
    assert len(large) < len(rows), "200 classes need a larger head"
    assert large[0]["options"]["stem_stride"] == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--budget", "5parsecs"], "5parsecs is no budget for a student"),
        (["--budget", "10"], "no known student has at most 10 parameters"),
        (["--budget", "100k", "--classes", "1"], "needs at least 2 classes"),
        (["--budget", "100k", "--image-size", "0"], "must be at least 1"),
        (["--budget", "100k", "--image-size", "8"], "too small"),
        (["tiny_res", "--budget", "100k"], "a network or a --budget, not both"),
    ],
)
def test_nonsense_is_refused_in_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", *words]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
