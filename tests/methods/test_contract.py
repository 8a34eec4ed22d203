"""What every method promises, tested over the whole table: a new line in METHODS is a new column
here."""

import copy
import math

import pytest
import torch
import torch.distributed as dist
from tests.methods.small_pair import SmallNet, ask, make_batch, make_method
from tests.somewhere_else import only_there, there
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from understudy.data.loader import Batch
from understudy.errors import UnderstudyError
from understudy.methods import METHODS, Method, describe_methods
from understudy.methods.registry import method_class
from understudy.models.base import Outputs
from understudy.training.ema import update_ema

NAMES = [*METHODS, "at+kd", "sp+dkd"]
REFUSES_SINGLE_IMAGES = {"dist", "reviewkd"}
"""Methods that refuse a batch of one, by one line that names the batch."""


def total(
    method: Method, teacher: SmallNet, batch: Batch, outputs: Outputs | None = None
) -> Tensor:
    losses, _ = method(batch, outputs or ask(teacher, batch))
    return torch.stack(list(losses.values())).sum()


def steps(
    method: Method, teacher: SmallNet, number: int, optimizer: torch.optim.Optimizer, start: int = 0
) -> list[float]:
    seen = []
    for step in range(start, start + number):
        loss = total(method, teacher, make_batch(16, 5, step % 2))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        seen.append(float(loss.detach()))
    return seen


@pytest.mark.parametrize("name", NAMES)
def test_everything_that_trains_gets_a_gradient_and_the_teacher_none(name: str):
    method, teacher = make_method(name)
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    got: set[str] = set()
    for epoch in (0, 30):  # before and after any warm-up or first stage
        method.epoch = epoch
        method.zero_grad()
        total(method, teacher, make_batch(16, 5)).backward()
        got |= {
            n
            for n, p in method.named_parameters()
            if p.grad is not None and bool(p.grad.abs().sum() > 0)
        }
    # A bias before batch norm has a zero gradient in exact arithmetic; having one at all is what
    # counts.
    missing = {n for n, p in method.named_parameters() if p.requires_grad and p.grad is None} - got
    assert not missing
    assert not teacher.training and all(p.grad is None for p in teacher.parameters())
    assert all(torch.equal(before[k], v) for k, v in teacher.state_dict().items())
    assert not {id(p) for p in teacher.parameters()} & {
        id(p) for p in method.parameters() if p.requires_grad
    }


