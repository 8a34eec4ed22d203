"""Names decide which output stands for which class: in any order, of any number, or not at all."""

import unicodedata

import pytest

from understudy.errors import UnderstudyError
from understudy.models.class_matching import are_placeholders, match_classes

PETS = ("cat", "dog", "eel")


def refusal(outputs: tuple[str, ...], classes: tuple[str, ...]) -> str:
    with pytest.raises(UnderstudyError) as refused:
        match_classes(outputs, classes)
    assert "\n" not in str(refused.value)
    assert "teacher.classes" in str(refused.value) and "linear-probe" in str(refused.value)
    return str(refused.value)


def test_the_same_classes_in_the_same_order_need_no_selection() -> None:
    match = match_classes(PETS, PETS)
    assert match.is_identity and match.index == (0, 1, 2)
    assert str(match) == "all of the teacher's 3 classes, in the same order; by name"


def test_another_order_is_followed() -> None:
    match = match_classes(("eel", "cat", "dog"), PETS)
    assert match.index == (1, 2, 0) and not match.is_identity
    assert str(match) == "all of the teacher's 3 classes, in another order; by name"


def test_twelve_of_a_thousand_classes_are_found() -> None:
    outputs = tuple(f"animal number {n}" for n in range(1000))
    wanted = tuple(f"animal_number_{n}" for n in range(990, 978, -1))
    match = match_classes(outputs, wanted)
    assert match.index == tuple(range(990, 978, -1))
    assert str(match) == "12 of the teacher's 1,000 classes; by name"


@pytest.mark.parametrize(
    ("output", "name"),
    [
        ("Golden Retriever", "golden_retriever"),
        ("golden-retriever", "Golden  Retriever"),
        ("tench, Tinca tinca", "tench"),
        ("tench, Tinca tinca", "Tinca_tinca"),
        ("tench", "tench, Tinca tinca"),
        (unicodedata.normalize("NFD", "Müller"), unicodedata.normalize("NFC", "Müller")),
        ("Café", "cafe"),
        ("straße", "STRASSE"),
    ],
)
def test_spelling_is_forgiven(output: str, name: str) -> None:
    assert match_classes(("other", output), (name, "other")).index == (1, 0)


def test_an_exact_name_goes_before_a_similar_one() -> None:
    outputs = ("maillot, tank suit", "maillot", "Maillot")
    assert match_classes(outputs, ("maillot", "Maillot")).index == (1, 2)


def test_a_name_of_two_outputs_is_refused() -> None:
    message = refusal(("crane", "bird", "crane"), ("bird", "crane"))
    assert "without doubt: crane ('crane (output 0)' or 'crane (output 2)')" in message
    assert "Boot" in refusal(("boot, shoe", "Boot, ship"), ("boot", "ship"))


def test_two_classes_of_one_output_are_refused() -> None:
    assert "tench, Tinca (all of them" in refusal(("tench, Tinca", "eel"), ("tench", "Tinca"))


def test_missing_and_disjoint_names_are_refused_and_never_matched_by_position() -> None:
    assert "no output for 1 class of the images: fox" in refusal(PETS, ("cat", "fox"))
    assert "no output for 3 classes of the images: a, b, c" in refusal(PETS, ("a", "b", "c"))


def test_numbers_that_stand_for_names_are_recognised() -> None:
    assert are_placeholders(["LABEL_0", "LABEL_1"]) and are_placeholders(["0", "1"])
    assert not are_placeholders(["0", "cat"]) and not are_placeholders(["n01440764"])
