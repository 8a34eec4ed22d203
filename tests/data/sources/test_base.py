import os
from pathlib import Path

import pytest

from understudy.data.sources.base import existing
from understudy.errors import UnderstudyError


def test_a_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("here").mkdir()
    assert existing(Path("here")) == tmp_path.resolve() / "here"


def test_a_path_that_no_report_could_name_is_refused(tmp_path: Path) -> None:
    place = tmp_path / os.fsdecode(b"\xff\xfephotos")
    place.mkdir()
    with pytest.raises(UnderstudyError, match=r"1 name not in UTF-8: .*\\xff\\xfephotos; rename"):
        existing(place)
