"""The model card: what it must show, and names that try to be more than text."""

from dataclasses import replace
from html import escape
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt
from tests.evaluation.example_deploy_results import RESULTS
from tests.export.networks import tiny_deployable

from understudy.evaluation.deploy_results import DeployBenchmark
from understudy.export.card import Card, Measured, Origin
from understudy.export.model_card import Markdown, escaped, model_card

MEASURED = (Measured(split="test", accuracy=0.9147, low=0.909, high=0.92, count=10_000),)
ORIGIN = Origin(
    run="cifar10",
    arm="distilled",
    seed=3,
    model="founding_student",
    parameters=106_762,
    data="cifar10-jpeg",
    data_fingerprint="0123abcd",
    weights_sha256="4567",
    teacher_parameters=4_664_970,
    understudy="0.7",
)
CARD = replace(tiny_deployable(), origin=ORIGIN, measured=MEASURED).card("hub", "fp32")
SIZES = {"model.safetensors": 430_000}


def front_matter(text: str) -> dict[str, Any]:
    """The YAML between the first two lines of dashes, as the hub cuts it out."""
    start, matter, _ = text.split("---\n", 2)
    assert start == ""
    found: dict[str, Any] = yaml.safe_load(matter)
    return found


def test_front_matter_is_what_the_hub_reads() -> None:
    found = front_matter(model_card(CARD, SIZES))
    assert found["library_name"] == "understudy"
    assert found["pipeline_tag"] == "image-classification"
    assert "onnx" not in found["tags"]
    assert "onnx" in front_matter(model_card(CARD, SIZES | {"onnx/s.onnx": 1}))["tags"]
    (entry,) = found["model-index"]
    (result,) = entry["results"]
    assert result["dataset"] == {"type": "cifar10-jpeg", "name": "cifar10-jpeg", "split": "test"}
    (metric,) = result["metrics"]
    assert metric["value"] == 0.9147
    assert metric["name"] == "Accuracy (95 % interval 90.90 to 92.00 %, 10000 images)"


def test_licence_is_a_visible_gap() -> None:
    text = model_card(CARD, SIZES)
    assert "license" not in front_matter(text)
    assert "# license: choose one before you publish" in text
    assert "**To be chosen by whoever publishes this folder**" in text


@pytest.mark.parametrize(
    "part",
    [
        *("# cifar10", "founding\\_student, of 106,762 parameters", "with 43.7 times as many"),
        *("| test | 91.47 | 90.90 to 92.00 | 10000 |", "| seed | 3 |", "0123abcd", "| 4567"),
        *(
            "| model.safetensors | 430,000 |",
            "centred part of the proportions of 8x8 pixels",
            "(0.5, 0.4, 0.3)",
        ),
        *("python student.py photo.jpg", "understudy.Student.load", "understudy predict"),
    ],
)
def test_card_shows_what_is_known(part: str) -> None:
    assert part in model_card(CARD, SIZES)


def test_card_of_a_network_without_a_run_has_no_gaps() -> None:
    card: Card = tiny_deployable().card("hub", "fp32")
    text = model_card(card, SIZES)
    assert "Not measured" in text
    assert "model-index" not in front_matter(text)
    assert "None" not in text.replace('("photo.jpg")[None]', "")
    assert "# student" in text


def test_latencies_come_with_their_conditions() -> None:
    benchmark: DeployBenchmark = RESULTS
    assert "Latency was not measured" in model_card(CARD, SIZES)
    text = model_card(CARD, SIZES, benchmark)
    assert "| onnx | 1 | 128 | 8 | 5.0 |" in text
    assert "A CPU" in text


EVIL = "x|y\n---\n# <script>alert(1)</script> *b* [a](b) `c` ${d} {{ e }}\u202e"


def test_names_are_text_and_nothing_else() -> None:
    origin = replace(ORIGIN, run=EVIL, data=EVIL, model=EVIL, arm=EVIL)
    text = model_card(replace(CARD, classes=(EVIL, "b", "c"), origin=origin), SIZES)
    shown = "x|y --- # <script>alert(1)</script> *b* [a](b) `c` ${d} {{ e }}"
    page = MarkdownIt().enable("table").render(text.split("---\n", 2)[2])
    assert f"<h1>{escape(shown)}</h1>" in page
    assert f"<td>{escape(shown)}</td>" in page
    assert f"classes apart: {escape(shown)}, b, c." in page
    for tag in ("<script", "<em>", "<a "):
        assert tag not in page
    assert "\u202e" not in text
    assert front_matter(text)["model-index"][0]["name"] == shown


def test_markdown_of_our_own_is_not_escaped() -> None:
    assert escaped("a_b") == "a\\_b"
    assert escaped(Markdown("a_b")) == "a_b"
    assert escaped("cifar10-jpeg 0.5, é") == "cifar10-jpeg 0.5, é"
