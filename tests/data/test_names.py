import unicodedata

import pytest

from understudy.data.class_names import match_classes
from understudy.data.names import (
    counted,
    listed,
    normalised,
    refuse_control_characters,
    refuse_undecodable,
    shown,
)
from understudy.errors import UnderstudyError


def test_a_name_is_one_line_whatever_is_in_it() -> None:
    assert shown("Über die Ameisen") == "Über die Ameisen"
    assert shown("a\nb\x1b[31mc\u202ed") == r"a\nb\x1b[31mc\u202ed"
    assert shown(b"\xff\xfeants".decode("utf-8", "surrogateescape")) == r"\xff\xfeants"


def test_many_names_are_cut_and_counted() -> None:
    assert listed("abc") == "a, b, c" and listed("abc", 2) == "a, b and 1 more"
    assert listed([str(number) for number in range(2000)], 1) == "0 and 1,999 more"
    assert [counted(number, "class", "classes") for number in (0, 1, 2000)] == [
        "0 classes",
        "1 class",
        "2,000 classes",
    ]


def test_both_unicode_forms_are_one_name() -> None:
    for name in ("émeu", "Ångström", "ẛ̣", "ants"):
        forms = {normalised(unicodedata.normalize(form, name)) for form in ("NFC", "NFD")}
        assert len(forms) == 1


def test_bytes_that_are_not_utf8_are_named_escaped() -> None:
    refuse_undecodable(["ants", "émeu"], "x")
    with pytest.raises(
        UnderstudyError, match=r"^x has 2 names not in UTF-8: a\\xe9, \\xff; rename"
    ):
        refuse_undecodable(["ants", "a\udce9", "\udcff"], "x")


def test_classes_are_those_of_train_in_alphabetical_order() -> None:
    names, notes = match_classes({"train": ["dog", "cat", "Zebra"], "test": ["cat"]}, "x")
    assert names == ("Zebra", "cat", "dog")
    assert notes == ["test has no images of 2 classes Zebra, dog"]


def test_names_that_differ_only_in_case_are_noted() -> None:
    names, notes = match_classes({"train": ["cat", "Cat", "CAT", "dog"]}, "x")
    assert len(names) == 4
    assert notes == ["CAT, Cat, cat differ in nothing but case and are different classes"]


def test_all_strangers_are_named_with_what_they_may_mean() -> None:
    found = {"train": ["cat", "dog"], "val": ["cat"], "test": ["Cat", "doggy", "xyz"]}
    with pytest.raises(UnderstudyError) as caught:
        match_classes(found, "x")  # type: ignore[arg-type]
    assert (
        "3 classes of test in x that train does not have: Cat (differs in case from cat), "
        "doggy (did you mean dog?), xyz; classes are matched by name" in str(caught.value)
    )


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31m", "a\u2028b", "\u202eevil", "a\u2066b"])
def test_class_names_that_spoil_a_line_are_refused(name: str) -> None:
    with pytest.raises(UnderstudyError, match="contain control characters"):
        refuse_control_characters(["cat", name], "pets")
    refuse_control_characters(["עברית", "👩\u200d🔬", "[bold]x", "<b>"], "pets")
