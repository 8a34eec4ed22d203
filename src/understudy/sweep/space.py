"""What is swept: dotted keys of a recipe, each with its choices or its range."""

import dataclasses
import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from understudy.config.parse import parse
from understudy.config.recipe import apply_override, parse_yaml, to_mapping
from understudy.config.schema import RunConfig
from understudy.errors import UnderstudyError

_NUMBER = r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"(log:)?({_NUMBER})\.\.({_NUMBER})")
_SHARED = {
    "teacher": "the teacher is trained once and shared by all trials",
    "data": "the images are prepared once and shared by all trials; of data only data.augment can be swept",
    "seeds": "every trial is trained on every seed: give them with --seeds",
    "benchmark": "it does not change how a student is trained",
    "name": "it does not change how a student is trained",
    "reference": "it does not change how a student is trained",
    "arms": "a sweep compares the method with the plain student only: sweep method.* instead",
}
"""Section -> why it cannot be swept."""


@dataclass(frozen=True)
class Choice:
    """One of several values, in the order given.

    Attributes:
        key: dotted key of the recipe.
        values: plain YAML values, two or more, all different.
    """

    key: str
    values: tuple[Any, ...]
    kind: Literal["choice"] = "choice"


@dataclass(frozen=True)
class Range:
    """Any number from ``low`` to ``high``, both included.

    Attributes:
        key: dotted key of the recipe.
        kind: ``int`` or ``float``.
        log: equal ratios are equally likely, instead of equal differences.
    """

    key: str
    kind: Literal["int", "float"]
    low: float
    high: float
    log: bool = False


Dimension = Choice | Range


def split_overrides(overrides: Iterable[str]) -> tuple[list[Dimension], list[str]]:
    """Tell what is to be swept from plain overrides.

    Args:
        overrides: ``key=1,2,3`` (choices, each read as YAML), ``key=1..10`` (integers), ``key=0.1..0.9`` (numbers),
            ``key=log:1e-4..1e-2`` (numbers on a logarithmic scale); anything else is a plain override.

    Returns:
        the dimensions, and the plain overrides as they came.

    Raises:
        UnderstudyError: for a dimension that is malformed, given twice, or would take the place of a plain override.
    """
    dimensions: list[Dimension] = []
    plain = []
    for override in overrides:
        key, _, text = override.partition("=")
        dimension = _read(key, text)
        if dimension is None:
            plain.append(override)
        else:
            dimensions.append(dimension)
    _refuse_twice(dimensions)
    for override in plain:
        _refuse_set(override.partition("=")[0], dimensions)
    return dimensions, plain


def make_space(space: Mapping[str, Any] | Sequence[Dimension]) -> tuple[Dimension, ...]:
    """Dimensions from a mapping of keys to lists of values or to text as on the command line (``"log:1e-4..1e-2"``).

    Raises:
        UnderstudyError: for a dimension that is malformed, or given twice.
    """
    if not isinstance(space, Mapping):
        dimensions = list(space)
    else:
        dimensions = []
        for key, given in space.items():
            dimension = _read(key, given) if isinstance(given, str) else _choice(key, tuple(given))
            if dimension is None:
                raise UnderstudyError(
                    f"{key}={given} is one value: give several, such as {key}=1,2,3 or {key}=1..10"
                )
            dimensions.append(dimension)
    _refuse_twice(dimensions)
    return tuple(dimensions)


def check_space(config: RunConfig, space: Sequence[Dimension]) -> None:
    """Refuse keys that cannot be swept, and values that the recipe would refuse.

    Raises:
        UnderstudyError: naming the key, and what to do instead.
    """
    if not space:
        raise UnderstudyError(
            "nothing to sweep: give several values for a key, such as method.temperature=1,2,3"
        )
    for dimension in space:
        _check_key(dimension.key)
    if all(isinstance(d, Choice) for d in space):
        for values in grid_cells(space):
            configured(config, values)
        return
    # With ranges there are too many combinations: each dimension's values beside the first of the others.
    first = {d.key: _extremes(d)[0] for d in space}
    for dimension in space:
        for value in _extremes(dimension):
            configured(config, first | {dimension.key: value})


def configured(config: RunConfig, values: Mapping[str, Any]) -> RunConfig:
    """The recipe with a trial's values in it; the teacher's settings stay what they are in the recipe.

    Args:
        config: the recipe.
        values: dotted key -> value.

    Raises:
        UnderstudyError: for an unknown key or a value that does not fit.
    """
    from understudy.methods import method_config

    mapping = to_mapping(config)
    # train.* is the teacher's default as well: written out, it stays put when train.* is swept.
    mapping["teacher"]["train"] = to_mapping(config.teacher_train)
    for number, assistant in enumerate(mapping["assistants"]):
        assistant["train"] = to_mapping(config.assistant_train(number))
    # Names first: another method or network drops the options of the recipe's. And a section
    # before what is in it.
    for key in sorted(values, key=lambda key: (not _replaces_options(key), key.count("."))):
        apply_override(mapping, f"{key}={json.dumps(values[key])}")
    changed = parse(RunConfig, mapping)
    method_config(changed.method)
    return changed


