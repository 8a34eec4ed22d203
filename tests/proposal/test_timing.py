import torch

from understudy.config.schema import ModelConfig, TrainConfig
from understudy.data.spec import ImageSpec
from understudy.proposal.timing import training_rate

TRAIN = TrainConfig(batch_size=8, precision="fp32")
IMAGE = ImageSpec(3, 16, 16)


def test_a_rate_is_measured_and_leaves_no_trace() -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    model = ModelConfig("tiny_wide", {"widths": [4, 4, 4, 4]})
    assert training_rate(model, IMAGE, 3, TRAIN, device="cpu") > 0
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
