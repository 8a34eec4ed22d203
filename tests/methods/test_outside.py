"""A method that lives outside the package: the file that docs/adding-a-method.md shows, word for
word."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest
import torch
from tests.methods.small_pair import ask, make_batch, make_method

from understudy.errors import UnderstudyError
from understudy.methods import method_class

DOCUMENT = Path(__file__).parents[2] / "docs" / "adding-a-method.md"


@pytest.fixture
def margin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    code = re.search(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert code is not None
    (tmp_path / "outside_margin.py").write_text(code.group(1))
    monkeypatch.syspath_prepend(tmp_path)
    yield "outside_margin.Margin"
    sys.modules.pop("outside_margin", None)


def test_it_trains_by_its_dotted_path(margin: str):
    method, teacher = make_method(margin, weight=1.0, alpha=0.3)
    optimizer = torch.optim.Adam(method.parameters(), 1e-2)
    seen = []
    for _ in range(10):
        batch = make_batch(16, 5)
        losses, _ = method(batch, ask(teacher, batch))
        assert set(losses) == {"ce", "kd", "margin"}
        total = torch.stack(list(losses.values())).sum()
        total.backward()
        optimizer.step()
        optimizer.zero_grad()
        seen.append(float(total.detach()))
    assert seen[-1] < seen[0]


def test_its_loss_is_zero_when_the_margins_agree(margin: str):
    kind = method_class(margin)
    module = sys.modules[kind.__module__]
    logits = torch.randn(6, 4)
    assert module.margin_loss(logits + 3, logits) == pytest.approx(0.0, abs=1e-10)


def test_only_methods_are_taken(margin: str):
    assert importlib.util.find_spec("outside_margin") is not None
    with pytest.raises(UnderstudyError, match="is not a subclass"):
        method_class("outside_margin.MarginConfig")
    with pytest.raises(UnderstudyError, match="cannot load the method"):
        method_class("outside_margin.Missing")
