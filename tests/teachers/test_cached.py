"""Cached outputs equal live ones on the same view, and are computed once; damage is repaired."""

import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.somewhere_else import only_there, there
from tests.worlds import TinyNet, tiny_data, tiny_net

from understudy.data.loader import Batch, TrainBatches
from understudy.data.prepare import TrainingData
from understudy.errors import UnderstudyError
from understudy.events import Progress, Silent
from understudy.models.base import Outputs
from understudy.models.ensemble import Ensemble
from understudy.models.foreign import ForeignClassifier
from understudy.teachers import cached as teacher_cache
from understudy.teachers.base import UNAUGMENTED, Teacher
from understudy.teachers.cached import CachedTeacher, live_or_cached
from understudy.teachers.frozen import FrozenTeacher
from understudy.teachers.output_store import (
    valid_rows,
)

CPU = torch.device("cpu")
POLICIES: dict[str, dict] = {
    "crop-flip": {},
    "nothing": {"padding": 0, "flip": False},
    "mixup": {"mix": "mixup"},
    "cutmix": {"mix": "cutmix"},
    "photometric": {"photometric": 2},
    "upside-down": {"padding": 1, "vertical_flip": True},
    "resized-crop": {"resized_crop": (0.35, 1.0)},
    "jitter": {"color_jitter": (0.4, 0.4, 0.4, 0.1)},
    "rand-augment": {"rand_augment_ops": 2},
    "erasing": {"erasing": 0.5},
    "photos": {
        "resized_crop": (0.35, 1.0),
        "color_jitter": (0.4, 0.4, 0.4, 0.1),
        "rand_augment_ops": 1,
        "erasing": 0.5,
        "mix": "mixup",
    },
}
FINITE = ["crop-flip", "nothing", "upside-down"]
ENDLESS = [name for name in POLICIES if name not in FINITE]


def make_cached(
    root: Path,
    data: TrainingData,
    *,
    seed: int = 0,
    net: TinyNet | None = None,
    batch_size: int = 7,
    precision: str = "fp32",
    needs: str = "logits",
    device: torch.device = CPU,
):
    """The cached teacher that a run would get."""
    batches = TrainBatches(data.train, data.config, batch_size, seed, device)
    live = FrozenTeacher((net or tiny_net()).to(device), precision=precision, description="tiny")
    cached = live_or_cached(live, needs, "auto", data, batches, str(root))
    assert isinstance(cached, CachedTeacher)
    return cached


def prepared(cached: CachedTeacher, epoch: int = 0) -> CachedTeacher:
    cached.prepare(epoch, cached.batches.policy.epoch(epoch))
    return cached


def compare_with_live(cached: CachedTeacher, epoch: int, atol: float = 1e-6) -> None:
    """Every batch of an epoch: cached outputs against the network's for the same images."""
    views = cached.batches.policy.epoch(epoch)
    cached.prepare(epoch, views)
    for batch in cached.batches.epoch(epoch, views):
        kept, live = cached.outputs(batch), cached.teacher.outputs(batch)
        assert kept.logits.dtype == torch.float32 and kept.features == ()
        # fp16 has 11 significant bits; batches of another size add in another order.
        torch.testing.assert_close(kept.logits, live.logits, rtol=2**-11 + 1e-5, atol=atol)
        if cached.store.embedding_dim:
            torch.testing.assert_close(
                kept.embedding, live.embedding, rtol=2**-11 + 1e-5, atol=atol
            )
        else:
            assert kept.embedding is None


def data_file(cached: CachedTeacher) -> Path:
    (path,) = cached.store.folder.glob("*.bin")
    return path


@pytest.mark.parametrize("needs", ["logits", "embedding"])
@pytest.mark.parametrize("name", POLICIES)
def test_cached_outputs_equal_live_ones_over_shuffles_and_epochs(
    tmp_path: Path, name: str, needs: str
) -> None:
    cached = make_cached(tmp_path, tiny_data(**POLICIES[name]), needs=needs)
    for epoch in (0, 1, 0, 2):
        compare_with_live(cached, epoch)


