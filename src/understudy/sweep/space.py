"""What is swept: dotted keys of a recipe, each with its choices or its range."""

import dataclasses
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from understudy.config.parse import parse
from understudy.config.recipe import (
    apply_override,
    full_key,
    parse_yaml,
    replaces_options,
    to_mapping,
)
from understudy.config.schema import RunConfig
from understudy.errors import UnderstudyError

if TYPE_CHECKING:
    from understudy.runs.plan import RunPlan

_NUMBER = r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"(log:)?({_NUMBER})\.\.({_NUMBER})")
_SHARED = {
    "teacher": "the teacher is trained once and shared by all trials",
    "data": (
        "the images are prepared once and shared by all trials; "
        "of data only data.augment can be swept"
    ),
    "seeds": "every trial is trained on every seed: give them with --seeds",
    "benchmark": "it does not change how a student is trained",
    "name": "it does not change how a student is trained",
    "reference": "it does not change how a student is trained",
    "arms": "a sweep compares the method with the baseline only: sweep method.* instead",
}
"""Section -> why it cannot be swept."""


@dataclass(frozen=True)
class Choice:
    """One of several values.

    Attributes:
        key: dotted key of the recipe.
        values: plain YAML values, two or more, all different, in the order given.
    """

    key: str
    values: tuple[Any, ...]
    kind: Literal["choice"] = "choice"


@dataclass(frozen=True)
class Range:
    """Any number from ``low`` to ``high``.

    Attributes:
        key: dotted key of the recipe.
        kind: ``int`` or ``float``.
        low: included.
        high: included.
        log: equal ratios are equally likely, instead of equal differences.
    """

    key: str
    kind: Literal["int", "float"]
    low: float
    high: float
    log: bool = False


Dimension = Choice | Range


def split_overrides(overrides: Iterable[str]) -> tuple[list[Dimension], list[str]]:
    """Separate what is swept from plain overrides.

    Args:
        overrides: ``key=1,2,3`` (choices, each read as YAML), ``key=1..10`` (integers),
            ``key=0.1..0.9`` (numbers), ``key=log:1e-4..1e-2`` (numbers on a logarithmic scale);
            anything else is a plain override.

    Returns:
        the dimensions, and the plain overrides unchanged.

    Raises:
        UnderstudyError: for a dimension that is malformed, given twice, or would replace a plain
            override.
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
    """Dimensions from a mapping of keys to lists of values, or to text as on the command line.

    Args:
        space: such as ``{"method.temperature": [1, 4], "train.lr": "log:1e-4..1e-2"}``.

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
    """Refuse keys that cannot be swept, and values that do not fit the recipe.

    Raises:
        UnderstudyError: naming the key, and what to do instead.
    """
    if not space:
        raise UnderstudyError(
            "nothing to sweep: give several values for a key, such as method.temperature=1,2,3"
        )
    for dimension in space:
        _check_key(dimension.key)
    from understudy.runs.plan import resolve_plan

    plan = resolve_plan(config)
    for values in representative(space):
        trial_plan(plan, values)


def representative(space: Sequence[Dimension]) -> Iterator[dict[str, Any]]:
    """All combinations of choices; with ranges, each dimension's ends together with the first of
    the others."""
    if all(isinstance(dimension, Choice) for dimension in space):
        yield from grid_cells(space)
        return
    first = {dimension.key: _ends(dimension)[0] for dimension in space}
    for dimension in space:
        for value in _ends(dimension):
            yield first | {dimension.key: value}


def configured(config: RunConfig, values: Mapping[str, Any]) -> RunConfig:
    """:func:`trial_plan`'s configuration."""
    from understudy.runs.plan import resolve_plan

    return trial_plan(resolve_plan(config), values).config


