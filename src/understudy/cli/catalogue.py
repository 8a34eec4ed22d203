"""The commands that list what there is: recipes, models, methods."""

from typing import Any

from understudy.cli.options import AsJson
from understudy.errors import UnderstudyError, suggest


def recipes(name: str | None = None, /, *, as_json: AsJson = False) -> None:
    """List the recipes, or show one.

    Args:
        name: show this recipe.
        as_json: print JSON.
    """
    from understudy.config.recipe import load_config, recipe_names, recipe_text, to_mapping
    from understudy.terminal.tables import print_json, print_list

    if name is None:
        entries = []
        for each in recipe_names():
            entries.append({"name": each, "summary": recipe_summary(recipe_text(each))})
        print_list(entries, as_json)
    elif as_json:
        summary = recipe_summary(recipe_text(name))
        print_json({"name": name, "summary": summary, "config": to_mapping(load_config(name))})
    else:
        print(recipe_text(name), end="")


def models(
    name: str | None = None,
    /,
    *,
    budget: str | None = None,
    image_size: int = 32,
    classes: int = 10,
    as_json: AsJson = False,
) -> None:
    """List the networks, or the known students under a budget, or explain one network.

    Args:
        name: explain this network.
        budget: list the students that student=auto:BUDGET chooses from, the chosen one first.
        image_size: pixels of a side, for the costs under a budget.
        classes: number of classes, for the costs under a budget.
        as_json: print JSON.
    """
    from understudy.models import describe_model, describe_models
    from understudy.terminal.tables import print_card, print_list

    if budget is not None:
        if name is not None:
            raise UnderstudyError("give a network or a --budget, not both")
        print_list(_under_budget(budget, image_size, classes), as_json)
    elif name is not None:
        print_card(describe_model(name), as_json)
    else:
        print_list(describe_models(), as_json)
    if not as_json and name is None:
        print(_accuracy_note())


def _under_budget(budget: str, image_size: int, classes: int) -> list[dict[str, Any]]:
    """A row for each student under a budget, in the order of preference."""
    from understudy.config.budget import Budget
    from understudy.data.spec import ImageSpec, size_of
    from understudy.evaluation.students import within

    image = ImageSpec(3, *(size_of(image_size) or ()))
    rows = []
    for each in within(Budget.of(budget), image, classes):
        row: dict[str, Any] = {
            "student": each.name,
            "accuracy": round(each.accuracy, 4),
            "parameters": each.parameters,
            "macs": each.macs,
        }
        if each.milliseconds is not None:
            row["ms"] = each.milliseconds
        rows.append(row | {"options": each.model.options})
    return rows


def _accuracy_note() -> str:
    from understudy.models.students import known_students

    table = known_students()
    return (
        f"Accuracy: validation images of {table.data} after a short training of {table.images:,} "
        f"images and {table.train['epochs']} epochs; one standard error is "
        f"{table.standard_error:.2%}."
    )


def methods(name: str | None = None, /, *, as_json: AsJson = False) -> None:
    """List the distillation methods, or explain one.

    Args:
        name: explain this method.
        as_json: print JSON.
    """
    from understudy.methods import describe_methods
    from understudy.terminal.tables import print_card, print_list, without

    entries = {entry["name"]: entry for entry in describe_methods()}
    if name is not None:
        if name not in entries:
            raise UnderstudyError(f"unknown method {name!r}: {suggest(name, entries)}")
        print_card(entries[name], as_json)
    elif as_json:
        print_list(list(entries.values()), as_json)
    else:
        print_list(
            [without(entry, "summary", "min_classes") for entry in entries.values()], as_json
        )
        print(
            "Parameters for the founding student and a teacher of 2.5 MB; "
            "cost of a step over that of plain training, measured."
        )


def recipe_summary(recipe: str) -> str:
    """The first paragraph of the comment that opens a recipe."""
    lines: list[str] = []
    for line in recipe.splitlines():
        text = line.removeprefix("#").strip()
        if not line.startswith("#") or (lines and not text):
            break
        lines.append(text)
    return " ".join(lines)