@pytest.mark.parametrize("name", POLICIES)
def test_cache_is_labelled_and_read_on_any_device(
    tmp_path: Path, name: str, device: torch.device
) -> None:
    data = tiny_data(**POLICIES[name])
    first, second = (make_cached(tmp_path, data, device=device) for _ in range(2))
    compare_with_live(first, 0, atol=1e-5)
    compare_with_live(second, 0, atol=1e-5)
    assert (first.labelled, second.labelled) == (24, 0)
    assert first.epoch_rows is not None and first.epoch_rows.device.type == device.type
    here = prepared(make_cached(tmp_path / "cpu", data))
    bytes_off = name == "photometric"  # where another sum rounds to another byte
    torch.testing.assert_close(
        here.epoch_rows, first.epoch_rows.cpu(), rtol=2e-3, atol=5e-2 if bytes_off else 2e-3
    )


@pytest.mark.parametrize("shares", [None, (0.25, 0.75)])
def test_reading_the_cache_needs_no_host_sync(
    tmp_path: Path, shares: tuple[float, ...] | None
) -> None:
    cached = prepared(make_cached(tmp_path, tiny_data()))
    batch = next(cached.batches.epoch(0, cached.batches.policy.epoch(0)))
    cached.weights = shares
    cached.epoch_rows = there(torch.cat([cached.epoch_rows] * len(shares or (1,)), 1))
    batch = there(batch)
    with only_there() as watched:
        answer = cached.outputs(batch)
    assert (
        answer.logits.shape == (7, 3)
        and answer.logits.device.type != "cpu"
        and watched.operations > 1
    )
    assert len(answer.members) == len(shares or ())


def test_cached_outputs_equal_live_ones_for_another_batch_size(
    tmp_path: Path,
) -> None:
    data = tiny_data()
    prepared(make_cached(tmp_path, data, batch_size=5), 1)
    resumed = make_cached(tmp_path, data, batch_size=24)
    compare_with_live(resumed, 1)
    assert resumed.labelled == 0


@pytest.mark.parametrize("needs", ["logits", "embedding"])
@pytest.mark.parametrize("name", POLICIES)
def test_epoch_too_large_for_memory_is_read_from_its_file(
    tmp_path: Path, monkeypatch, name: str, needs: str
) -> None:
    """Batch by batch the same bits as from the epoch that was brought together."""
    data = tiny_data(**POLICIES[name])
    together, apart = (make_cached(tmp_path, data, needs=needs) for _ in range(2))
    for epoch in (1, 0):
        prepared(together, epoch)
        with monkeypatch.context() as small:
            small.setattr(teacher_cache, "_LARGEST_EPOCH", 24 * together.store.width * 2 - 1)
            prepared(apart, epoch)
        assert together.epoch_rows is not None and apart.epoch_rows is None
        for batch in apart.batches.epoch(epoch, apart.batches.policy.epoch(epoch)):
            ours, theirs = apart.outputs(batch), together.outputs(batch)
            assert torch.equal(ours.logits, theirs.logits)
            assert needs == "logits" or torch.equal(ours.embedding, theirs.embedding)
    assert apart.labelled == 0


def test_embeddings_have_a_file_for_each_epoch_of_the_view_seed(tmp_path: Path) -> None:
    """Long rows are close together; students of one view seed share them."""
    data, fixed = tiny_data(), tiny_data(view_seed=7)
    first = prepared(prepared(make_cached(tmp_path, data, needs="embedding"), 0), 3)
    assert sorted(path.name for path in first.store.folder.glob("*.bin")) == [
        "epoch-00000.bin",
        "epoch-00003.bin",
    ]
    assert data_files_bytes(first) == 2 * 24 * (3 + 8 + 1) * 2
    again, other = (
        prepared(make_cached(tmp_path, data, needs="embedding", seed=seed), 3) for seed in (0, 1)
    )
    assert (again.labelled, other.labelled) == (0, 24) and other.store.folder != first.store.folder
    prepared(make_cached(tmp_path, fixed, needs="embedding", seed=0))
    assert prepared(make_cached(tmp_path, fixed, needs="embedding", seed=1)).labelled == 0
    assert prepared(make_cached(tmp_path, data)).store.folder not in (
        first.store.folder,
        other.store.folder,
    )


def data_files_bytes(cached: CachedTeacher) -> int:
    return sum(path.stat().st_size for path in cached.store.folder.glob("*.bin"))


