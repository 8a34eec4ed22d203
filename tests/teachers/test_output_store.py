"""Rows of teacher outputs on disk: format, checksums, names of files and folders."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.worlds import tiny_net

from understudy.teachers.base import UNAUGMENTED
from understudy.teachers.output_store import (
    OutputStore,
    decode_rows,
    default_cache,
    encode_rows,
    teacher_fingerprint,
    valid_rows,
)


def test_checksum_detects_every_single_flipped_bit() -> None:
    row = encode_rows(torch.tensor([[1.5, -2.25, 0.0]]))
    for column in range(4):
        for bit in range(16):
            damaged = row.copy()
            damaged[0, column] ^= np.uint16(1 << bit)
            assert not valid_rows(damaged)[0]


def test_checksum_detects_swapped_logits() -> None:
    row = encode_rows(torch.tensor([[1.5, -2.25, 0.5]]))
    assert not valid_rows(row[:, [1, 0, 2, 3]])[0]


def test_empty_row_is_never_valid() -> None:
    assert not valid_rows(np.zeros((1, 4), np.uint16))[0]
    assert valid_rows(encode_rows(torch.zeros(1, 3)))[0]


def test_rows_hold_the_logits_in_fp16() -> None:
    logits = 20 * torch.randn(50, 10, generator=torch.Generator().manual_seed(0))
    rows = encode_rows(logits)
    assert valid_rows(rows).all() and rows.shape == (50, 11)
    assert torch.equal(torch.from_numpy(rows[:, :-1].copy().view(np.float16)), logits.half())


def test_fingerprint_depends_on_description_and_not_on_memory_order() -> None:
    assert teacher_fingerprint(tiny_net(), "a") != teacher_fingerprint(tiny_net(), "b")
    assert teacher_fingerprint(tiny_net(), "a") == teacher_fingerprint(
        tiny_net().to(memory_format=torch.channels_last), "a"
    )


def test_opening_a_file_never_truncates_it(tmp_path: Path) -> None:
    stores = [OutputStore(tmp_path, {"teacher": "t"}, 5, 3, 2) for _ in range(2)]
    rows = stores[0].open(0)
    rows[7] = encode_rows(torch.ones(1, 3))[0]
    assert valid_rows(stores[1].open(0))[7] and valid_rows(stores[0].open(0))[7]
    assert stores[0].open(0).shape == (10, 4)


def test_rows_of_earlier_versions_are_still_valid() -> None:
    """fp16 bits and a checksum: with another formula every cache would be labelled again."""
    values = torch.tensor([[1.5, -2.25, 0.0], [1000.0, -0.001, 3.0], [0.0, 0.0, 0.0]])
    known = np.array(
        [[15872, 49280, 0, 47078], [25552, 37913, 16896, 47479], [0, 0, 0, 24301]], np.uint16
    )
    rows = encode_rows(values)
    assert rows.dtype == np.uint16 and np.array_equal(rows, known)
    assert valid_rows(known).all()


def test_checksum_of_long_rows_does_not_overflow() -> None:
    rows = encode_rows(torch.full((1, 5000), -60000.0))
    bits = [int(value) for value in rows[0]]
    expected = (
        sum(bit * (2 * number + 3) * 0x9E37 for number, bit in enumerate(bits[:-1])) % 2**64 % 65521
        + 0x5EED
    )
    assert bits[-1] == expected % 2**16


def test_fingerprint_of_a_known_network_stays_the_same() -> None:
    net = torch.nn.Linear(2, 2)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        net.bias.copy_(torch.tensor([0.5, -0.5]))
    assert (
        teacher_fingerprint(net, "linear 2-2")
        == "41ba26e384d248f43994249b2f276e75783867a61f16ae0c924195c04167b4aa"
    )


@pytest.mark.parametrize(
    ("options", "shape", "width", "folder"),
    [
        ({}, "5x2x3", 3, "8610511aee87f3ef3372ad9a"),
        ({"num_teachers": 3}, "5x2x3x3", 9, "ac93ab855baf7d984d9cc19f"),
        ({"embedding_dim": 8}, "5x2x3+8", 11, "71db83ee6ae7c9134b3a89d9"),
    ],
)
def test_description_and_folder_of_a_known_store_stay_the_same(
    tmp_path: Path, options: dict[str, int], shape: str, width: int, folder: str
) -> None:
    store = OutputStore(tmp_path, {"views": "v", "teacher": "t"}, 5, 3, 2, **options)
    assert (store.width, store.folder) == (
        width,
        tmp_path / folder,
    ) and store.fingerprint.startswith(folder)
    assert json.loads((store.folder / "meta.json").read_text()) == {
        "parts": {"views": "v", "teacher": "t", "shape": shape, "format": "1"},
        "num_images": 5,
        "num_classes": 3,
        "num_views": 2,
        "num_teachers": options.get("num_teachers", 1),
        "embedding_dim": options.get("embedding_dim", 0),
    }


def test_file_of_an_epoch_is_named_by_its_number(tmp_path: Path) -> None:
    endless = OutputStore(tmp_path, {"teacher": "t"}, 5, 3, None)
    assert (
        endless.open(0).shape == endless.open(12).shape == endless.open(UNAUGMENTED).shape == (5, 4)
    )
    assert {path.name for path in endless.folder.glob("*.bin")} == {
        "epoch-00000.bin",
        "epoch-00012.bin",
        "plain.bin",
    }
    finite = OutputStore(tmp_path, {"teacher": "t"}, 5, 3, 7)
    assert finite.open(0).shape == finite.open(UNAUGMENTED).shape == (35, 4)
    assert [path.name for path in finite.folder.glob("*.bin")] == ["views.bin"]
    assert (finite.folder / "views.bin").stat().st_size == 35 * 4 * 2


def test_a_file_has_its_length_before_it_is_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """numpy lengthens a short file by writing its last byte, which may be another process's row."""
    lengths = []
    monkeypatch.setattr(np, "memmap", lambda path, **_: lengths.append(path.stat().st_size))
    OutputStore(tmp_path, {"teacher": "t"}, 5, 3, 7).open(0)
    assert lengths == [35 * 4 * 2]


def test_default_folder_is_in_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNDERSTUDY_CACHE", str(tmp_path))
    assert default_cache() == tmp_path / "teacher-outputs"


def test_fingerprint_depends_on_type_shape_and_name_of_each_tensor() -> None:
    """Type, shape and name of each, not only the bytes in a row."""

    class Holder(torch.nn.Module):
        def __init__(self, **tensors: torch.Tensor) -> None:
            super().__init__()
            for name, tensor in tensors.items():
                self.register_buffer(name, tensor)

    zeros = torch.zeros(4)
    holders = [
        Holder(a=zeros),
        Holder(b=zeros),
        Holder(a=zeros.view(2, 2)),
        Holder(a=torch.zeros(4, dtype=torch.int32)),
    ]
    holders.append(Holder(a=torch.zeros(2), b=torch.zeros(2)))
    assert len({teacher_fingerprint(holder, "") for holder in holders}) == len(holders)
    one, two = Holder(a=zeros, b=zeros + 1), Holder(b=zeros + 1, a=zeros)
    assert teacher_fingerprint(one, "") == teacher_fingerprint(two, ""), (
        "the order of registration does not count"
    )


def test_decoded_rows_are_the_encoded_values_in_fp16() -> None:
    values = torch.tensor([[1.5, -2.25, 0.1], [3.0, 0.0, 1e-3]])
    assert torch.equal(decode_rows(encode_rows(values)), values.half())
