"""Budgets in place of a student's name: what they mean, and what is refused in one line."""

import pytest

from understudy.config.budget import Budget, is_budget
from understudy.config.recipe import load_config
from understudy.errors import UnderstudyError


@pytest.mark.parametrize(
    ("text", "parameters", "macs", "milliseconds", "runtime"),
    [
        ("auto:100k", 100_000, None, None, "torch"),
        ("auto:100K-params", 100_000, None, None, "torch"),
        ("auto:20000", 20_000, None, None, "torch"),
        ("auto:1.5M", 1_500_000, None, None, "torch"),
        ("auto:10M-macs", None, 10_000_000, None, "torch"),
        ("auto:1G-macs", None, 10**9, None, "torch"),
        ("auto:5ms", None, None, 5.0, "torch"),
        ("auto:0.5ms@onnx-int8", None, None, 0.5, "onnx-int8"),
        ("auto:100k,10M-macs, 5ms@openvino", 100_000, 10_000_000, 5.0, "openvino"),
        ("100k", 100_000, None, None, "torch"),
    ],
)
def test_a_budget_is_read(
    text: str, parameters: int | None, macs: int | None, milliseconds: float | None, runtime: str
) -> None:
    assert Budget.of(text) == Budget(text, parameters, macs, milliseconds, runtime)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("auto", "auto is no budget for a student: write auto:100k"),
        ("auto:", "auto: is no budget for a student"),
        ("auto:0", "auto:0: a budget must be above 0"),
        ("auto:0ms", "must be above 0"),
        ("auto:0.1-macs", "must be above 0"),
        ("auto:-5k", "is no budget"),
        ("auto:5parsecs", "auto:5parsecs is no budget for a student: write auto:100k"),
        ("auto:10m", "is no budget"),
        ("auto:100k@onnx", "only a time is measured on a runtime, such as auto:5ms@onnx"),
        ("auto:100k,200k", "auto:100k,200k limits parameters twice"),
        ("auto:5ms@onnx,7ms@torch", "limits milliseconds twice"),
        ("auto:100k,", "is no budget"),
        ("auto:" + "9" * 5000, "is no budget"),
        ("auto:1e5", "is no budget"),
        ("auto:nanms", "is no budget"),
        ("auto:5\nparsecs", "auto:5 parsecs is no budget"),
    ],
)
def test_nonsense_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(UnderstudyError) as refused:
        Budget.of(text)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 300


@pytest.mark.parametrize("text", ["auto:", "auto:0", "auto:5parsecs", "auto:100k@onnx"])
def test_nonsense_in_a_recipe_is_refused_when_it_is_read(text: str) -> None:
    for key in ("student", "student.model", "student.model.name"):
        with pytest.raises(UnderstudyError, match="auto:"):
            load_config("digits", [f"{key}='{text}'"])


def test_a_budget_comes_without_options_and_stages() -> None:
    with pytest.raises(UnderstudyError, match=r"auto:100k chooses options and stages as well"):
        load_config("digits", ["student=auto:100k", "student.model.options.dropout=0.1"])


def test_a_budget_is_told_from_a_name() -> None:
    assert is_budget("auto") and is_budget("auto:5ms@onnx")
    assert not any(map(is_budget, ("automatic.models.small", "timm:auto", "tiny_res")))


def test_a_budget_in_words() -> None:
    shown = str(Budget.of("auto:100k,10M-macs,5ms@onnx"))
    assert shown == "100,000 parameters and 10,000,000 multiply-accumulates and 5 ms on onnx"