def test_embeddings_of_several_teachers_or_of_none_cannot_be_cached(
    tmp_path: Path,
) -> None:
    data = tiny_data()
    batches = TrainBatches(data.train, data.config, 7, 0, CPU)
    several = FrozenTeacher(Ensemble([tiny_net(), tiny_net(1)]))
    assert live_or_cached(several, "embedding", "auto", data, batches, str(tmp_path)) is several
    with pytest.raises(
        UnderstudyError, match=r"embeddings of several teachers: set teacher\.outputs=live"
    ):
        live_or_cached(several, "embedding", "cached", data, batches, str(tmp_path))
    flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 3))
    silent = FrozenTeacher(ForeignClassifier(flat, 3, name="flat", image_size=8))
    with pytest.raises(UnderstudyError, match="shows no embedding"):
        live_or_cached(silent, "embedding", "auto", data, batches, str(tmp_path))


def test_epoch_is_claimed_in_a_bounded_number_of_chunks(
    tmp_path: Path, small_chunks: None, monkeypatch
) -> None:
    """Each chunk has a lock file: however many images, there are only so many."""
    monkeypatch.setattr(teacher_cache, "_MOST_CHUNKS", 2)
    cached = prepared(make_cached(tmp_path, tiny_data()))
    assert len(list(cached.store.folder.glob("*.lock"))) == 2 and cached.labelled == 24
    compare_with_live(cached, 0)


def test_row_damaged_while_its_epoch_is_read_from_file_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teacher_cache, "_LARGEST_EPOCH", 0)
    cached = prepared(make_cached(tmp_path, tiny_data()))
    rows = np.memmap(data_file(cached), np.uint16, "r+").reshape(-1, 4)
    rows[np.flatnonzero(valid_rows(rows))[7], 1] ^= 1
    whole = cached.batches.render(torch.arange(24), cached.batches.policy.epoch(0))
    with pytest.raises(UnderstudyError, match="damaged while in use: run again with --resume"):
        cached.outputs(whole)


@pytest.mark.parametrize("name", POLICIES)
def test_second_run_labels_nothing(tmp_path: Path, name: str) -> None:
    data = tiny_data(**POLICIES[name])
    first, second = make_cached(tmp_path, data), make_cached(tmp_path, data)
    assert prepared(first).labelled == 24
    assert prepared(second).labelled == 0
    assert torch.equal(first.epoch_rows, second.epoch_rows)


def test_seeds_with_one_view_seed_share_everything(tmp_path: Path) -> None:
    for name in ("crop-flip", "mixup"):
        data = tiny_data(**POLICIES[name], view_seed=5)
        assert prepared(make_cached(tmp_path, data, seed=1)).labelled == 24
        other = make_cached(tmp_path, data, seed=2)
        compare_with_live(other, 0)
        assert other.labelled == 0


def test_seeds_of_a_finite_policy_share_the_views_that_both_show(tmp_path: Path) -> None:
    data = tiny_data(padding=0, flip=True)  # two views
    one, two = make_cached(tmp_path, data, seed=1), make_cached(tmp_path, data, seed=2)
    assert one.store.folder == two.store.folder
    flips = [c.batches.policy.epoch(0).flip for c in (one, two)]
    prepared(one)
    compare_with_live(two, 0)
    assert two.labelled == int((flips[0] != flips[1]).sum())


def test_finite_policy_is_labelled_completely_and_no_further(tmp_path: Path) -> None:
    cached = make_cached(tmp_path, tiny_data(padding=0, flip=True))
    for epoch in range(20):
        prepared(cached, epoch)
    assert cached.labelled == 24 * 2, "and no further"


def test_endless_policy_has_a_file_for_each_epoch(tmp_path: Path) -> None:
    cached = make_cached(tmp_path, tiny_data(mix="mixup"))
    for epoch in (0, 3):
        prepared(cached, epoch)
    assert sorted(p.name for p in cached.store.folder.glob("*.bin")) == [
        "epoch-00000.bin",
        "epoch-00003.bin",
    ]


