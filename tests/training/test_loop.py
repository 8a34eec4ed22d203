"""The loop: parity with a plain loop, no host sync in the step, same bits after a resume."""

import os
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.training.small_training import SETTINGS, make_data, make_method, run, start
from torch import nn

from understudy.config.schema import TrainConfig
from understudy.data.loader import TrainBatches
from understudy.errors import UnderstudyError
from understudy.training.state import TrainingFiles


def test_loop_equals_a_plain_pytorch_loop():
    data = make_data()
    method, history = run(data, seed=3)

    plain = make_method(data).student
    plain.to(memory_format=torch.channels_last)
    batches = TrainBatches(data.train, data.config, 16, 3, torch.device("cpu"))
    optimizer = torch.optim.SGD(
        plain.parameters(), 0.1, momentum=0.9, nesterov=True, weight_decay=1e-3, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda s: (
            (s + 1) / 2
            if s < 1.8
            else 0.5 * (1 + torch.cos(torch.tensor((s - 1.8) / 7.2 * torch.pi)).item())
        ),
    )
    for epoch in range(3):
        for batch in batches.epoch(epoch, batches.policy.epoch(epoch)):
            loss = nn.functional.cross_entropy(plain(batch.images), batch.labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
    for ours, theirs in zip(method.student.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)
    assert history[-1].val_accuracy > 0.9  # and it learns


def test_no_host_sync_between_two_steps(monkeypatch: pytest.MonkeyPatch):
    """Numbers are read from the device equally often in an epoch, however many steps it has."""
    counts: list[int] = []
    for name in ("item", "tolist", "__bool__", "__float__", "__int__", "__index__", "cpu", "numpy"):
        original = getattr(torch.Tensor, name)

        def counted(self, *args, original=original, name=name, **kwargs):
            if not (
                name in ("cpu", "numpy")
                and sys._getframe(1).f_code.co_filename.endswith("transforms.py")
            ):
                counts.append(
                    1
                )  # transforms.py reads bytes through numpy on a CPU, where they already are
            return original(self, *args, **kwargs)

        monkeypatch.setattr(torch.Tensor, name, counted)

    def syncs(num: int) -> int:
        data, method = make_data(num), make_method(make_data(num))
        counts.clear()
        list(start(method, data, replace(SETTINGS, epochs=1, batch_size=4)))
        return len(counts)

    assert syncs(80) == syncs(16)


def test_same_seed_gives_same_bits_and_another_seed_other_bits():
    data = make_data()
    (a, first), (b, second), (c, _) = (run(data, dropout=0.3, seed=s) for s in (1, 1, 2))
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
    assert [e.losses for e in first] == [e.losses for e in second]
    assert not all(torch.equal(x, y) for x, y in zip(a.parameters(), c.parameters(), strict=True))


@pytest.mark.parametrize(
    "config",
    [SETTINGS, replace(SETTINGS, optimizer="adamw", ema_decay=0.9), replace(SETTINGS, keep="best")],
)
def test_resumed_training_ends_with_the_same_bits(
    tmp_path: Path, config: TrainConfig, device: torch.device
):
    data = make_data()
    whole, history = run(data, config, dropout=0.3, device=device.type)
    stopped = make_method(data, 0.3)
    files = TrainingFiles(tmp_path / "c.pt")
    epochs = start(stopped, data, config, device=device.type, files=files)
    next(epochs)
    epochs.close()  # as good as killed: the next process has the checkpoint and nothing else
    torch.manual_seed(12345)
    files = replace(files, resume=True)
    resumed, again = run(data, config, dropout=0.3, device=device.type, files=files)
    assert next(whole.parameters()).device.type == device.type
    assert all(
        torch.equal(x, y) for x, y in zip(whole.parameters(), resumed.parameters(), strict=True)
    )
    assert [(e.losses, e.val_accuracy) for e in history] == [
        (e.losses, e.val_accuracy) for e in again
    ]


def test_devices_train_alike(device: torch.device):
    data = make_data()
    here, expected = run(data)
    there, found = run(data, device=device.type)
    for ours, theirs in zip(here.parameters(), there.parameters(), strict=True):
        torch.testing.assert_close(theirs.cpu(), ours, rtol=1e-4, atol=1e-5)
    assert found[-1].losses["loss"] == pytest.approx(expected[-1].losses["loss"], rel=1e-4)


def test_checkpoint_of_another_training_is_refused(tmp_path: Path):
    data = make_data()
    run(data, files=TrainingFiles(tmp_path / "c.pt"))
    with pytest.raises(UnderstudyError, match="another configuration"):
        run(data, replace(SETTINGS, lr=0.2), files=TrainingFiles(tmp_path / "c.pt", resume=True))


def test_an_infinite_loss_leaves_the_last_good_checkpoint(tmp_path: Path):
    data = make_data()
    method = make_method(data)
    epochs = start(method, data, files=TrainingFiles(tmp_path / "c.pt"))
    next(epochs)
    before = (tmp_path / "c.pt").read_bytes()
    with torch.no_grad():
        method.student.head.weight.fill_(float("nan"))
    with pytest.raises(
        UnderstudyError, match=r"loss \(ce\) is not finite in epoch 1: lower train\.lr"
    ):
        next(epochs)
    assert (tmp_path / "c.pt").read_bytes() == before


def test_ema_weights_are_the_final_weights():
    data = make_data()
    method, _ = run(data, replace(SETTINGS, ema_decay=0.5, epochs=1, batch_size=40))
    start = make_method(data)
    plain, _ = run(data, replace(SETTINGS, epochs=1, batch_size=40))
    for kept, old, new in zip(
        method.parameters(), start.parameters(), plain.parameters(), strict=True
    ):
        torch.testing.assert_close(kept, (old + new) / 2)


def test_bf16_trains_and_parameters_stay_fp32():
    data = make_data()
    method = make_method(data)
    history = list(start(method, data, replace(SETTINGS, precision="bf16")))
    assert history[-1].losses["loss"] < history[0].losses["loss"]
    assert all(p.dtype == torch.float32 for p in method.parameters())


@pytest.mark.slow
def test_two_ranks_train_like_one_process(tmp_path: Path):
    """Each rank takes every second image of a batch; the averaged gradients are one process's."""
    script = tmp_path / "ranks.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})
            import torch
            from tests.training.small_training import *
            data = make_data(42)  # the last batch, of 10, splits evenly; 42 = 16 + 16 + 10
            method = make_method(data)
            fabric = make_fabric("cpu", "fp32")
            assert fabric.world_size == 2
            history = list(start(method, data))
            if fabric.is_global_zero:
                torch.save({{"weights": method.state_dict(), "losses": [e.losses for e in history],
                            "accuracy": [e.train_accuracy for e in history]}},
                           {str(tmp_path / "out.pt")!r})
            """
        )
    )
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node=2",
        "--master-addr=127.0.0.1",
        "--master-port=0",
    ]
    command[-2:] = ["--standalone"]
    done = subprocess.run(
        [*command, str(script)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = torch.load(tmp_path / "out.pt", weights_only=True)
    method, history = run(make_data(42))
    for name, value in method.state_dict().items():
        torch.testing.assert_close(found["weights"][name], value, rtol=1e-4, atol=1e-5)
    assert found["accuracy"] == pytest.approx([e.train_accuracy for e in history])
    for theirs, ours in zip(found["losses"], history, strict=True):
        assert theirs["loss"] == pytest.approx(ours.losses["loss"], rel=1e-4)