def trial_plan(plan: "RunPlan", values: Mapping[str, Any]) -> "RunPlan":
    """The recipe's plan with a trial's values in it; the teacher stays what it is in the recipe.

    Args:
        plan: of the recipe.
        values: dotted key -> value.

    Raises:
        UnderstudyError: for an unknown key or a value that does not fit.
    """
    from understudy.runs.plan import resolve_plan

    mapping = to_mapping(plan.config)
    # The teacher inherits train.*: written out, its settings stay the same when train.* is swept.
    mapping["teacher"]["train"] = to_mapping(plan.arm("teacher").train)
    for number, assistant in enumerate(mapping["assistants"]):
        assistant["train"] = to_mapping(plan.arm(f"assistant{number + 1}").train)
    for key in sorted(values, key=_position):
        apply_override(mapping, f"{key}={json.dumps(values[key])}")
    return resolve_plan(parse(RunConfig, mapping))


def _position(key: str) -> tuple[bool, int]:
    """Order of overrides: names first, since another method or network drops the options of the
    recipe's; a section before its fields."""
    return not replaces_options(key), key.count(".")


def baseline_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that change the baseline, too: all but the method's."""
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
    entries = []
    for dimension in space:
        entry = dataclasses.asdict(dimension)
        if isinstance(dimension, Choice):
            entry["values"] = list(dimension.values)
        entries.append(entry)
    return entries


def label(values: Mapping[str, Any]) -> str:
    """A trial's values on one line."""
    return " ".join(f"{key}={_text(value)}" for key, value in values.items())


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)


def _read(key: str, text: str) -> Dimension | None:
    found = _RANGE.fullmatch(text.strip())
    if found:
        return _range(key, *found.groups())
    if text.startswith("log:"):
        raise UnderstudyError(f"{key}={text} is not a range: write it as {key}=log:1e-4..1e-2")
    pieces = _pieces(text)
    if len(pieces) < 2:
        return None
    if not all(piece.strip() for piece in pieces):
        raise UnderstudyError(f"{key}={text}: a value is missing next to a comma")
    return _choice(key, tuple(parse_yaml(piece, f"a value of {key}") for piece in pieces))


def _range(key: str, log: str | None, first: str, last: str) -> Range:
    whole = all(re.fullmatch(r"[-+]?\d+", end) for end in (first, last))
    low, high = (int(first), int(last)) if whole else (float(first), float(last))
    if low >= high:
        raise UnderstudyError(
            f"{key}={first}..{last}: a range goes from a smaller number to a larger one"
        )
    if log and low <= 0:
        raise UnderstudyError(f"{key}=log:{first}..{last}: a logarithmic range starts above 0")
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
    """Parts between commas outside brackets and quotes."""
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
    """Refuse a plain override that trials would silently lose: its key, section or method is
    swept."""
    for swept in (d.key for d in dimensions):
        if full_key(key) == full_key(swept):
            raise UnderstudyError(
                f"{swept} is swept, and {key} is set to one value: keep one of the two"
            )
        # The options of a method or network are dropped with its name.
        section = swept.removesuffix(".name") if replaces_options(swept) else swept
        if key.startswith(f"{section}."):
            inside = key.removeprefix(f"{section}.") + ": ..."
            name = {"method": "name: kd, "}.get(section, "name: NAME, " if section != swept else "")
            values = f"{{{name}{inside}}}"
            raise UnderstudyError(
                f"{key} is set, but the values of {swept} take its place: "
                f"write it into them, such as {section}={values},{{...}}"
            )


def _ends(dimension: Dimension) -> tuple[Any, ...]:
    return dimension.values if isinstance(dimension, Choice) else (dimension.low, dimension.high)


def _cells(dimension: Dimension) -> Sequence[Any]:
    if isinstance(dimension, Choice):
        return dimension.values
    if dimension.kind == "int" and not dimension.log:
        return range(int(dimension.low), int(dimension.high) + 1)
    raise UnderstudyError(
        f"{dimension.key} is a range, which a grid cannot walk through: list its values, "
        "or use --search random or tpe"
    )