def test_file_has_a_row_for_each_image_and_view(tmp_path: Path) -> None:
    cached = prepared(make_cached(tmp_path, tiny_data(num_images=9)))
    policy = cached.batches.policy
    rows = cached.store.open(0)
    assert rows.shape == (9 * 18, 4) and rows.dtype == np.uint16
    where = np.arange(9) * 18 + policy.view_ids(policy.epoch(0)).numpy()
    assert np.flatnonzero(valid_rows(rows)).tolist() == sorted(where)
    assert torch.equal(
        torch.from_numpy(rows[where, :-1].copy().view(np.float16)), cached.epoch_rows
    )


# Damage.


def damage_and_repair(tmp_path: Path, damage, name: str = "crop-flip") -> tuple[int, int]:
    """(invalid rows, rows labelled again) after ``damage(path)``; the outputs must be as before."""
    data = tiny_data(**POLICIES[name])
    first = prepared(make_cached(tmp_path, data))
    before = data_file(first).read_bytes()
    good = int(valid_rows(first.store.open(0)).sum())
    damage(data_file(first))
    again = make_cached(tmp_path, data)
    bad = good - int(valid_rows(again.store.open(0)).sum())
    prepared(again)
    assert torch.equal(again.epoch_rows, first.epoch_rows)
    assert data_file(again).read_bytes() == before
    return bad, again.labelled


@pytest.mark.parametrize("name", ["crop-flip", "mixup"])
@pytest.mark.parametrize("share", [0.0, 0.31, 0.5])
def test_file_that_was_cut_off_loses_only_its_end(tmp_path: Path, name: str, share: float) -> None:
    def cut(path: Path) -> None:
        whole = path.read_bytes()
        path.write_bytes(whole[: int(share * len(whole)) | 1])  # in the middle of a number, too

    bad, labelled = damage_and_repair(tmp_path, cut, name)
    assert bad == labelled and (1 - share) * 24 * 0.7 < labelled <= 24


def test_range_of_zeros_is_labelled_again(tmp_path: Path) -> None:
    def zero(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[1000:2001] = bytes(1001)
        path.write_bytes(content)

    bad, labelled = damage_and_repair(tmp_path, zero)
    assert bad == labelled and 0 < labelled < 24


def test_flipped_bytes_invalidate_only_their_own_rows(tmp_path: Path) -> None:
    hit = []

    def flip(path: Path) -> None:
        rows = np.memmap(path, np.uint16, "r+").reshape(-1, 4)
        hit.extend(np.flatnonzero(valid_rows(rows))[[2, 5, 11]])
        rows[hit[0], 0] ^= 0xFF00
        rows[hit[1], 3] ^= 1
        rows[hit[2], 1] ^= 0x0080
        rows.flush()

    assert damage_and_repair(tmp_path, flip) == (3, 3)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 70000.0])
def test_logits_not_finite_in_fp16_are_refused_and_not_stored(tmp_path: Path, value: float) -> None:
    net = tiny_net()
    with torch.no_grad():
        net.fc.bias[1] = value
    cached = make_cached(tmp_path, tiny_data(), net=net)
    with pytest.raises(UnderstudyError, match=r"not finite in fp16.*teacher.outputs=live"):
        prepared(cached)
    assert not valid_rows(cached.store.open(0)).any()


# Whose cache it is.


def test_each_dependency_of_the_logits_has_its_own_cache(tmp_path: Path) -> None:
    data = tiny_data()
    moved = tiny_net()
    with torch.no_grad():
        moved.bn.running_mean[0] += 1e-6
    other_mean = replace(data, config=replace(data.config, mean=(0.5, 0.4, 0.31)))
    variants = {
        "itself": make_cached(tmp_path, data),
        "weights": make_cached(tmp_path, data, net=tiny_net(1)),
        "one running mean by a millionth": make_cached(tmp_path, data, net=moved),
        "data": make_cached(tmp_path, tiny_data(seed=1)),
        "policy": make_cached(tmp_path, tiny_data(padding=2)),
        "mixing": make_cached(tmp_path, tiny_data(mix="mixup")),
        "seed of mixing": make_cached(tmp_path, tiny_data(mix="mixup"), seed=1),
        "normalisation": make_cached(tmp_path, other_mean),
        "precision": make_cached(tmp_path, data, precision="bf16"),
    }
    assert len({c.store.fingerprint for c in variants.values()}) == len(variants)
    assert len({c.store.folder for c in variants.values()}) == len(variants)
    assert make_cached(tmp_path, data).store.folder == variants["itself"].store.folder


