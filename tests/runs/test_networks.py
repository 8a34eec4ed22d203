"""What identifies a teacher's outputs in a cache."""

from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from tests.worlds import config_for, write_colours

from understudy.data.prepare import prepare_data
from understudy.models import build_model, deployed
from understudy.runs.folder import RunFolder
from understudy.runs.networks import arm_data, load_teacher
from understudy.runs.plan import resolve_plan

NAME = "tests.runs.test_precheck.Maps"


def test_outputs_of_other_stages_are_cached_apart(tmp_path: Path) -> None:
    """Their embeddings and maps may have the same shapes."""
    config = config_for(write_colours(tmp_path / "colours.npz"), teacher={"model": {"name": NAME}})
    data, _ = prepare_data(config.data)
    config = replace(config, data=data.config)
    folder = RunFolder(tmp_path / "run")
    folder.models.mkdir(parents=True)
    network = build_model(NAME, 3, data.image)
    save_file(deployed(network).state_dict(), folder.weights("teacher-seed0"))
    seen = []
    for stages in ((), ("0", "1"), ("0", "1.0")):
        plan = resolve_plan(replace(config, teacher=replace(config.teacher, stages=stages)))
        run = plan.arm_run("distilled", 0)
        teacher = load_teacher(plan, run, folder, data, torch.device("cpu"))
        seen.append(teacher.description)
    assert len(set(seen)) == 3
    assert "stages" not in seen[0], "caches of earlier versions stay valid"


def test_a_network_is_trained_on_images_in_its_own_normalisation(tmp_path: Path) -> None:
    """In which it is evaluated and teaches, too."""
    own = {"mean": [0.1] * 3, "std": [0.5] * 3}
    config = config_for(write_colours(tmp_path / "colours.npz"), teacher=own)
    data, test = prepare_data(config.data)
    plan = resolve_plan(replace(config, data=data.config))
    seen, _ = arm_data(data, test, plan.arm("teacher"))
    assert (seen.config.mean, seen.config.std) == ((0.1,) * 3, (0.5,) * 3)
    assert seen.train is data.train and seen.config.augment == data.config.augment
    assert arm_data(data, test, plan.arm("baseline"))[0].config == data.config
