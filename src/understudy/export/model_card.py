"""``README.md`` of a hub folder: what the student is, what it was measured on, and its limits."""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

from understudy.evaluation.deploy_results import DeployBenchmark
from understudy.export.card import Card, Measured

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#|~!&$:@])")
"""What Markdown, its extensions or HTML give a meaning."""
_RULES = {
    "crop": "cut to the largest centred part of the proportions of {size}, then resized to it",
    "pad": "resized so that it fits inside {size}, and padded with black",
    "squash": "resized to {size}, whatever its proportions",
}
_LICENCE = (
    "# license: choose one before you publish, for the weights and with the data's own in mind\n"
)


class Markdown(str):
    """Text that is Markdown already; any other is escaped."""


def escaped(value: Any) -> str:
    """Any text as Markdown that shows it, on one line and without control characters."""
    return value if isinstance(value, Markdown) else _SPECIAL.sub(r"\\\1", _line(str(value)))


def _line(text: str) -> str:
    visible = (" " if unicodedata.category(c).startswith(("C", "Z")) else c for c in text)
    return " ".join("".join(visible).split())


def model_card(
    card: Card, sizes: Mapping[str, int], benchmark: DeployBenchmark | None = None
) -> str:
    """The whole file.

    Args:
        card: of the folder.
        sizes: path in the folder -> bytes, of the weights and the ONNX files.
        benchmark: latencies to show.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("understudy.export", "templates"),
        autoescape=False,  # noqa: S701  the result is Markdown: see `finalize`
        finalize=escaped,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    origin, image = card.origin, card.image
    return environment.get_template("README.md.j2").render(
        front_matter=Markdown(_front_matter(card, list(sizes))),
        title=_line(origin.run) or "student",
        origin=origin,
        classes=card.classes,
        measured=[
            (_SPLITS.get(m.split, m.split), *map(_percent, (m.accuracy, m.low, m.high)), m.count)
            for m in card.measured
        ],
        parameters=f"{origin.parameters:,}" if origin.parameters else "",
        smaller=_smaller(card),
        sizes=[(path, Markdown(f"{size:,}")) for path, size in sizes.items()],
        rule=_RULES[card.preprocessing.resize].format(size=f"{image.height}x{image.width} pixels"),
        image=image,
        mean=", ".join(map(str, card.mean)),
        std=", ".join(map(str, card.std)),
        latencies=list(_latencies(benchmark)) if benchmark else [],
        machine=benchmark.environment if benchmark else None,
        onnx=next((Markdown(path) for path in sizes if _is_plain_onnx(path)), None),
    )


_SPLITS = {"test": "test", "val": "validation"}


def _front_matter(card: Card, files: list[str]) -> str:
    """The YAML that the hub reads; the writer of YAML quotes whatever the names contain."""
    import yaml

    tags = ["image-classification", "knowledge-distillation", "pytorch"]
    tags += ["onnx"] if any(name.endswith(".onnx") for name in files) else []
    content: dict[str, Any] = {
        "library_name": "understudy",
        "pipeline_tag": "image-classification",
        "tags": tags,
        "metrics": ["accuracy"],
    }
    if card.measured:
        name = _line(card.origin.run) or "student"
        results = [_result(card, measured) for measured in card.measured]
        content["model-index"] = [{"name": name, "results": results}]
    text: str = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000)
    return text + _LICENCE


def _result(card: Card, measured: Measured) -> dict[str, Any]:
    data = _line(card.origin.data) or "unknown"
    low, high = _percent(measured.low), _percent(measured.high)
    interval = f"95 % interval {low} to {high} %, {measured.count} images"
    metric = {
        "type": "accuracy",
        "value": round(measured.accuracy, 6),
        "name": f"Accuracy ({interval})",
    }
    return {
        "task": {"type": "image-classification", "name": "Image classification"},
        "dataset": {
            "type": data,
            "name": data,
            "split": _SPLITS.get(measured.split, measured.split),
        },
        "metrics": [metric],
    }


def _latencies(benchmark: DeployBenchmark) -> Iterator[tuple[str, int, int, str, str]]:
    """Runtime, threads, batch, milliseconds, and how much faster than the teacher."""
    for runtime in benchmark.runtimes:
        cost = benchmark.cost("student", runtime)
        for threads, batch in benchmark.settings if cost else ():
            assert cost is not None
            ratio = benchmark.speedup(runtime, threads, batch).over_teacher
            faster = "" if ratio is None else f"{ratio:.1f}"
            yield runtime, threads, batch, f"{cost.timing(threads, batch).median_ms:.3g}", faster


def _smaller(card: Card) -> str:
    """How many times fewer parameters than the teacher; empty if that is not known."""
    own, teacher = card.origin.parameters, card.origin.teacher_parameters
    return f"{teacher / own:.1f}" if own and teacher else ""


def _is_plain_onnx(path: str) -> bool:
    return re.fullmatch(r"onnx/[\w.-]+\.onnx", path) is not None


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"
