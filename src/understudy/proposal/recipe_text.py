"""The recipe of a proposal as YAML: short, with a reason at each line worth changing."""

import json
import re
import shlex

from understudy.config.images import MOST_PIXELS
from understudy.config.recipe import parse_yaml
from understudy.config.schema import ModelConfig
from understudy.data.names import counted, shown
from understudy.evaluation.environment import this_machine
from understudy.proposal.propose import Proposal
from understudy.version import __version__


def recipe_text(proposal: Proposal, path: str, where: str) -> str:
    """YAML that :func:`understudy.config.recipe.load_config` reads as the proposal's config.

    Args:
        proposal: what to write.
        path: of the pictures, as the recipe names it.
        where: the recipe's own path, for the command in its first line.
    """
    parts = (_head(proposal, where), _data(proposal, path), _networks(proposal), _rest(proposal))
    return "\n".join(parts)


def run_command(where: str) -> str:
    """The command that runs a recipe, as it is typed into a shell; on one line."""
    return f"understudy run {shown(shlex.quote(where))}"


def _head(proposal: Proposal, where: str) -> str:
    found, minutes = proposal.inspection, proposal.minutes
    count = proposal.num_train + proposal.num_val + proposal.num_test
    machine = this_machine("cpu")
    here = f"{' '.join((machine.cpu or 'unknown processor').split())}, {machine.cores} cores"
    return "\n".join(
        (
            f"# {run_command(where)}",
            "#",
            f"# Proposed by understudy {__version__} for {count:,} pictures of "
            f"{len(found.classes)} classes. On the machine that it was made on",
            f"# ({here}) it takes about {counted(round(minutes.total), 'minute')}: "
            f"teacher {minutes.teacher:.0f}, its outputs "
            f"{minutes.labels:.0f}, students {minutes.students:.0f}.",
            f"name: {_scalar(proposal.config.name)}",
        )
    )


def _data(proposal: Proposal, path: str) -> str:
    data, sizes = proposal.config.data, proposal.inspection.sizes
    assert sizes is not None
    width, height = sizes.median
    lines = [
        "data:",
        f"  source: {data.source}",
        f"  path: {_scalar(path)}",
        f"  image_size: {data.image_size}  # pixels; the pictures have {width} x {height}. "
        "Training time grows with its square.",
        f"  resize: {data.resize}  # crop cuts out the centre, pad adds black, squash changes the "
        "proportions",
    ]
    if data.columns:
        pairs = [f"{role}: {_quoted(name)}" for role, name in data.columns.items()]
        lines.append(f"  columns: {{{', '.join(pairs)}}}")
    if data.group_by:
        lines.append(f"  group_by: {_scalar(data.group_by)}  # never on both sides of a cut")
    elif proposal.inspection.clip:
        lines.append(
            f"  # group_by: {_scalar(proposal.inspection.clip)}  # names look like frames of "
            "clips: keep each clip on one side"
        )
    if data.report_by:
        lines.append(f"  report_by: {_scalar(data.report_by)}")
    if data.max_pixels != MOST_PIXELS:
        lines.append(f"  max_pixels: {data.max_pixels}  # a picture of more cannot be read")
    if data.skip_bad:
        lines.append("  skip_bad: true  # pictures that cannot be read are left out and counted")
    own_val = any(each.val for each in proposal.inspection.classes)
    if not own_val:
        lines.append(
            f"  val_fraction: {data.val_fraction}  # {proposal.num_val:,} of the "
            f"{proposal.num_train + proposal.num_val:,} training pictures choose; "
            f"{proposal.num_test:,} test pictures decide, once"
        )
    lines += [
        f"  mean: {_numbers(data.mean)}  # measured on the training pictures",
        f"  std: {_numbers(data.std)}",
        "  # flip: false where left and right differ (text, digits). One view_seed lets all seeds "
        "share the teacher's outputs.",
        f"  augment: {{padding: {data.augment.padding}, flip: {_bool(data.augment.flip)}, "
        f"view_seed: {data.augment.view_seed}}}",
    ]
    return "\n".join(lines)


def _networks(proposal: Proposal) -> str:
    config = proposal.config
    return "\n".join(
        (
            "teacher:",
            f"  model: {_model(config.teacher.model)}  "
            f"# {proposal.teacher_parameters:,} parameters",
            "student:",
            f"  model: {_model(config.student.model)}  "
            f"# {proposal.student_parameters:,} parameters; `understudy models --budget 100k` "
            "lists others",
        )
    )


def _rest(proposal: Proposal) -> str:
    config, train = proposal.config, proposal.config.train
    counts = [each.train + each.val for each in proposal.inspection.classes]
    lines = [
        f"train: {{epochs: {train.epochs}, batch_size: {train.batch_size}, optimizer: "
        f"{train.optimizer}, lr: {train.lr:.1e}, weight_decay: {train.weight_decay:.1e}, "
        f"schedule: {train.schedule}}}",
    ]
    if max(counts) >= 3 * max(min(counts), 1):
        lines.append(
            f"# The largest class is {max(counts) / max(min(counts), 1):.0f} times the smallest: "
            "train.sampling=balanced shows each equally often."
        )
    lines += [
        "# `understudy methods` lists others; temperature above 1 shows how the wrong classes "
        "rank.",
        f"method: {{name: kd, temperature: {config.method['temperature']:g}, "
        f"alpha: {config.method['alpha']:g}}}",
        f"seeds: {list(config.seeds)}  # baseline and distilled student are trained once for each",
    ]
    return "\n".join(lines) + "\n"


def _model(model: ModelConfig) -> str:
    options = json.dumps(model.options)
    name = _scalar(model.name)
    return f"{{name: {name}, options: {options}}}" if model.options else f"{{name: {name}}}"


def _numbers(values: tuple[float, ...]) -> str:
    return "[" + ", ".join(f"{value:.4f}" for value in values) + "]"


def _bool(value: bool) -> str:
    return str(value).lower()


def _scalar(text: str) -> str:
    """Any text as a YAML scalar on one line: plain where that is safe, else in quotes."""
    safe = re.fullmatch(r"[/\w][/\w.-]*", text, re.ASCII) and parse_yaml(text, "a name") == text
    return text if safe else _quoted(text)


def _quoted(text: str) -> str:
    """As JSON quotes it; what YAML refuses as it is (control characters) escaped, too."""
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in quoted)
