"""One line for every exception, one hint for every misspelled name."""

from pathlib import Path

import pytest

from understudy.errors import MachineError, UnderstudyError, one_line, suggest


def test_message_of_several_lines_becomes_one() -> None:
    assert one_line(ValueError("a\n  b\t c \n")) == "a b c"


def test_exception_without_message_is_shown_by_its_type() -> None:
    assert one_line(KeyboardInterrupt()) == "KeyboardInterrupt"
    assert one_line(UnderstudyError("")) == "UnderstudyError"
    assert one_line(ValueError(" \n "), first_line=True, with_type=True) == "ValueError"


def test_type_is_named_only_if_the_exception_is_not_ours() -> None:
    assert one_line(ValueError("bad"), with_type=True) == "ValueError: bad"
    assert one_line(MachineError("disk full"), with_type=True) == "disk full"


def test_first_line_leaves_out_what_a_library_appends() -> None:
    error = RuntimeError("\n(sqlite3) no such table\n[SQL: SELECT 1]")
    assert one_line(error, first_line=True) == "(sqlite3) no such table"


def test_os_error_is_reason_and_path_without_its_number() -> None:
    with pytest.raises(FileNotFoundError) as caught:
        Path("/nowhere/at/all").read_text()
    assert one_line(caught.value) == "No such file or directory: /nowhere/at/all"
    assert one_line(OSError("disk full")) == "disk full"


def test_long_foreign_message_is_cut_and_our_own_is_not() -> None:
    text = "x" * 1000
    assert one_line(ValueError(text)) == "x" * 297 + "..."
    assert len(one_line(ValueError(text), limit=50)) == 50
    assert one_line(ValueError("x" * 300)) == "x" * 300
    assert one_line(UnderstudyError(text)) == text


def test_close_name_is_suggested() -> None:
    assert suggest("epoch", ["lr", "epochs"]) == "did you mean epochs?"
    assert suggest("epoch", ["lr", "epochs"], prefix="train.") == "did you mean train.epochs?"


def test_several_close_names_are_suggested_best_first() -> None:
    known = ["resnet8x4", "resnet20", "resnet8"]
    assert suggest("resnet88", known, matches=2) == "did you mean resnet8, resnet8x4?"


def test_without_a_close_name_all_are_listed_in_their_order() -> None:
    assert suggest("zzz", ["b", "a"]) == "there are b, a"
    assert suggest("zzz", iter(["b", "a"]), otherwise="known:") == "known: b, a"
    assert suggest("zzz", []) == "there are none"


def test_long_list_is_cut() -> None:
    assert suggest("zzz", ["a", "b", "c"], most=2) == "there are a, b, ..."
    assert suggest("zzz", ["a", "b"], most=2) == "there are a, b"


def test_cutoff_decides_what_is_close() -> None:
    assert suggest("abcd", ["abxy"], cutoff=0.5) == "did you mean abxy?"
    assert suggest("abcd", ["abxy"], cutoff=0.6) == "there are abxy"
