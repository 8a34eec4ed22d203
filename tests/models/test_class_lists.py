"""Lists of classes as people have them: a line for each, or one of the usual kinds of JSON."""

from pathlib import Path

import pytest

from understudy.errors import UnderstudyError
from understudy.models.class_lists import read_class_list


@pytest.mark.parametrize(
    "text",
    [
        "cat\ndog\nred fox\n\n",
        "\ufeffcat\r\ndog\r\nred fox",
        '["cat", "dog", "red fox"]',
        '{"0": "cat", "2": "red fox", "1": "dog"}',
        '{"dog": 1, "red fox": 2, "cat": 0}',
        '{"model": "x", "id2label": {"0": "cat", "1": "dog", "2": "red fox"}}',
    ],
)
def test_every_form_gives_the_names_in_their_order(tmp_path: Path, text: str) -> None:
    path = tmp_path / "classes"
    path.write_text(text, encoding="utf-8")
    assert read_class_list(path) == ("cat", "dog", "red fox")


def test_several_names_of_a_class_become_synonyms(tmp_path: Path) -> None:
    path = tmp_path / "index.json"
    path.write_text('{"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"]}')
    assert read_class_list(path) == ("n01440764, tench", "n01443537, goldfish")


@pytest.mark.parametrize(
    "text", ["", "\n\n", "cat\n\ndog", "[1.5]", '{"cat": "dog"}', '{"0": "a", "2": "b"}', "[", "{}"]
)
def test_what_is_no_list_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "classes"
    path.write_text(text)
    with pytest.raises(UnderstudyError, match=r"is no list of classes: expected one name a line"):
        read_class_list(path)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UnderstudyError, match=r"teacher\.classes: .*gone cannot be read"):
        read_class_list(tmp_path / "gone")
