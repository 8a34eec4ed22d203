"""A recorded step does what the step does, and recording it leaves no trace."""

import pytest
import torch

from understudy.sweep.recorded_step import RecordedStep


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")
def test_replays_are_steps_and_the_recording_is_none():
    device = torch.device("cuda")
    weight = torch.ones(3, device=device)

    def step(inputs):
        images, mask = inputs
        assert mask is None
        weight.mul_(2).add_(images)

    first = torch.tensor([1.0, 2.0, 3.0], device=device)
    recorded = RecordedStep(step, [first, None], [weight], device)
    assert weight.tolist() == [1.0, 1.0, 1.0]
    recorded.replay([first, None])
    recorded.replay([torch.zeros(3, device=device), None])
    assert weight.tolist() == [6.0, 8.0, 10.0]