def test_cache_made_of_other_parts_is_refused_by_name(tmp_path: Path) -> None:
    data = tiny_data()
    meta = prepared(make_cached(tmp_path, data)).store.folder / "meta.json"
    content = json.loads(meta.read_text())
    content["parts"] |= {"normalisation": "other", "teacher": "other"}
    meta.write_text(json.dumps(content))
    with pytest.raises(
        UnderstudyError, match="was made with another normalisation, teacher: delete it"
    ):
        make_cached(tmp_path, data)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"parts": 3}'])
def test_damaged_meta_json_is_refused(tmp_path: Path, text: str) -> None:
    data = tiny_data()
    (make_cached(tmp_path, data).store.folder / "meta.json").write_text(text)
    with pytest.raises(
        UnderstudyError, match=r"meta.json is not a teacher cache's description: delete"
    ):
        make_cached(tmp_path, data)


def test_methods_that_read_features_use_the_live_teacher(tmp_path: Path) -> None:
    data = tiny_data()
    batches, live = TrainBatches(data.train, data.config, 8, 0, CPU), FrozenTeacher(tiny_net())
    assert live_or_cached(live, "features", "auto", data, batches, str(tmp_path)) is live
    assert live_or_cached(live, "logits", "live", data, batches, str(tmp_path)) is live
    with pytest.raises(
        UnderstudyError, match=r"feature maps: set teacher.outputs=live, or let the views"
    ):
        live_or_cached(live, "features", "cached", data, batches, str(tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", POLICIES)
def test_feature_maps_of_views_that_repeat_are_cached(tmp_path: Path, name: str) -> None:
    data = tiny_data(**POLICIES[name], view_epochs=2)
    cached = make_cached(tmp_path, data, needs="features")
    for epoch in range(5):
        views = cached.batches.policy.epoch(epoch)
        cached.prepare(epoch, views)
        for batch in cached.batches.epoch(epoch, views):
            kept, live = cached.outputs(batch), cached.teacher.outputs(batch)
            rounded = {"rtol": 2**-11 + 1e-5, "atol": 1e-6}
            torch.testing.assert_close(kept.logits, live.logits, **rounded)
            torch.testing.assert_close(kept.embedding, live.embedding, **rounded)
            torch.testing.assert_close(kept.features, live.features, **rounded)
    assert cached.labelled == 2 * len(data.train), "each image is labelled in two epochs alone"
    assert len(list(cached.store.folder.glob("epoch-*.bin"))) == 2


def test_repeated_views_label_each_image_so_many_times(tmp_path: Path) -> None:
    data = tiny_data(mix="mixup", view_epochs=3)
    cached = make_cached(tmp_path, data)
    for epoch in range(8):
        prepared(cached, epoch)
    assert cached.labelled == 3 * len(data.train)


def test_damaged_feature_maps_are_computed_again_by_the_next_process(tmp_path: Path) -> None:
    data = tiny_data(view_epochs=1)
    first = prepared(make_cached(tmp_path, data, needs="features"))
    path = data_file(first)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    again = prepared(make_cached(tmp_path, data, needs="features"))
    assert again.labelled == 1
    assert first.epoch_rows is not None and again.epoch_rows is not None
    assert torch.equal(first.epoch_rows, again.epoch_rows)


def test_a_disk_without_room_for_feature_maps_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(UnderstudyError, match=r"feature maps of 2 epochs take .* lower data"):
        make_cached(tmp_path, tiny_data(view_epochs=2), needs="features")
    make_cached(tmp_path, tiny_data(view_epochs=2))  # logits are small


def test_large_images_are_labelled_in_smaller_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[int] = []
    data = tiny_data()
    height, width = data.image.size
    monkeypatch.setattr(teacher_cache, "_BATCH_PIXELS", 10 * height * width)
    cached = make_cached(tmp_path, data)
    outputs = cached.teacher.outputs

    def noting(batch: Batch) -> Outputs:
        passes.append(len(batch.labels))
        return outputs(batch)

    monkeypatch.setattr(cached.teacher, "outputs", noting)
    prepared(cached)
    assert set(passes) == {10}


def test_outputs_need_a_prepared_epoch(tmp_path: Path) -> None:
    cached = make_cached(tmp_path, tiny_data())
    with pytest.raises(AssertionError, match="comes before"):
        cached.outputs(cached.batches.render(torch.arange(3), cached.batches.policy.epoch(0)))


# Several at once, and interrupted.


class Interrupted(Teacher):
    """A teacher that stops the process after some batches."""

    def __init__(self, teacher: Teacher, batches: int) -> None:
        self.teacher, self.left = teacher, batches

    def outputs(self, batch: Batch) -> Outputs:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        return self.teacher.outputs(batch)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teacher_cache, "_CHUNK", 8)
    monkeypatch.setattr(teacher_cache, "_BATCH", 4)


@pytest.mark.parametrize("name", ["crop-flip", "mixup"])
def test_interrupted_labelling_continues(tmp_path: Path, small_chunks: None, name: str) -> None:
    data = tiny_data(**POLICIES[name])
    whole = prepared(make_cached(tmp_path / "whole", data))
    stopped = make_cached(tmp_path / "stopped", data)
    stopped.teacher = Interrupted(stopped.teacher, batches=3)
    with pytest.raises(KeyboardInterrupt):
        prepared(stopped)
    assert stopped.labelled == 12
    again = prepared(make_cached(tmp_path / "stopped", data))
    assert again.labelled == 24 - 12
    assert torch.equal(again.epoch_rows, whole.epoch_rows)


class Log(Silent):
    """Keeps every progress event."""

    def __init__(self) -> None:
        self.events: list[Progress] = []

    def progress(self, progress: Progress, training: str = "") -> None:
        self.events.append(progress)


def test_labelling_reports_progress_up_to_the_missing_views(
    tmp_path: Path, small_chunks: None
) -> None:
    cached, log = make_cached(tmp_path, tiny_data()), Log()
    views = cached.batches.policy.epoch(3)
    cached.prepare(3, views, log)
    assert log.events == [Progress("label", done, 24, epoch=3) for done in (8, 16, 24)]
    cached.prepare(3, views, log)
    assert len(log.events) == 3, "nothing is missing any more"


def test_unaugmented_images_are_labelled_outside_any_epoch(tmp_path: Path) -> None:
    cached, log = make_cached(tmp_path, tiny_data(mix="mixup")), Log()
    cached.prepare(UNAUGMENTED, cached.batches.policy.identity_views(), log)
    assert [event.epoch for event in log.events] == [None]
    assert data_file(cached).name == "plain.bin"


def test_no_epoch_reads_the_outputs_for_unaugmented_images(tmp_path: Path) -> None:
    cached = make_cached(tmp_path, tiny_data(mix="mixup"))
    cached.prepare(UNAUGMENTED, cached.batches.policy.identity_views())
    for epoch in (0, 1):
        compare_with_live(cached, epoch)


@pytest.mark.parametrize("name", ["crop-flip", "mixup"])
def test_two_processes_share_the_labelling_and_get_the_same_bits(
    tmp_path: Path, small_chunks: None, name: str
) -> None:
    data = tiny_data(num_images=64, **POLICIES[name])
    alone = prepared(make_cached(tmp_path / "alone", data))
    together = [make_cached(tmp_path / "together", data) for _ in range(2)]
    start, errors = threading.Barrier(2), []

    def label(cached: CachedTeacher) -> None:
        try:
            start.wait()
            prepared(cached)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=label, args=(cached,)) for cached in together]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert sum(cached.labelled for cached in together) == 64, "no view twice"
    for cached in together:
        assert torch.equal(cached.epoch_rows, alone.epoch_rows)
    assert data_file(together[0]).read_bytes() == data_file(alone).read_bytes()


