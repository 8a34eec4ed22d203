"""Names that users choose, in C and Markdown: any Unicode, and none of it is ever code."""

import json
import re

from understudy.errors import UnderstudyError

LONGEST = 4095
"""Bytes of a string that every C99 compiler accepts."""
_PLAIN = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 !#$&'()*+,-./:;<=>@[]^_{|}~"
)


def c_string(text: str) -> str:
    r"""A string literal of the UTF-8 bytes, with quotes.

    Everything but plain ASCII becomes an octal escape, which ends after three digits: an ``\x``
    escape would take in digits that follow, and ``??`` would be a trigraph.

    Raises:
        UnderstudyError: for more than 4,095 bytes.
    """
    data = text.encode("utf-8", "replace")
    if len(data) > LONGEST:
        raise UnderstudyError(
            f"the class name {text[:20]!r}... has {len(data)} bytes, and C strings {LONGEST} "
            "at most: shorten it"
        )
    return '"' + "".join(chr(byte) if byte in _PLAIN else f"\\{byte:03o}" for byte in data) + '"'


def c_comment(text: str) -> str:
    """Text that cannot end the comment it stands in."""
    return re.sub(r"[^A-Za-z0-9_. ]", "_", text)


def plain(value: object) -> str:
    """JSON on one line for people, with escapes for what cannot be seen."""
    text = json.dumps(value, ensure_ascii=False)
    escape = (f"\\u{ord(one):04x}" if not one.isprintable() else one for one in text)
    return "".join(escape)
