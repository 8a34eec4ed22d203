"""The ExecuTorch file in fp32: that its runtime gives what PyTorch gives, for any batch."""

from dataclasses import replace

import pytest
from tests.export.exported import (
    WithOddLayer,
    check_cards,
    check_damaged,
    check_probabilities,
    check_wrong_images,
    pooled,
)

from understudy.errors import UnderstudyError

pytest.importorskip("executorch", reason="executorch is not installed")
from understudy.export.executorch import open_file, write

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("executorch") / "student.pte"
    write(pooled(), path)
    return path


def test_probabilities_are_those_of_pytorch_for_any_batch(path):
    """An example of too few images would limit the program to 15."""
    check_probabilities(open_file(path), pooled())


def test_card_is_read_without_running_the_network(path):
    assert open_file(path).card == pooled().card("executorch", "fp32")


def test_same_network_gives_the_same_bytes(path, tmp_path):
    write(pooled(), tmp_path / "again.pte")
    assert (tmp_path / "again.pte").read_bytes() == path.read_bytes()


def test_opening_and_running_print_nothing(path, capfd):
    check_probabilities(open_file(path, threads=2), pooled())
    assert capfd.readouterr() == ("", "")


def test_wrong_images_are_refused(path):
    check_wrong_images(open_file(path))


def test_damaged_file_is_refused(path, capfd):
    check_damaged(open_file, path, path, (0, 0.01, 0.5, 0.99))
    assert capfd.readouterr() == ("", "")


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(UnderstudyError, match="there is no file"):
        open_file(tmp_path / "no.pte")


def test_card_that_does_not_fit_is_refused(tmp_path, monkeypatch):
    check_cards(write, open_file, tmp_path, monkeypatch)


def test_file_of_another_tool_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("understudy.export.executorch.KEY", "stranger")
    write(pooled(), tmp_path / "bare.pte")
    monkeypatch.undo()
    with pytest.raises(UnderstudyError, match="has no card of understudy"):
        open_file(tmp_path / "bare.pte")


def test_operation_that_executorch_lacks_is_named_with_its_layer(tmp_path):
    with pytest.raises(UnderstudyError, match=r"ExecuTorch lacks .*\.odd of layer middle:"):
        write(replace(pooled(), network=WithOddLayer().eval()), tmp_path / "no.pte")
    assert list(tmp_path.iterdir()) == []
