"""Plain words: a short list that docstrings, comments, messages and pages do without.

Software does not hear, say, ask, tell or answer; and a reader for whom English is a second language
should not need a dictionary for words that few people use today.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BANNED = {
    "shall": "must, or will",
    "anew": "again",
    "wherever": "where, or everywhere",
    "(?:as|however) (?:it|they) (?:came|comes?|are)": "unchanged",
    "told": "given",
    "hears?|heard": "gets",
    "bur(?:y|ies|ied)": "end, hide",
    "compan(?:y|ies)": "group",
    "listen(?:s|ing)?": "reads",
    "asks?|asked": "reads, computes, requests",
    "answers?|answered": "outputs, returns",
    "said|says": "is, means, shows",
    "where none": "without, otherwise",
    "besides?": "next to, in addition to",
    "kept": "cached, saved",
    "looked after|taken up again": "managed, resumed",
    "mend(?:s|ed)?": "repair",
    "leans? on": "depends on",
}
"""A pattern -> what to write instead."""
ALLOWED = {
    ("src/understudy/sweep/folder.py", "asked"): "a key of sweep.json, which is on users' disks",
    ("src/understudy/cli/predict.py", "beside"): "the name of an option",
    ("docs/deployment.md", "beside"): "the name of an option",
    ("docs/performance.md", "kept"): "rows of tables of recorded measurements",
    ("docs/diagnosis.md", "answers"): "a page that answers a question for its reader",
}
"""Place and word -> why it may stand there. This list only gets shorter."""
PATTERN = re.compile(rf"\b(?:{'|'.join(BANNED)})\b", re.IGNORECASE)


def texts_of_source(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of every comment and every constant string of a Python file."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def texts_of_page(page: str) -> Iterator[tuple[int, str]]:
    """Each paragraph with its first line, its line breaks read as spaces."""
    number = 1
    for paragraph in page.split("\n\n"):
        yield number, paragraph
        number += paragraph.count("\n") + 2


def banned_words(texts: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    for line, text in texts:
        for found in PATTERN.finditer(" ".join(text.split())):
            yield line, found[0].lower()


def all_banned_words() -> Iterator[tuple[str, int, str]]:
    """File, line and word, in the package and the pages."""
    for path in sorted((ROOT / "src" / "understudy").rglob("*.py")):
        for line, word in banned_words(texts_of_source(path.read_text(encoding="utf-8"))):
            yield str(path.relative_to(ROOT)), line, word
    templates = [*(ROOT / "src" / "understudy").rglob("*.j2")]
    recipes = [*(ROOT / "src" / "understudy").rglob("*.yaml")]
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    for path in sorted([*templates, *recipes, *pages]):
        for line, word in banned_words(texts_of_page(path.read_text(encoding="utf-8"))):
            yield str(path.relative_to(ROOT)), line, word


FOUND = list(all_banned_words())


def test_no_banned_word_is_used() -> None:
    places = [f"{f}:{line}: {word}" for f, line, word in FOUND if (f, word) not in ALLOWED]
    assert places == [], "see BANNED for what to write instead"


def test_every_allowed_place_still_has_its_word() -> None:
    assert set(ALLOWED) == {(file, word) for file, _, word in FOUND} & set(ALLOWED)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("# It shall run\nx = 1\n", ["shall"]),
        ('def f():\n    """Train\n    it\n    as they are, anew."""\n', ["as they are", "anew"]),
        ("raise ValueError(f'{x} is told')\n", ["told"]),
        ("told = listens = shallow = 'marshalled companion'\n", []),
        ("x = 'Nothing is kept; the teacher answered'\n", ["kept", "answered"]),
    ],
)
def test_planted_word_is_found(source: str, words: list[str]) -> None:
    assert [word for _, word in banned_words(texts_of_source(source))] == words


def test_planted_word_on_two_lines_of_a_page_is_found() -> None:
    page = "# Title\n\nImages are used as they\nare.\n"
    assert list(banned_words(texts_of_page(page))) == [(3, "as they are")]
