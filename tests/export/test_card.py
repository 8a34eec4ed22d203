"""The card in every file: it round-trips, and what is no card of this version is refused."""

import json

import pytest
from tests.export.networks import tiny_deployable

from understudy.errors import UnderstudyError
from understudy.export.card import Card, Measured, Origin

CARD = tiny_deployable().card("onnx", "fp32")


def test_card_round_trips() -> None:
    card = Card(
        format="onnx-int8",
        classes=("Äpfel", "</script>", 'a"b'),
        preprocessing=CARD.preprocessing,
        mean=CARD.mean,
        std=CARD.std,
        dtype="int8",
        origin=Origin(run="r", arm="distilled", seed=3, model="m", parameters=7),
        measured=(Measured(split="test", accuracy=0.5, low=0.4, high=0.6, count=100),),
        steps=("minmax over 512 images",),
    )
    assert Card.from_text(card.to_text(), "a file") == card


def changed(**changes: object) -> str:
    return json.dumps({**json.loads(CARD.to_text()), **changes})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "has no card"),
        ("{", "is damaged"),
        ("[]", "has schema None"),
        (changed(schema=99), "has schema 99"),
        (changed(classes=3), "classes"),
        (changed(preprocessing={"image": {"channels": 3}, "version": 0}), "version 0"),
    ],
    ids=["none", "no JSON", "no mapping", "other schema", "wrong type", "other preprocessing"],
)
def test_what_is_no_card_is_refused_in_one_line(text: str | None, message: str) -> None:
    with pytest.raises(UnderstudyError, match=message) as error:
        Card.from_text(text, "x.onnx")
    assert "x.onnx" in str(error.value)
    assert "export it again" in str(error.value)
    assert "\n" not in str(error.value)
