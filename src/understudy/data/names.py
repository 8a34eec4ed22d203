"""Names of files and classes: how they are compared, and how they are shown in messages."""

import unicodedata
from collections.abc import Collection, Iterable

from understudy.errors import UnderstudyError

_SURROGATES = range(0xDC80, 0xDD00)
"""What Python makes of bytes of a file name that are not UTF-8 (PEP 383)."""
_EMBEDDINGS = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
"""Classes of the characters that change the direction of what follows them."""


def normalised(name: str) -> str:
    """In Unicode's composed form (NFC): macOS stores an ``é`` as two characters, others as one."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def shown(name: str) -> str:
    """A name as one line of a message: control characters and bytes that are not UTF-8 escaped."""
    return name if name.isprintable() else "".join(map(_escaped, name))


def listed(names: Collection[str], most: int = 5) -> str:
    """``a, b, c``; of many the first ``most`` and how many more there are."""
    text = ", ".join(shown(name) for name in list(names)[:most])
    return f"{text} and {len(names) - most:,} more" if len(names) > most else text


def counted(number: int, what: str, plural: str = "") -> str:
    """``1 image``, ``2,000 images``; ``plural`` where an ``s`` is not enough."""
    return f"{number:,} {what if number == 1 else plural or what + 's'}"


def refuse_undecodable(names: Iterable[str], where: str) -> None:
    """Raises UnderstudyError, with the first few, if names are not valid UTF-8.

    No report, no figure and no exported file could name such a class.
    """
    bad = [name for name in names if not name.isascii() and _is_undecodable(name)]
    if bad:
        raise UnderstudyError(
            f"{shown(where)} has {counted(len(bad), 'name')} not in UTF-8: {listed(bad)}; rename "
            "them (convmv -r -f latin1 -t utf8 does it for a whole folder)"
        )


def refuse_control_characters(class_names: Iterable[str], where: str) -> None:
    """Raises UnderstudyError if a class cannot be written on one line of a terminal."""
    bad = [name for name in class_names if any(map(_breaks_a_line, name))]
    if bad:
        raise UnderstudyError(
            f"names of classes in {shown(where)} contain control characters: {listed(bad)}; "
            "rename them"
        )


def _breaks_a_line(character: str) -> bool:
    """Whether it is a control character, a line separator, or reverses the text after it."""
    is_control = unicodedata.category(character) in ("Cc", "Zl", "Zp")
    return is_control or unicodedata.bidirectional(character) in _EMBEDDINGS


def _is_undecodable(name: str) -> bool:
    return any(ord(character) in _SURROGATES for character in name)


def _escaped(character: str) -> str:
    code = ord(character)
    if code in _SURROGATES:
        return f"\\x{code - 0xDC00:02x}"
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")
