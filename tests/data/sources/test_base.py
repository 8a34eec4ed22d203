from pathlib import Path

import pytest

from understudy.data.sources.base import existing


def test_a_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("here").mkdir()
    assert existing(Path("here")) == tmp_path.resolve() / "here"
