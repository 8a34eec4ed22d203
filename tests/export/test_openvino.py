"""The OpenVINO folder: that OpenVINO gives what PyTorch gives, in fp32 on every processor."""

import pytest
from tests.export.exported import (
    check_cards,
    check_damaged,
    check_probabilities,
    check_wrong_images,
    pooled,
)

from understudy.errors import UnderstudyError

pytest.importorskip("openvino", reason="openvino is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")
from understudy.export.openvino import import_openvino, open_file, write


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("openvino") / "student-openvino"
    write(pooled(), path)
    return path


def test_probabilities_are_those_of_pytorch(path):
    check_probabilities(open_file(path), pooled())
    check_probabilities(open_file(path / "model.xml"), pooled())


def test_folder_has_two_files_that_others_can_read(path):
    assert sorted(file.name for file in path.iterdir()) == ["model.bin", "model.xml"]
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert path.stat().st_mode & 0o777 == 0o777 & ~current_umask()


def current_umask():
    import os

    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_results_do_not_change_when_the_next_ones_are_computed(path):
    """OpenVINO gives a view of memory that it uses again."""
    from tests.export.exported import pixels

    runtime = open_file(path)
    first = runtime(pixels(4))
    before = first.copy()
    runtime(pixels(4, seed=1))
    assert (first == before).all()


def test_card_is_in_the_folder(path):
    assert open_file(path).card == pooled().card("openvino", "fp32")


def test_same_network_gives_the_same_bytes(path, tmp_path):
    """OpenVINO numbers names through the life of the process; the second time differs."""
    write(pooled(), tmp_path / "again")
    for name in ("model.xml", "model.bin"):
        assert (tmp_path / "again" / name).read_bytes() == (path / name).read_bytes()


def test_older_folder_is_replaced(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("old")
    write(pooled(seed=1), tmp_path / "out")
    check_probabilities(open_file(tmp_path / "out"), pooled(seed=1))
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["model.bin", "model.xml"]


def test_wrong_images_are_refused(path):
    check_wrong_images(open_file(path))


def test_damaged_files_are_refused(path):
    check_damaged(open_file, path / "model.xml", path / "model.xml", (0, 0.5, 0.99))
    check_damaged(open_file, path / "model.xml", path / "model.bin", (0, 0.5, 0.99))


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(UnderstudyError, match=r"there is no file .*model\.xml"):
        open_file(tmp_path)


def test_card_that_does_not_fit_is_refused(tmp_path, monkeypatch):
    check_cards(write, open_file, tmp_path, monkeypatch)


def test_model_of_another_tool_is_refused(path, tmp_path):
    openvino = import_openvino()
    model = openvino.Core().read_model(path / "model.xml")
    model.set_rt_info("", ["framework"])
    text = (path / "model.xml").read_text()
    (tmp_path / "model.xml").write_text(text.replace("<understudy ", "<stranger "))
    (tmp_path / "model.bin").write_bytes((path / "model.bin").read_bytes())
    with pytest.raises(UnderstudyError, match="has no card of understudy"):
        open_file(tmp_path)
