"""A recorded step does what the step does, and recording it leaves no trace."""

import threading

import pytest
import torch
from tests.execution.fused.tape import recorded

from understudy.execution.fused.cuda_graph import RecordedStep


def test_each_replay_is_one_step_and_the_recording_is_none(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
):
    """On the CPU by a tape of the step's operations, which stands in for the graph."""
    if device.type == "cpu":
        monkeypatch.setattr("understudy.execution.fused.cuda_graph._recorded", recorded)
    weight = torch.ones(3, device=device)

    def step(inputs):
        images, mask = inputs
        assert mask is None
        weight.mul_(2).add_(images)

    first = torch.tensor([1.0, 2.0, 3.0], device=device)
    kept = RecordedStep(step, [first, None], [weight], device)
    assert weight.tolist() == [1.0, 1.0, 1.0]
    kept.replay([first, None])
    kept.replay([torch.zeros(3, device=device), None])
    assert weight.tolist() == [6.0, 8.0, 10.0]


def test_inputs_keep_their_memory_order_and_must_stay_present(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("understudy.execution.fused.cuda_graph._recorded", recorded)
    images = torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    step = RecordedStep(lambda inputs: None, [images, None], [], torch.device("cpu"))
    assert step.inputs[0] is not images and step.inputs[0].stride() == images.stride()
    with pytest.raises(AssertionError, match="the inputs it was recorded with"):
        step.replay([images, images])


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_another_thread_may_use_cuda_during_a_recording():
    """As the one does that pins the next batches of a data set too large for the GPU."""
    device, stopping = torch.device("cuda"), threading.Event()
    held = []

    def ask() -> None:
        while not stopping.is_set():
            held.append(torch.empty(1 << 20, dtype=torch.uint8).pin_memory())
            del held[:-4]

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        weight = torch.zeros(3, device=device)
        for _ in range(5):
            recorded_step = RecordedStep(lambda inputs: weight.add_(1), [None], [weight], device)
            recorded_step.replay([None])
    finally:
        stopping.set()
        thread.join()
    assert weight.tolist() == [5.0] * 3