def test_chunk_locked_by_another_process_is_waited_for(
    tmp_path: Path, small_chunks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tiny_data()
    one, two = make_cached(tmp_path, data), make_cached(tmp_path, data)
    held = one.store.lock("epoch-0-0-8")
    held.acquire()
    waited = []

    def other_finishes(seconds: float) -> None:
        waited.append(two.labelled)
        held.release()
        prepared(one)

    monkeypatch.setattr(teacher_cache, "time", SimpleNamespace(sleep=other_finishes))
    prepared(two)
    assert waited == [16], "the two chunks that were free came first"
    assert (one.labelled, two.labelled) == (8, 16)
    assert torch.equal(one.epoch_rows, two.epoch_rows)


# What lies on disk stays readable.


# How it is filled and read.


def test_epoch_of_exactly_the_limit_is_held_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = make_cached(tmp_path, tiny_data())
    monkeypatch.setattr(teacher_cache, "_LARGEST_EPOCH", 24 * cached.store.width * 2)
    assert prepared(cached).epoch_rows is not None and cached._in_file is None


def test_every_labelling_pass_has_the_same_number_of_images(
    tmp_path: Path, small_chunks: None
) -> None:
    """The last batch is filled up with its last image: the same kernels, so the same bits."""
    sizes, shown = [], []

    class Watched(Teacher):
        def __init__(self, teacher: Teacher) -> None:
            self.teacher = teacher

        def outputs(self, batch: Batch) -> Outputs:
            sizes.append(len(batch.images))
            shown.extend(batch.index.tolist())
            return self.teacher.outputs(batch)

    cached = make_cached(tmp_path, tiny_data(num_images=22))
    cached.teacher = Watched(cached.teacher)
    prepared(cached)
    assert sizes == [4] * 6 and cached.labelled == 22
    assert shown == [*range(22), 21, 21]


def test_sizes_that_caches_on_disk_depend_on_stay_the_same() -> None:
    """A cache's bits depend on the first, and what processes share on the second."""
    assert (teacher_cache._BATCH, teacher_cache._CHUNK, teacher_cache._MOST_CHUNKS) == (
        512,
        4096,
        65536,
    )
    assert teacher_cache._LARGEST_EPOCH == 2**30


def test_ensemble_is_read_back_with_its_weights(tmp_path: Path) -> None:
    data = tiny_data()
    batches = TrainBatches(data.train, data.config, 7, 0, CPU)
    live = FrozenTeacher(Ensemble([tiny_net(), tiny_net(1)], [1, 3]), description="two")
    cached = live_or_cached(live, "logits", "auto", data, batches, str(tmp_path))
    assert isinstance(cached, CachedTeacher) and cached.store.width == 6
    views = batches.policy.epoch(0)
    cached.prepare(0, views)
    for batch in batches.epoch(0, views):
        kept, exact = cached.outputs(batch), live.outputs(batch)
        torch.testing.assert_close(kept.logits, exact.logits, rtol=2e-3, atol=1e-4)
        for ours, theirs in zip(kept.members, exact.members, strict=True):
            torch.testing.assert_close(ours.logits, theirs.logits, rtol=2e-3, atol=1e-5)
            assert ours.features == () and ours.embedding is None


def test_rows_of_some_images_can_be_read_valid_or_not(tmp_path: Path) -> None:
    cached = make_cached(tmp_path, tiny_data())
    views, images = cached.batches.policy.epoch(0), np.array([5, 0, 17])
    assert not valid_rows(cached.read(0, views, images)).any()
    prepared(cached)
    found = cached.read(0, views, images)
    assert found.shape == (3, 4) and valid_rows(found).all()
    logits = torch.from_numpy(found[:, :-1].copy().view(np.float16))
    assert torch.equal(logits, cached.epoch_rows[[5, 0, 17]])


def test_epoch_is_either_in_memory_or_in_its_file(tmp_path: Path, monkeypatch) -> None:
    cached = make_cached(tmp_path, tiny_data())
    with monkeypatch.context() as small:
        small.setattr(teacher_cache, "_LARGEST_EPOCH", 0)
        prepared(cached, 0)
    assert cached.epoch_rows is None and cached._in_file is not None
    prepared(cached, 1)
    assert cached.epoch_rows is not None and cached._in_file is None


def test_row_damaged_while_its_epoch_is_loaded_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that another process damages after it had been checked."""
    cached = prepared(make_cached(tmp_path, tiny_data()))
    again = make_cached(tmp_path, tiny_data())
    rows = np.memmap(data_file(cached), np.uint16, "r+").reshape(-1, 4)
    rows[np.flatnonzero(valid_rows(rows))[0], 0] ^= 1
    monkeypatch.setattr(again, "_fill", lambda *a: None)
    with pytest.raises(UnderstudyError, match="damaged while in use"):
        prepared(again)
