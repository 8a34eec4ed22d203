"""A network as it was looked at: a table of layers and sentences on standard output."""

from rich.console import Console

from understudy.data.names import counted, listed, shown
from understudy.models.expects import Expects
from understudy.models.stages import stage_setting
from understudy.runs.anatomy import Anatomy
from understudy.terminal.tables import table

MOST_LAYERS = 30
"""Rows of the table; ``--json`` has all."""


def show_network(found: Anatomy, role: str) -> None:
    """Print layers, stages, images, classes and costs.

    Args:
        found: the network.
        role: ``teacher`` or ``student``, whose settings are named.
    """
    console = Console(emoji=False)

    def line(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    line(f"{shown(found.name)}: {_costs(found)}")
    if found.weights:
        line(f"Weights: {found.weights}")
    rows = [
        {
            "layer": shown(layer.name),
            "kind": layer.kind,
            "output": "x".join(map(str, layer.output)),
            "parameters": layer.parameters,
        }
        for layer in found.layers[:MOST_LAYERS]
    ]
    if rows:
        console.print(table(rows))
    if len(found.layers) > MOST_LAYERS:
        line(f"{len(found.layers) - MOST_LAYERS:,} more; --json shows all.")
    line(_stages(found, role))
    line(_images(found, role))
    line(_classes(found))


def _costs(found: Anatomy) -> str:
    parts = [counted(found.parameters, "parameter")]
    if found.macs is not None:
        parts.append(f"{found.macs / 1e6:,.4g} million multiply-accumulates")
    size = "x".join(map(str, found.image))
    parts.append(f"{found.latency_ms:.3g} ms for an image of {size} on one thread")
    return ", ".join(parts)


def _stages(found: Anatomy, role: str) -> str:
    if found.stages_from == "its own":
        return f"Stages: its own, of {', '.join(found.stages)}; there is nothing to set"
    if found.stages_from == "none":
        return "Stages: none found; methods that read logits alone need none"
    value = stage_setting(role, found.stages)
    if found.stages_from == "timm":
        return f"Stages: by timm, used unless others are named: {value}"
    return f"Stages: proposed, set {value} for methods that read features"


def _images(found: Anatomy, role: str) -> str:
    facts = ", ".join(_facts(found.expects))
    if found.expects.normalisation is None:
        remedy = "a student is trained on yours"
        if role == "teacher":
            remedy = "set teacher.mean and teacher.std if they are not those of your data"
        facts = f"{facts or 'size'}{', ' if facts else ' and '}normalisation not recorded: {remedy}"
    return f"Images: {facts}"


def _facts(expected: Expects) -> list[str]:
    facts = []
    if expected.size is not None:
        facts.append(f"{expected.size[0]}x{expected.size[1]} pixels")
    if expected.interpolation is not None:
        facts.append(expected.interpolation)
    if expected.crop is not None and expected.crop < 1:
        facts.append(f"centre crop {expected.crop:.4g}")
    if expected.normalisation is None:
        return facts
    mean, std = (
        "[" + ", ".join(f"{value:.4g}" for value in values) + "]"
        for values in (expected.normalisation.mean, expected.normalisation.std)
    )
    return [*facts, f"mean {mean}, std {std} ({expected.source})"]


def _classes(found: Anatomy) -> str:
    names = found.expects.class_names
    if len(names) != found.num_classes:
        return f"Classes: {found.num_classes:,}, without names"
    return f"Classes: {found.num_classes:,}: {listed(names)}"