def _replaces_options(key: str) -> bool:
    """Whether a new value of this key drops the options next to it."""
    return key in ("method", "method.name") or key.endswith(".model.name")


def plain_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that change the plain student as well: all but the method's."""
    return {key: value for key, value in values.items() if key.split(".")[0] != "method"}


def grid_cells(space: Sequence[Dimension]) -> list[dict[str, Any]]:
    """Every combination, the last dimension changing fastest.

    Raises:
        UnderstudyError: if a dimension is a range of real numbers, which has no cells.
    """
    return [
        dict(zip((d.key for d in space), cell, strict=True))
        for cell in itertools.product(*map(_cells, space))
    ]


def describe(space: Sequence[Dimension]) -> list[dict[str, Any]]:
    """The space as plain mappings, ready for JSON."""
    return [
        dataclasses.asdict(d) | ({"values": list(d.values)} if isinstance(d, Choice) else {})
        for d in space
    ]


def label(values: Mapping[str, Any]) -> str:
    """A trial's values on one line."""
    return " ".join(f"{key}={_text(value)}" for key, value in values.items())


def _text(value: Any) -> str:
    return (
        f"{value:.4g}"
        if isinstance(value, float)
        else value
        if isinstance(value, str)
        else json.dumps(value)
    )


def _read(key: str, text: str) -> Dimension | None:
    found = _RANGE.fullmatch(text.strip())
    if found:
        return _range(key, *found.groups())
    if text.startswith("log:"):
        raise UnderstudyError(f"{key}={text} is no range: write it as {key}=log:1e-4..1e-2")
    pieces = _pieces(text)
    if len(pieces) < 2:
        return None
    if not all(piece.strip() for piece in pieces):
        raise UnderstudyError(f"{key}={text}: a value is missing beside a comma")
    return _choice(key, tuple(parse_yaml(piece, f"a value of {key}") for piece in pieces))


def _range(key: str, log: str | None, first: str, last: str) -> Range:
    whole = all(re.fullmatch(r"[-+]?\d+", end) for end in (first, last))
    low, high = (int(first), int(last)) if whole else (float(first), float(last))
    if low >= high:
        raise UnderstudyError(
            f"{key}={first}..{last}: a range goes from a smaller number to a larger one"
        )
    if log and low <= 0:
        raise UnderstudyError(f"{key}=log:{first}..{last}: a logarithmic range begins above 0")
    return Range(key, "int" if whole else "float", low, high, bool(log))


def _choice(key: str, values: tuple[Any, ...]) -> Choice:
    if len(values) < 2:
        raise UnderstudyError(
            f"{key} has one value: give several, such as {key}=1,2,3, or change the recipe instead"
        )
    for number, value in enumerate(values):
        if value in values[:number]:
            raise UnderstudyError(f"{key}: {value!r} is given twice")
    return Choice(key, values)


def _pieces(text: str) -> list[str]:
    """Parts between commas that stand outside brackets and quotes."""
    pieces, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "[{":
            depth += 1
        elif letter in "]}":
            depth -= 1
        if letter == "," and depth == 0 and not quote:
            pieces.append("")
        else:
            pieces[-1] += letter
    return pieces


def _check_key(key: str) -> None:
    section = key.split(".")[0]
    if section in _SHARED and key.split(".")[:2] != ["data", "augment"]:
        raise UnderstudyError(f"{key} cannot be swept: {_SHARED[section]}")


def _refuse_twice(dimensions: Sequence[Dimension]) -> None:
    keys = [d.key for d in dimensions]
    for key in keys:
        if keys.count(key) > 1:
            raise UnderstudyError(f"{key} is swept twice: give all its values at once")


def _refuse_set(key: str, dimensions: Sequence[Dimension]) -> None:
    """Refuse a plain override that would silently be lost in trials: whose key, section or method is swept."""
    for swept in (d.key for d in dimensions):
        if key == swept or {key, swept} == {"method", "method.name"}:
            raise UnderstudyError(
                f"{swept} is swept, and {key} is set to one value: keep one of the two"
            )
        # The options of a method or network are dropped with its name.
        section = swept.removesuffix(".name") if _replaces_options(swept) else swept
        if key.startswith(f"{section}."):
            inside = key.removeprefix(f"{section}.") + ": ..."
            name = {"method": "name: kd, "}.get(section, "name: NAME, " if section != swept else "")
            values = f"{{{name}{inside}}}"
            raise UnderstudyError(
                f"{key} is set, but the values of {swept} take its place: write it into them, such as {section}={values},{{...}}"
            )


def _extremes(dimension: Dimension) -> tuple[Any, ...]:
    return dimension.values if isinstance(dimension, Choice) else (dimension.low, dimension.high)


def _cells(dimension: Dimension) -> Sequence[Any]:
    if isinstance(dimension, Choice):
        return dimension.values
    if dimension.kind == "int" and not dimension.log:
        return range(int(dimension.low), int(dimension.high) + 1)
    raise UnderstudyError(
        f"{dimension.key} is a range, which a grid cannot walk through: list its values, or use --search random or tpe"
    )
