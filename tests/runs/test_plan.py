"""Who teaches whom: worked out from the configuration, then trained, measured, resumed and reported
like any other arm."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.worlds import config_for, numbers

from understudy.config.recipe import from_yaml, load_config, to_yaml
from understudy.data.prepare import prepare_data
from understudy.errors import UnderstudyError
from understudy.experiment import run_experiment, train_arm
from understudy.files import to_json
from understudy.methods import kd_loss, method_config
from understudy.models.ensemble import Ensemble
from understudy.report import write_report
from understudy.runs.folder import RunFolder
from understudy.runs.networks import load_teacher, trained_network
from understudy.runs.plan import RunPlan, generations_of, resolve_plan
from understudy.runs.remeasure import benchmark_run, evaluate_run
from understudy.runs.warm_cache import build_cache, inspect_cache, verify_cache

SMALL = {"name": "fast_teacher", "options": {"widths": [8, 8, 8], "stem_width": 4}}
OTHER = {"name": "fast_teacher", "options": {"widths": [6, 6, 6], "stem_width": 4}}
QUICK = {"epochs": 1, "batch_size": 16}


def run(config: Any, out: Path, **options: Any) -> dict[str, Any]:
    return run_experiment(
        config,
        out,
        device="cpu",
        workers=1,
        cache=str(out.parent / "cache"),
        **options,
    )


def depths(plan: RunPlan) -> dict[str, int]:
    return {name: plan.depth(arm) for name, arm in plan.arms.items()}


def needed_by(plan: RunPlan, name: str) -> list[str]:
    return [arm.name for arm in plan.needed_by(plan.arm(name))]


def generations(name: str, **options: Any) -> int:
    return generations_of(method_config({"name": name, **options}))


# -- the chain as it is worked out
# ----------------------------------------------------------------------------------------


def test_a_plain_run_is_a_teacher_and_its_students():
    plan = resolve_plan(load_config("digits", ["arms={other: {name: dkd}}"]))
    assert {name: arm.teacher for name, arm in plan.arms.items()} == {
        "teacher": None,
        "baseline": None,
        "distilled": "teacher",
        "other": "teacher",
    }
    assert depths(plan) == {"teacher": 0, "baseline": 1, "distilled": 1, "other": 1}
    assert plan.arm("teacher").seed == 0 and plan.arm("distilled").seed is None


def test_what_is_given_or_put_together_is_trained_for_no_epochs():
    changes = [
        "teacher.members=[{}, {path: kept.safetensors}]",
        "teacher.train.epochs=5",
        "train.epochs=3",
    ]
    plan = resolve_plan(load_config("digits", changes))
    epochs = {name: arm.epochs for name, arm in plan.arms.items()}
    assert epochs == {"teacher": 0, "member1": 5, "member2": 0, "baseline": 3, "distilled": 3}
    given = resolve_plan(load_config("digits", ["teacher.path=given.safetensors"]))
    assert given.arm("teacher").epochs == 0


def test_assistants_of_any_number_stand_between():
    config = load_config(
        "digits",
        [
            "assistants=[{model: {name: resnet20}, train: {epochs: 3}}, "
            "{model: {name: resnet8}, method: {name: at}}]",
            "arms={direct: {name: kd, teacher: teacher}, first: {name: kd, teacher: assistant1}}",
        ],
    )
    plan = resolve_plan(config)
    arms = plan.arms
    taught = {name: arm.teacher for name, arm in arms.items() if arm.teacher}
    assert taught == {
        "assistant1": "teacher",
        "assistant2": "assistant1",
        "distilled": "assistant2",
        "direct": "teacher",
        "first": "assistant1",
    }
    assert arms["assistant1"].train.epochs == 3 and arms["assistant2"].train == config.train
    assert arms["assistant1"].method == method_config(config.method)
    assert arms["assistant2"].method == method_config({"name": "at"})
    assert depths(plan) == {
        "teacher": 0,
        "assistant1": 1,
        "baseline": 1,
        "direct": 1,
        "assistant2": 2,
        "first": 2,
        "distilled": 3,
    }
    assert needed_by(plan, "distilled") == ["teacher", "assistant1", "assistant2"]
    assert arms["direct"].method == method_config({"name": "kd"})


def test_generations_follow_each_other_in_their_teachers_network():
    config = load_config(
        "digits", ["method=born_again", "method.generations=3", "teacher.train.stop_epoch=2"]
    )
    plan = resolve_plan(config)
    arms = plan.arms
    taught = {name: arm.teacher for name, arm in arms.items() if arm.generation}
    assert taught == {
        "distilled-gen1": "teacher",
        "distilled-gen2": "distilled-gen1",
        "distilled": "distilled-gen2",
    }
    assert all(arms[arm].model == config.teacher.model for arm in taught)
    assert (
        arms["teacher"].train.epochs_run == 2
        and arms["distilled"].train.epochs_run == config.teacher_train.epochs
    )
    combined = method_config({"name": "at+born_again", "born_again": {"generations": 4}})
    assert generations_of(combined) == 4
    assert generations_of(method_config({"name": "at"})) == 0


def test_members_take_from_the_teacher_what_they_do_not_say():
    config = load_config(
        "digits",
        [
            "teacher.seed=7",
            "teacher.mean=[0.1,0.1,0.1]",
            "teacher.std=[1,1,1]",
            "teacher.members=[{}, {model: {name: resnet8}, train: {epochs: 2}, weight: 3}, "
            "{seed: 1, path: a.safetensors}]",
        ],
    )
    plan = resolve_plan(config)
    arms = plan.arms
    members = [arms[name] for name in arms["teacher"].members]
    assert [m.seed for m in members] == [7, 8, 1] and arms["teacher"].weights == (1.0, 3.0, 1.0)
    assert members[0].model == config.teacher.model and members[1].model.name == "resnet8"
    assert members[1].train.epochs == 2 and members[2].path == "a.safetensors"
    assert (
        members[0].inputs.mean == (0.1, 0.1, 0.1) and arms["teacher"].inputs == config.data
    )  # normalised inside, member by member
    assert depths(plan)["teacher"] == 1 and depths(plan)["distilled"] == 2
    assert resolve_plan(from_yaml(to_yaml(config), "copy")) == plan


def test_arms_train_side_by_side_each_after_what_it_needs():
    config = load_config(
        "digits",
        [
            "teacher.members=[{}, {}]",
            "assistants=[{model: {name: resnet20}, method: {name: kd}}]",
            "method=born_again",
            "arms.direct={name: kd, teacher: teacher}",
            "arms.late={name: kd, teacher: distilled}",
            "arms.member={name: kd, teacher: member2}",
        ],
    )
    plan = resolve_plan(config)
    assert depths(plan) == {
        "member1": 0,
        "member2": 0,
        "teacher": 1,
        "assistant1": 2,
        "baseline": 2,
        "direct": 2,
        "member": 2,
        "distilled-gen1": 3,
        "distilled": 4,
        "late": 5,
    }
    assert list(plan.arms) == [
        "teacher",
        "member1",
        "member2",
        "assistant1",
        "baseline",
        "distilled-gen1",
        "distilled",
        "direct",
        "late",
        "member",
    ]
    assert needed_by(plan, "late") == [
        "member1",
        "member2",
        "teacher",
        "assistant1",
        "distilled-gen1",
        "distilled",
    ]
    assert needed_by(plan, "member") == ["member2"] and needed_by(plan, "baseline") == []
    assert [plan.arm(name).teacher for name in ("late", "member", "distilled-gen1")] == [
        "distilled",
        "member2",
        "assistant1",
    ]


def test_what_kind_of_arm_each_one_is():
    assistant = "assistants=[{model: {name: resnet20}, method: {name: kd}}]"
    changes = ["teacher.members=[{}, {}]", assistant, "method=born_again", "arms={x: {name: kd}}"]
    plan = resolve_plan(load_config("digits", changes))
    kinds = {name: (a.role, a.is_shared, a.generation) for name, a in plan.arms.items()}
    assert kinds == {
        "teacher": ("teacher", True, 0),
        "member1": ("member", True, 0),
        "member2": ("member", True, 0),
        "assistant1": ("assistant", True, 0),
        "baseline": ("baseline", False, 0),
        "distilled-gen1": ("generation", False, 1),
        "distilled": ("distilled", False, 2),
        "x": ("extra", False, 0),
    }
    assert plan.arm("teacher").members == ("member1", "member2")
    plain = method_config({"name": "ce"})
    assert plan.arm("teacher").method == plan.arm("baseline").method == plain
    assert plan.arm("x").method == method_config({"name": "kd"})


def test_seeds_of_the_run_reach_every_arm_that_is_not_shared():
    shared = resolve_plan(
        load_config("digits", ["teacher.seed=7", "assistants=[{model: {name: resnet20}}]"])
    ).arms
    assert {name: arm.seed_for(3) for name, arm in shared.items()} == {
        "teacher": 7,
        "assistant1": 7,
        "baseline": 3,
        "distilled": 3,
    }
    apart = resolve_plan(
        load_config(
            "digits",
            ["teacher.seed=7", "teacher.per_seed=true", "assistants=[{model: {name: resnet20}}]"],
        )
    ).arms
    assert {arm.seed_for(3) for arm in apart.values()} == {3}
    assert shared["teacher"].seed_for(0) == 7, "and seed 0 is a seed like any other"
    zero = resolve_plan(
        load_config("digits", ["teacher.members=[{seed: 4}, {seed: 0}, {}]", "teacher.seed=5"])
    ).arms
    assert [zero[f"member{n}"].seed for n in (1, 2, 3)] == [4, 0, 7], (
        "a seed of 0 is given, not left out"
    )


def test_members_may_have_stages_and_normalisation_of_their_own():
    config = load_config(
        "digits",
        [
            "teacher.stages=[a, b]",
            "teacher.members=[{}, {stages: []}, {stages: [c], mean: [0, 0, 0], std: [1, 1, 1]}]",
        ],
    )
    plan = resolve_plan(config)
    members = [plan.arm(f"member{n}") for n in (1, 2, 3)]
    assert [m.stages for m in members] == [("a", "b"), (), ("c",)]
    given = config.data
    assert [(m.inputs.mean, m.inputs.std) for m in members] == [
        (given.mean, given.std),
        (given.mean, given.std),
        ((0, 0, 0), (1, 1, 1)),
    ]


def test_a_chain_has_two_generations_unless_set_otherwise():
    assert generations("born_again") == 2 == generations("at+born_again")
    assert generations("born_again", generations=1) == 1
    assert generations("at+born_again", born_again={"generations": 5}) == 5
    with pytest.raises(UnderstudyError, match=r"unknown key method\.generations"):
        generations("at+born_again", generations=5)  # a part's options are its own
    for wrong in (0, -1):
        with pytest.raises(UnderstudyError, match=f"must be at least 1, not {wrong}"):
            generations("born_again", generations=wrong)
    with pytest.raises(UnderstudyError, match=r"method\.generations: .* integer.*, not 1\.5"):
        generations("born_again", generations=1.5)


def test_born_again_is_like_the_arm_it_is_taught_by():
    config = load_config(
        "digits",
        [
            "teacher.stages=[t]",
            "student.stages=[s]",
            "teacher.train.lr=0.25",
            "teacher.train.stop_epoch=2",
            "train.lr=0.5",
            "assistants=[{model: {name: resnet20}, stages: [a], train: {lr: 0.125}}]",
            "arms={first: {name: born_again, generations: 1, teacher: teacher}, "
            "second: {name: born_again, generations: 1}}",
        ],
    )
    arms = resolve_plan(config).arms
    assert (arms["first"].model, arms["first"].stages) == (config.teacher.model, ("t",))
    assert (arms["first"].train.lr, arms["first"].train.stop_epoch) == (0.25, None), (
        "trained to the end"
    )
    assert (arms["second"].model.name, arms["second"].stages, arms["second"].train.lr) == (
        "resnet20",
        ("a",),
        0.125,
    )
    assert (arms["distilled"].stages, arms["distilled"].train.lr) == (("s",), 0.5)


@pytest.mark.parametrize(
    ("changes", "references"),
    [
        ({"teacher": {"model": SMALL, "per_seed": True}}, ["teacher", "baseline"]),
        ({"teacher": {"model": SMALL}}, ["baseline"]),
        (
            {
                "teacher": {"model": SMALL, "per_seed": True, "train": {"epochs": 2}},
                "student": {"model": SMALL},
            },
            ["teacher", "baseline"],
        ),
    ],
)
def test_born_again_is_compared_with_its_network_trained_plainly(
    images: Path,
    tmp_path: Path,
    changes: dict[str, Any],
    references: list[str],
):
    """The teacher, where there is one for each seed; the baseline, where the student is trained
    just like it; else nothing."""
    again = {"name": "born_again", "generations": 1}
    config = config_for(
        images, train=QUICK, seeds=[5], method=again, arms={"taught": {"name": "kd"}}, **changes
    )
    results = to_json(run(config, tmp_path / "run"))
    assert [comparison["reference"] for comparison in results["comparisons"]] == references
    for comparison in results["comparisons"]:
        ours, theirs = (
            results["arms"][name]["runs"][0]["test"]["accuracy"]
            for name in (comparison["arm"], comparison["reference"])
        )
        assert comparison["gains"] == pytest.approx([ours - theirs])
        assert comparison["verdict"].endswith("(against teacher)") == (
            comparison["reference"] == "teacher"
        )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["arms={assistant1: {name: kd}}"], "names that a run gives itself"),
        (["arms={a-gen1: {name: kd}}"], "names that a run gives itself"),
        (
            ["arms={direct: {name: kd, teacher: techer}}"],
            r"arms\.direct\.teacher: .*did you mean teacher\?",
        ),
        (["arms={a: {name: kd, teacher: b}, b: {name: kd}}"], "no arm 'b' before this one"),
        (
            ["assistants=[{model: {name: resnet8}, method: {name: born_again}}]"],
            r"assistants\.0\.method: born_again trains several generations",
        ),
        (["method=born_again", "method.generations=0"], "at least 1, not 0"),
        (["teacher.members=[{seed: 0}]"], "must be at least two"),
        (["teacher.members=[{weight: 0}, {weight: 0}]"], "weights must not all be 0"),
        (["teacher.members=[{weight: -1}, {}]"], "weight must be at least 0"),
        (["teacher.members=[{}, {}]", "teacher.path=x"], "each of teacher.members its own path"),
        (
            ["teacher.members=[{}, {}]", "teacher.per_seed=true"],
            "cannot be combined with teacher.members",
        ),
        (
            ["teacher.members=[{wieght: 1}, {}]"],
            r"teacher\.members\.0\.wieght: did you mean teacher\.members\.0\.weight",
        ),
        (
            ["assistants=[{model: {name: resnet8}, train: {epoch: 3}}]"],
            r"assistants\.0\.train\.epoch: did you mean",
        ),
        (
            ["assistants=[{model: {name: resnet8}, method: {temperature: 3}}]"],
            "method.name is missing",
        ),
        (
            ["train.sampling=balanced", "method.curriculum={start: 0.3}"],
            "both choose an epoch's images",
        ),
        (["train.stop_epoch=0"], "stop_epoch must lie between 1 and epochs"),
        (["teacher.train.stop_epoch=10000"], "stop_epoch must lie between 1 and epochs"),
    ],
)
def test_a_chain_that_makes_no_sense_is_refused_in_one_line(overrides: list[str], message: str):
    with pytest.raises(UnderstudyError, match=message) as refused:
        resolve_plan(load_config("digits", overrides))
    assert "\n" not in str(refused.value)


# -- whole runs ------------------------------------------------------------------------------------
# -----------------------


@pytest.mark.slow
def test_assistants_are_trained_measured_resumed_and_reported(images: Path, tmp_path: Path):
    config = config_for(
        images,
        train=QUICK,
        assistants=[
            {"model": OTHER, "train": {"epochs": 2}},
            {"model": {"name": "resnet8"}, "method": {"name": "at+kd"}},
        ],
        arms={"direct": {"name": "kd", "teacher": "teacher"}},
    )
    results = run(config, tmp_path / "run")
    arms = results.arms
    assert {arm: entry.taught_by for arm, entry in arms.items()} == {
        "teacher": None,
        "assistant1": "teacher",
        "assistant2": "assistant1",
        "baseline": None,
        "distilled": "assistant2",
        "direct": "teacher",
    }
    assert [len(entry.runs) for entry in arms.values()] == [1, 1, 1, 2, 2, 2]
    assert arms["assistant1"].runs[0].epochs == 2 and arms["assistant2"].model == "resnet8"
    assert arms["assistant1"].runs[0].test.agreement is not None
    assert [c.arm for c in results.comparisons] == ["distilled", "direct"]
    assert "assistant2" in write_report(tmp_path / "run").read_text()
    # Killed between two arms: what is missing is trained again, to the same bits, from the kept
    # assistants.
    (tmp_path / "run" / "results.json").unlink()
    for name in ("assistant2-seed0", "distilled-seed1"):
        (tmp_path / "run" / "arms" / name / "result.json").unlink()
        (tmp_path / "run" / "arms" / name / "checkpoint.pt").unlink()
    assert numbers(run(config, tmp_path / "run", resume=True)) == numbers(results)
    again = evaluate_run(tmp_path / "run", device="cpu")
    assert again["assistant1-seed0"].accuracy == arms["assistant1"].runs[0].test.accuracy


def test_an_ensemble_teaches_from_one_cache(images: Path, tmp_path: Path):
    config = config_for(
        images,
        train=QUICK,
        seeds=[0],
        teacher={"model": SMALL, "members": [{}, {"model": OTHER, "weight": 3}]},
        method={"name": "kd", "temperature": {"start": 4, "end": 1}},
        arms={"attention": {"name": "sp+kd"}, "hot": {"name": "kd", "temperature": 8}},
    )
    results = run(config, tmp_path / "run")
    arms = results.arms
    assert (
        list(arms)[:3] == ["teacher", "member1", "member2"] and arms["teacher"].method == "ensemble"
    )
    sizes = {arm: entry.size.parameters for arm, entry in arms.items()}
    assert sizes["teacher"] == sizes["member1"] + sizes["member2"]
    assert [arms[f"member{n + 1}"].runs[0].seed for n in range(2)] == [0, 1]
    (folder,) = [
        f for f in (tmp_path / "cache").iterdir() if f.is_dir()
    ]  # one cache for both members and both temperatures
    entry = inspect_cache(folder)
    assert entry["teachers"] == 2 and entry["filled"] > 0 and entry["damaged"] == 0
    assert verify_cache(folder, tmp_path / "run")["compared"] > 0
    assert build_cache(tmp_path / "run", cache=tmp_path / "cache")["labelled"] == 0
    again = evaluate_run(tmp_path / "run", device="cpu")
    assert again["teacher-seed0"].accuracy == arms["teacher"].runs[0].test.accuracy
    assert set(benchmark_run(tmp_path / "run")) == set(arms)
    # What is predicted is the weighted mean of what the members predict.
    logits = [
        np.load(tmp_path / "run" / "arms" / f"{n}" / "predictions.npz")["logits"].astype(np.float32)
        for n in ("member1-seed0", "member2-seed1", "teacher-seed0")
    ]
    first, second, mean = (torch.from_numpy(one).softmax(1) for one in logits)
    torch.testing.assert_close(mean, 0.25 * first + 0.75 * second, rtol=1e-2, atol=1e-3)


def test_the_cache_of_an_ensemble_is_exact_at_every_temperature(images: Path, tmp_path: Path):
    """One file of rows; the loss of the live members, to fp16, at whatever temperature asks."""
    from understudy.data.loader import TrainBatches
    from understudy.teachers.cached import cached_teacher

    config = config_for(
        images, train=QUICK, seeds=[0], teacher={"model": SMALL, "members": [{}, {"weight": 2}]}
    )
    train_arm(config, "teacher", 0, tmp_path / "run", device="cpu")
    data, _ = prepare_data(config.data)
    plan = resolve_plan(config)
    teacher = load_teacher(
        plan, plan.arm_run("distilled", 0), RunFolder(tmp_path / "run"), data, torch.device("cpu")
    )
    assert isinstance(teacher.model, Ensemble)
    batches = TrainBatches(data.train, data.config, 16, 0, torch.device("cpu"))
    kept = cached_teacher(teacher, data, batches, str(tmp_path / "cache"))
    views = batches.policy.epoch(0)
    kept.prepare(0, views)
    batch = next(batches.epoch(0, views))
    student = torch.randn(16, 3, generator=torch.Generator().manual_seed(0))
    live, stored = teacher.outputs(batch), kept.outputs(batch)
    for temperature in (1.0, 4.0, 20.0):
        mean = sum(
            s * (m.logits / temperature).softmax(1)
            for s, m in zip(teacher.model.weights, live.members, strict=True)
        )
        terms = [kd_loss(student, member.logits, temperature) for member in stored.members]
        entropy_gap = sum(
            s
            * (m.logits / temperature)
            .softmax(1)
            .mul((m.logits / temperature).log_softmax(1))
            .sum(1)
            for s, m in zip(teacher.model.weights, live.members, strict=True)
        ) - mean.mul(mean.log()).sum(
            1
        )  # what the student cannot change: mean KL minus KL with the mean
        of_the_mean = (
            kd_loss(student, temperature * mean.log(), temperature)
            + temperature**2 * entropy_gap.mean()
        )
        weighted = sum(s * t for s, t in zip(teacher.model.weights, terms, strict=True))
        torch.testing.assert_close(weighted, of_the_mean, rtol=1e-3, atol=1e-3)


def test_members_may_be_files(images: Path, tmp_path: Path):
    config = config_for(
        images, train=QUICK, seeds=[0], teacher={"model": SMALL, "members": [{}, {"model": OTHER}]}
    )
    train_arm(config, "teacher", 0, tmp_path / "first", device="cpu")
    files = [
        str(tmp_path / "first" / "models" / f"member{n}-seed{n - 1}.safetensors") for n in (1, 2)
    ]
    given = config_for(
        images,
        train=QUICK,
        seeds=[0],
        teacher={
            "model": SMALL,
            "min_accuracy": 0.0,
            "members": [{"path": files[0]}, {"model": OTHER, "path": files[1]}],
        },
    )
    result = train_arm(given, "teacher", 0, tmp_path / "second", device="cpu")
    assert result.method == "ensemble" and not list((tmp_path / "second").rglob("checkpoint.pt"))
    one, other = (
        load_file(tmp_path / run / "models" / "teacher-seed0.safetensors")
        for run in ("first", "second")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_born_again_runs_generation_after_generation(images: Path, tmp_path: Path):
    config = config_for(
        images,
        train=QUICK,
        teacher={"model": SMALL, "per_seed": True, "train": {"epochs": 2}},
        method={"name": "born_again", "generations": 2},
        arms={"again": {"name": "at+born_again", "born_again": {"generations": 1}}},
    )
    results = run(config, tmp_path / "run")
    arms = results.arms
    assert list(arms) == ["teacher", "baseline", "distilled-gen1", "distilled", "again"]
    assert (
        arms["distilled"].taught_by == "distilled-gen1"
        and arms["distilled-gen1"].taught_by == "teacher"
    )
    assert all(
        arms[arm].size.parameters == arms["teacher"].size.parameters for arm in list(arms)[2:]
    )
    assert all(run.epochs == 2 for arm in list(arms)[2:] for run in arms[arm].runs)
    compared = {
        c.arm: c.reference for c in results.comparisons
    }  # with the plain training of the same network
    assert compared == {"distilled-gen1": "teacher", "distilled": "teacher", "again": "teacher"}
    write_report(tmp_path / "run", figures=False)
    # Generations of one seed start from weights of their own, not from the teacher's.
    firsts = [
        load_file(tmp_path / "run" / "models" / f"{arm}-seed0.safetensors")
        for arm in ("teacher", "distilled-gen1")
    ]
    assert not all(
        torch.allclose(firsts[0][k].float(), firsts[1][k].float(), atol=0.1) for k in firsts[0]
    )


def test_a_baseline_of_the_born_again_network_is_its_reference(
    images: Path,
    tmp_path: Path,
):
    config = config_for(
        images,
        train=QUICK,
        seeds=[0],
        teacher={"model": SMALL},
        student={"model": SMALL},
        method={"name": "born_again", "generations": 1},
    )
    assert [c.reference for c in run(config, tmp_path / "run").comparisons] == ["baseline"]


def test_one_arm_alone_trains_all_that_it_needs_first(images: Path, tmp_path: Path):
    config = config_for(
        images,
        train=QUICK,
        assistants=[{"model": OTHER, "method": {"name": "kd"}}],
        method={"name": "born_again"},
    )
    train_arm(config, "distilled", 1, tmp_path / "run", device="cpu")
    assert {path.stem for path in (tmp_path / "run" / "models").glob("*")} == {
        "teacher-seed0",
        "assistant1-seed0",
        "distilled-gen1-seed1",
        "distilled-seed1",
    }
    data, _ = prepare_data(config.data)
    plan, folder = resolve_plan(config), RunFolder(tmp_path / "run")
    network = trained_network(plan, plan.arm_run("distilled", 1), folder, data)
    assert sum(p.numel() for p in network.parameters()) == sum(
        p.numel()
        for p in trained_network(plan, plan.arm_run("assistant1", 1), folder, data).parameters()
    )


def test_a_teacher_stopped_early_is_the_long_training_as_it_was_then(images: Path, tmp_path: Path):
    long = config_for(images, train={"epochs": 4, "batch_size": 16})
    short = config_for(
        images,
        train={"epochs": 4, "batch_size": 16},
        teacher=to_dict(long.teacher) | {"train": {"stop_epoch": 2}},
    )
    whole = train_arm(long, "teacher", 0, tmp_path / "long", device="cpu")
    stopped = train_arm(short, "teacher", 0, tmp_path / "short", device="cpu")
    assert (whole.epochs, stopped.epochs) == (4, 2)
    rows = [
        [
            line.split(",")[:9]
            for line in (tmp_path / name / "arms" / "teacher-seed0" / "history.csv")
            .read_text()
            .splitlines()
        ]
        for name in ("long", "short")
    ]
    assert (
        rows[0][:3] == rows[1] and len(rows[0]) == 5
    )  # learning rate, losses and accuracy, to the last digit


def to_dict(part: Any) -> dict[str, Any]:
    from understudy.config.recipe import to_mapping

    return to_mapping(part)


def test_several_levels_have_weights_of_their_own(images: Path, tmp_path: Path):
    config = config_for(
        images,
        train=QUICK,
        seeds=[0],
        teacher={"model": {"name": "resnet14"}},
        student={"model": {"name": "resnet8"}},
        method={"name": "at", "stages": [1, 2, 3], "stage_weights": [1, 0, 2]},
        arms={"one": {"name": "at", "stages": [1, 3], "stage_weights": [1, 2]}},
    )
    results = run(config, tmp_path / "run")
    one, other = (
        load_file(tmp_path / "run" / "models" / f"{arm}-seed0.safetensors")
        for arm in ("distilled", "one")
    )
    assert all(
        torch.equal(one[name], other[name]) for name in one
    )  # a level of weight 0 is a level left out
    assert json.loads((tmp_path / "run" / "results.json").read_text())["arms"][
        "distilled"
    ] == to_json(results.arms["distilled"])
