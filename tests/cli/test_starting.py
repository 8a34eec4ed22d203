"""``understudy init``: what it refuses before it looks at any picture, and the recipe it writes."""

from pathlib import Path

import pytest
from tests.data.picture_folders import write_pictures

from understudy import cli
from understudy.config.recipe import load_config


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--group-by", "("], "data.group_by is not a regular expression"),
        (["--columns", "label"], "--columns takes roles and names"),
        (["--columns", "kind=label"], "data.columns.kind is unknown"),
        (["--minutes", "0"], "--minutes must be above 0"),
        (["--out", "photos.txt"], "must end in .yaml"),
    ],
)
def test_mistakes_are_one_line(
    options: list[str], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(tmp_path / "photos", {"cat": 4, "dog": 4})
    assert cli.main(["init", "photos", *options]) == 2
    printed = capsys.readouterr().err
    assert line in printed and len(printed.splitlines()) == 1


def test_the_recipe_holds_how_the_pictures_are_read(tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos", {"cat": 12, "dog": 12})
    paths = sorted((tmp_path / "photos").glob("*/*"))
    rows = [f"{path.relative_to(tmp_path)},{path.parent.name}" for path in paths]
    (tmp_path / "table.csv").write_text("\n".join(["picture,kind", *rows, "photos/no.jpg,cat"]))
    command = [
        *("init", "table.csv", "--columns", "image=picture,label=kind", "--skip-bad"),
        *("--max-pixels", "5000", "--image-size", "16", "--student", "tiny_res"),
        *("--teacher", "tiny_wide", "--seeds", "0,1"),
    ]
    assert cli.main(command) == 0
    data = load_config("table.yaml").data
    assert data.columns == {"image": "picture", "label": "kind"}
    assert data.skip_bad and data.max_pixels == 5000 and data.image_size == 16