@pytest.mark.parametrize("name", NAMES)
def test_one_image_gives_a_finite_loss_or_a_clear_refusal(name: str):
    method, teacher = make_method(name)
    if name in REFUSES_SINGLE_IMAGES:
        with pytest.raises(UnderstudyError, match="batch"):
            total(method, teacher, make_batch(1, 5))
    else:
        assert torch.isfinite(total(method, teacher, make_batch(1, 5)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("classes", [2, 1000])
def test_fewest_classes_and_a_thousand(name: str, classes: int):
    fewest = max(method_class(part).min_classes for part in name.split("+"))
    classes = max(classes, fewest)
    method, teacher = make_method(name, num_classes=classes, num_images=1200)
    loss = total(method, teacher, make_batch(8, classes, num_images=1200))
    loss.backward()
    assert torch.isfinite(loss)
    assert all(
        bool(torch.isfinite(p.grad).all()) for p in method.parameters() if p.grad is not None
    )


@pytest.mark.parametrize("name", NAMES)
def test_extreme_logits_stay_finite(name: str):
    method, teacher = make_method(name)
    batch = make_batch(8, 5)
    answer = ask(teacher, batch)
    wild = answer._replace(logits=1e4 * torch.sign(answer.logits))
    heads = [module for module in method.student.modules() if isinstance(module, torch.nn.Linear)]
    with torch.no_grad():
        heads[-1].weight.mul_(1e4)
    loss = total(method, teacher, batch, wild)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(
        bool(torch.isfinite(p.grad).all()) for p in method.parameters() if p.grad is not None
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_falls_over_ten_steps(name: str):
    method, teacher = make_method(name)
    method.epoch = 30
    losses = steps(method, teacher, 12, torch.optim.Adam(method.parameters(), 1e-2))
    assert sum(losses[-2:]) < sum(losses[:2])


@pytest.mark.parametrize("name", NAMES)
def test_a_method_reads_no_more_of_the_teacher_than_it_says(name: str):
    """What is not read need not be kept: with what is kept the losses are the same to the bit."""
    method, teacher = make_method(name)
    batch = make_batch(8, 5)
    whole = ask(teacher, batch)
    kept = {
        "nothing": None,
        "logits": Outputs(whole.logits),
        "embedding": Outputs(whole.logits, embedding=whole.embedding),
        "features": whole,
    }[method.needs_with(method.config)]
    state = copy.deepcopy(method.state_dict())
    found = []
    for answer in (whole, kept):
        method.load_state_dict(state)
        torch.manual_seed(3)
        found.append(
            {key: float(value.detach()) for key, value in method(batch, answer)[0].items()}
        )
    assert found[0] == found[1]


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_method_goes_on_with_the_same_bits(name: str):
    method, teacher = make_method(name)
    optimizer = torch.optim.Adam(method.parameters(), 1e-2)
    steps(method, teacher, 2, optimizer)
    saved = copy.deepcopy((method.state_dict(), optimizer.state_dict()))
    torch.manual_seed(9)
    straight = steps(method, teacher, 2, optimizer, start=2)
    again, _ = make_method(name)
    optimizer = torch.optim.Adam(again.parameters(), 1e-2)
    again.load_state_dict(saved[0])
    optimizer.load_state_dict(saved[1])
    torch.manual_seed(9)
    assert steps(again, teacher, 2, optimizer, start=2) == straight


@pytest.mark.parametrize("name", NAMES)
def test_bf16_autocast(name: str):
    method, teacher = make_method(name)
    batch = make_batch(8, 5)
    with torch.autocast("cpu", torch.bfloat16):
        losses, _ = method(batch, ask(teacher, batch))
    assert all(v.dtype == torch.float32 and bool(torch.isfinite(v)) for v in losses.values())
    torch.stack(list(losses.values())).sum().backward()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_deployed_carries_no_adapter(name: str):
    method, _ = make_method(name)
    deployed = method.deployed()
    images = make_batch(4, 5).images
    assert deployed.eval()(images).shape == (4, 5)
    names = set(deployed.state_dict())
    if name == "simkd":
        assert names > {n for n in method.student.state_dict() if not n.startswith("head")}
        assert "stays" in Method.card.__func__(METHODS[name]).lower()
    else:
        assert deployed is method.student


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_step_on_a_device_never_waits_for_it(name: str, mixed: bool):
    """Loss, gradients and average, as the loop has them: no value goes from the device to Python or
    back."""
    built, network = make_method(name)
    built.epoch = 30
    batch = make_batch(8, 5)
    if mixed:
        batch = batch._replace(partner_labels=batch.labels.flip(0), lam=torch.linspace(0, 1, 8))
    method, teacher, batch = there(built), there(network), there(batch)
    average = {key: value.clone() for key, value in method.state_dict().items()}
    for _ in range(2):
        with only_there() as watched:
            losses, logits = method(batch, ask(teacher, batch))
            torch.stack(list(losses.values())).sum().backward()
            update_ema(average, method.state_dict(), 0.9)
            method.zero_grad(set_to_none=True)
    assert logits.device.type != "cpu" and watched.operations > 50


@pytest.fixture(scope="module")
def process_group():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("name", NAMES)
def test_data_parallel_wrapping_finds_every_parameter_used(name: str, process_group: None):
    """DDP refuses a second step when a parameter took no part in the first."""
    method, teacher = make_method(name)
    method.epoch = 30
    wrapped = DistributedDataParallel(method)
    for seed in range(2):
        batch = make_batch(8, 5, seed)
        losses, _ = wrapped(batch, ask(teacher, batch))
        torch.stack(list(losses.values())).sum().backward()


@pytest.mark.parametrize("card", describe_methods(), ids=lambda card: card["name"])
def test_every_card_is_complete_and_every_option_explained(card: dict):
    for section in ("What it does:", "When to use it:", "Cost:", "Options:", "Reference:"):
        assert f"\n{section}" in card["card"], section
    assert card["reference"] and card["needs"] in ("nothing", "logits", "embedding", "features")
    assert all(option["description"] for option in card["options"]), card["options"]


@pytest.mark.parametrize("name", [n for n in NAMES if n != "dml"])
def test_compiles(name: str):
    """Dynamo traces the loss; the numbers stay those of eager mode."""
    method, teacher = make_method(name)
    batch = make_batch(8, 5)
    answer = ask(teacher, batch)
    state = copy.deepcopy(method.state_dict())
    torch.manual_seed(3)
    eager, _ = method(batch, answer)
    method.load_state_dict(state)
    torch.manual_seed(3)
    torch.compiler.reset()
    compiled, _ = torch.compile(method, backend="eager", dynamic=False)(batch, answer)
    for key, value in eager.items():
        assert math.isclose(
            float(value.detach()), float(compiled[key].detach()), rel_tol=1e-4, abs_tol=1e-5
        ), key
