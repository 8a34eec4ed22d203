"""Names are text, in C and in Markdown."""

import ast
import json

import pytest

from understudy.errors import UnderstudyError
from understudy.export.c.names import c_comment, c_string, plain

NAMES = ['"', "\\", "??/", "a\nb", "\x07" + "1", "猫", "\u202e", "\x00", "%s", "\ud800", "é"]


@pytest.mark.parametrize("name", NAMES)
def test_c_string_is_one_literal_of_these_bytes(name: str) -> None:
    literal = c_string(name)
    assert literal.isascii() and literal.isprintable()
    assert literal.count('"') == 2
    assert "??" not in literal
    # Octal escapes mean the same in Python.
    assert ast.literal_eval(f"b{literal}") == name.encode("utf-8", "replace")


def test_digits_after_an_escape_are_not_part_of_it() -> None:
    assert c_string("é1") == '"\\303\\2511"'


def test_name_that_no_compiler_must_accept_is_an_error() -> None:
    c_string("x" * 4095)
    with pytest.raises(UnderstudyError, match="has 4096 bytes"):
        c_string("x" * 4096)


def test_comment_cannot_end() -> None:
    assert c_comment("stage1.conv") == "stage1.conv"
    assert c_comment("a */ int x; \\\n") == "a __ int x_ __"


@pytest.mark.parametrize("name", NAMES)
def test_plain_text_shows_what_cannot_be_seen(name: str) -> None:
    assert plain(name).isprintable()
    assert json.loads(plain(name)) == name


def test_plain_text_of_words_is_readable() -> None:
    assert plain("graue Katze é 猫") == '"graue Katze é 猫"'
