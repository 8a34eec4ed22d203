"""Budgets such as ``auto:100k`` among the students of a sweep: networks take their place."""

from collections.abc import Callable, Sequence
from typing import Any

from understudy.config.budget import Budget, is_budget
from understudy.config.networks import ModelConfig, named
from understudy.config.recipe import full_key, to_mapping
from understudy.errors import UnderstudyError
from understudy.sweep.space import Choice, Dimension


def with_students(
    space: Sequence[Dimension], choose: Callable[[str], ModelConfig]
) -> tuple[Dimension, ...]:
    """The space with the networks of all budgets, as values of ``student.model``.

    Args:
        space: the dimensions.
        choose: the network of a budget.

    Raises:
        UnderstudyError: if two budgets have the same network, or one is a time, which every machine
            would measure for itself.
    """
    return tuple(_chosen(dimension, choose) for dimension in space)


def _chosen(dimension: Dimension, choose: Callable[[str], ModelConfig]) -> Dimension:
    if not isinstance(dimension, Choice) or full_key(dimension.key) != "student.model.name":
        return dimension
    if not any(_is_budget(value) for value in dimension.values):
        return dimension
    models: list[Any] = []
    for value in dimension.values:
        model = named(value) if isinstance(value, str) else value
        if _is_budget(value):
            if Budget.of(value).milliseconds is not None:
                raise UnderstudyError(
                    f"{dimension.key}={value}: a time is not swept, since every machine would "
                    "measure its own: name the networks of `understudy models --budget`"
                )
            model = to_mapping(choose(value))
        if model in models:
            raise UnderstudyError(
                f"{dimension.key}: {value} is {model['name']} {model.get('options', '')}, which "
                "another value is as well: leave one out"
            )
        models.append(model)
    return Choice("student.model", tuple(models))


def _is_budget(value: Any) -> bool:
    return isinstance(value, str) and is_budget(value)
