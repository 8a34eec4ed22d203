"""From a folder of pictures to a recipe that runs."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from understudy.cli import main
from understudy.config.recipe import load_config
from understudy.data.spec import ImageSpec
from understudy.evaluation.students import choose_student
from understudy.proposal import propose


def pictures(folder: Path, per_class: int = 12, side: int = 40) -> Path:
    """Two classes that a glance tells apart."""
    random = np.random.default_rng(0)
    for label, low in (("dark", 0), ("light", 150)):
        (folder / label).mkdir(parents=True)
        for number in range(per_class):
            pixels = random.integers(low, low + 100, (side, side, 3), np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{'ab'[number % 2]}_{number}.png")
    return folder


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Rates without timing, so that the proposal is the same on every machine."""
    monkeypatch.setattr(
        propose, "training_rate", lambda model, *_, **__: 50.0 if model.options else 200.0
    )
    monkeypatch.setenv("UNDERSTUDY_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def test_a_recipe_is_written_that_the_program_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = pictures(tmp_path / "my photos: yes")
    assert main(["init", str(folder), "--report-by", "(a|b)_"]) == 0
    shown, progress = capsys.readouterr()
    assert "24 images of 2 classes" in shown and "Next: understudy run" in shown
    config = load_config("my photos: yes.yaml")
    assert config.name == "my photos: yes" and config.data.path == str(folder)
    assert config.data.image_size == 32 and config.data.report_by == "(a|b)_"
    assert config.student.model == choose_student("auto:110k", ImageSpec(3, 32, 32), 2)
    assert "student auto:110k: " in progress and config.seeds == (0, 1, 2, 3, 4)
    assert len(config.data.mean) == 3 and 0.2 < config.data.mean[0] < 0.8


def test_what_is_known_better_is_taken(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "photos")
    wishes = ["--student", "tiny_dw", "--teacher", "resnet8", "--image-size", "64"]
    assert main(["init", str(folder), "--out", "mine.yml", "--seeds", "4,5", *wishes]) == 0
    config = load_config("mine.yml")
    assert (config.teacher.model.name, config.student.model.name) == ("resnet8", "tiny_dw")
    assert config.student.model.options == {"stem_stride": 2} and config.seeds == (4, 5)
    assert config.data.image_size == 64


def test_a_recipe_is_never_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = pictures(tmp_path / "photos")
    Path("photos.yaml").write_text("mine")
    assert main(["init", str(folder)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert Path("photos.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--minutes", "0"], "--minutes must be above 0"),
        (["--seeds", "a"], "--seeds takes whole numbers"),
        (["--student", "tiny_rs"], "did you mean"),
        (["--student", "auto:5parsecs"], "auto:5parsecs is no budget"),
        (["--out", "photos.txt"], "must end in .yaml"),
        (["--group-by", "("], "data.group_by is not a regular expression"),
        (["--columns", "label"], "--columns takes roles and names"),
        (["--columns", "kind=label"], "data.columns.kind is unknown"),
        (["--out", "nowhere/photos.yaml"], "there is no folder nowhere"),
    ],
)
def test_a_bad_wish_is_one_line(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = pictures(tmp_path / "photos")
    assert main(["init", str(folder), *words]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ") and message in last
    assert not list(tmp_path.glob("*.y*ml"))


def test_unreadable_pictures_are_listed_and_stop_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = pictures(tmp_path / "photos")
    for name in ("x.png", "y.png"):
        (folder / "dark" / name).write_bytes(b"nothing")
    assert main(["init", str(folder)]) == 2
    out, err = capsys.readouterr()
    assert "dark/x.png" in out and "dark/y.png" in out
    assert "2 images cannot be read" in err and "--skip-bad" in err
    assert main(["init", str(folder), "--skip-bad"]) == 0
    assert load_config("photos.yaml").data.skip_bad


def test_arrays_without_files_are_counted(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    np.savez(
        tmp_path / "tiny.npz",
        images=random.integers(0, 255, (40, 32, 32, 3), np.uint8),
        labels=np.arange(40) % 2,
    )
    assert main(["init", "tiny.npz", "--out", "arrays.yaml"]) == 0
    config = load_config("arrays.yaml")
    assert config.data.source == "npz" and config.data.image_size == 32


def test_the_recipe_holds_how_the_pictures_are_read(tmp_path: Path) -> None:
    paths = sorted(pictures(tmp_path / "photos").glob("*/*"))
    rows = [f"{path.relative_to(tmp_path)},{path.parent.name}" for path in paths]
    Path("table.csv").write_text("\n".join(["picture,kind", *rows, "photos/no.png,dark"]))
    reading = ["--columns", "image=picture,label=kind", "--skip-bad", "--max-pixels", "5000"]
    assert main(["init", "table.csv", *reading]) == 0
    data = load_config("table.yaml").data
    assert data.columns == {"image": "picture", "label": "kind"}
    assert data.skip_bad and data.max_pixels == 5000


def test_parquet_files_of_pictures_of_mixed_sizes_are_proposed_a_recipe_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pa = pytest.importorskip("pyarrow", reason="the data extra is not installed")
    from pyarrow import parquet

    small, large = (pictures(tmp_path / str(side), side=side) for side in (40, 50))
    paths = [*small.glob("*/*"), *large.glob("*/*")]
    cells = [{"bytes": path.read_bytes(), "path": path.name} for path in paths]
    table = {"image": cells, "label": [path.parent.name for path in paths]}
    parquet.write_table(pa.table(table), "photos.parquet")
    assert main(["init", "photos.parquet"]) == 0
    assert "Images of 40x40 to 50x50 pixels" in capsys.readouterr().out
    assert load_config("photos.yaml").data.source == "parquet"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--minutes", value) for value in ("0", "nan", "inf")),
        *(("--image-size", value) for value in ("0", "-5")),
        *(("--seeds", value) for value in ("x", "0,0", str(2**70))),
        *(("--student", value) for value in ("", "resnet2O")),
        *(("--teacher", value) for value in ("", "resnet2O")),
        *(("--group-by", value) for value in ("(", "zzz")),
        ("--report-by", "("),
        ("--columns", "file"),
    ],
)
def test_impossible_wishes_are_refused_before_any_picture_is_opened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    pictures(tmp_path / "pets", 5)
    out = tmp_path / "pets.yaml"
    assert main(["init", str(tmp_path / "pets"), "--out", str(out), option, value]) == 2
    printed = capsys.readouterr()
    assert not printed.out and len(printed.err.splitlines()) == 1
    assert not out.exists()


@pytest.mark.parametrize(
    "name",
    [
        *(
            "yes",
            "null",
            "1e3",
            "~",
            "a: b",
            "x #c",
            "- x",
            "it's",
            'a "b"',
            "{a}",
            "*a",
            "%s",
            "名前",
        ),
        *("a\nb", "a\x1b[31mb", "a\x7fb", "a\u2028b", "a\ufeffb"),
    ],
)
def test_a_recipe_can_be_read_whatever_the_folder_is_called(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / name, tmp_path / f"{name}.yaml"
    pictures(folder, 5)
    assert main(["init", str(folder), "--out", str(out)]) == 0
    config = load_config(str(out))
    assert (config.name, config.data.path) == (name, str(folder))
    assert capsys.readouterr().out.splitlines()[-1].isprintable()


def test_the_next_command_can_be_copied_into_a_shell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "my pets", tmp_path / "my pets.yaml"
    pictures(folder, 5)
    assert main(["init", str(folder), "--out", str(out)]) == 0
    assert capsys.readouterr().out.endswith(f"Next: understudy run '{out}'\n")
    assert out.read_text().startswith(f"# understudy run '{out}'\n")
