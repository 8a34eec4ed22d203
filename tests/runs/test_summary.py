"""A run's results: every figure computed again from the arms' own files, a teacher per seed."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy import stats
from tests.worlds import write_colours

from understudy.api import Teacher, distill
from understudy.config.schema import RunConfig, parse
from understudy.errors import UnderstudyError
from understudy.evaluation import paired_gain
from understudy.evaluation.gain import corrected
from understudy.evaluation.metrics import agreement, teacher_kl
from understudy.experiment import run_experiment, train_arm
from understudy.files import from_json, to_json
from understudy.methods.born_again import generation_seed
from understudy.runs.comparison import Comparison
from understudy.runs.folder import RunFolder, record_config
from understudy.runs.recompute import correct_in
from understudy.runs.remeasure import benchmark_run, evaluate_run
from understudy.runs.results import read_results

SEEDS = (3, 1)
ARMS = ("teacher", "baseline", "distilled", "soft")
SMALL = {"name": "fast_teacher", "options": {"widths": [8, 8, 8], "stem_width": 4}}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colours(tmp_path_factory.mktemp("images") / "colours.npz", contrast=25)


def recipe(images: Path | str, **changes: Any) -> RunConfig:
    values: dict[str, Any] = {
        "name": "colours",
        "data": {
            "source": "npz",
            "path": str(images),
            "val_fraction": 0.2,
            "augment": {"padding": 1},
        },
        "teacher": {"model": SMALL, "per_seed": True, "go_on": True},
        "student": {"model": {"name": "founding_student"}},
        "train": {"epochs": 3, "batch_size": 12, "lr": 1e-2, "precision": "fp32"},
        "method": {"name": "kd", "alpha": 0.9},
        "arms": {"soft": {"name": "kd", "temperature": 8}},
        "seeds": list(SEEDS),
        "benchmark": {"batch_sizes": [4, 1], "repeats": 2, "warmup": 0},
    }
    return parse(RunConfig, values | changes)


@pytest.fixture(scope="module")
def done(images: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("runs") / "run"
    cache = str(out.parent / "cache")
    results = run_experiment(recipe(images), out, device="cpu", workers=1, cache=cache)
    assert results == read_results(out)
    return out, json.loads((out / "results.json").read_text())


def result_of(out: Path, arm: str, seed: int) -> dict[str, Any]:
    return dict(json.loads((out / "arms" / f"{arm}-seed{seed}" / "result.json").read_text()))


def logits_of(out: Path, arm: str, seed: int, split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """What an arm predicted, and the labels."""
    path = (
        out / "arms" / f"{arm}-seed{seed}" / f"predictions{'' if split == 'test' else '-val'}.npz"
    )
    with np.load(path) as file:
        return torch.from_numpy(file["logits"].astype(np.float32)), torch.from_numpy(file["labels"])


def test_each_arm_has_the_results_of_its_seeds_in_their_order(done):
    out, results = done
    assert tuple(results["arms"]) == ARMS
    for arm, entry in results["arms"].items():
        assert [run["seed"] for run in entry["runs"]] == list(SEEDS)
        for run, seed in zip(entry["runs"], SEEDS, strict=True):
            own = result_of(out, arm, seed)
            assert run == {
                k: v for k, v in own.items() if k not in ("arm", "model", "method", "taught_by")
            }
            assert (entry["model"], entry["method"], entry["taught_by"]) == (
                own["model"],
                own["method"],
                own["taught_by"],
            )
    facts = {
        arm: (e["role"], e["part"], e["taught_by"], e["method"])
        for arm, e in results["arms"].items()
    }
    assert facts == {
        "teacher": ("teacher", "teacher", None, "ce"),
        "baseline": ("baseline", "baseline", None, "ce"),
        "distilled": ("distilled", "distilled", "teacher", "kd"),
        "soft": ("extra", "extra", "teacher", "kd"),
    }


def test_teachers_come_first_then_baselines_then_each_seeds_taught_students(done):
    ended = sorted(done[0].glob("arms/*/result.json"), key=lambda path: path.stat().st_mtime_ns)
    plain = [f"baseline-seed{seed}" for seed in SEEDS]
    taught = [f"{arm}-seed{seed}" for seed in SEEDS for arm in ARMS[1:] if arm != "baseline"]
    names = [path.parent.name for path in ended]
    assert names == ["teacher-seed3", "teacher-seed1", *plain, *taught]


def test_the_figures_of_a_split_are_those_of_its_predictions(done):
    out, results = done
    for arm in ARMS:
        for run, seed in zip(results["arms"][arm]["runs"], SEEDS, strict=True):
            for split, count in (("val", 12), ("test", 30)):
                logits, labels = logits_of(out, arm, seed, split)
                assert len(labels) == count
                assert run[split]["accuracy"] == pytest.approx(
                    np.mean(logits.argmax(1).numpy() == labels.numpy())
                )


def test_each_student_is_compared_with_the_teacher_of_its_own_seed(done):
    out, results = done
    told_apart = 0
    for arm in ARMS[1:]:
        for run, seed, other in zip(results["arms"][arm]["runs"], SEEDS, SEEDS[::-1], strict=True):
            for split in ("val", "test"):
                ours, theirs = (logits_of(out, name, seed, split)[0] for name in (arm, "teacher"))
                assert run[split]["agreement"] == pytest.approx(
                    agreement(ours, theirs), abs=0.04
                )  # kept as fp16
                assert run[split]["teacher_kl"] == pytest.approx(
                    teacher_kl(ours, theirs), rel=5e-3, abs=1e-3
                )
                others = logits_of(out, "teacher", other, split)[0]
                told_apart += teacher_kl(ours, others) != pytest.approx(
                    teacher_kl(ours, theirs), rel=3e-2
                )
    assert told_apart > 6, "else another seed's teacher would do as well"
    for run in results["arms"]["teacher"]["runs"]:
        assert run["test"]["agreement"] is None and run["test"]["teacher_kl"] is None


def test_summaries_are_mean_and_sample_deviation_over_the_seeds(done):
    for arm, entry in done[1]["arms"].items():
        assert set(entry["summary"]) == {
            "accuracy",
            "nll",
            "ece",
            "agreement",
            "teacher_kl",
            "balanced_accuracy",
            "macro_f1",
        }
        for key, summary in entry["summary"].items():
            values = [run["test"][key] for run in entry["runs"]]
            if arm == "teacher" and key in ("agreement", "teacher_kl"):
                assert summary is None
                continue
            assert summary["mean"] == pytest.approx(np.mean(values)) and summary["n"] == 2
            assert summary["std"] == pytest.approx(np.std(values, ddof=1))


def test_comparisons_with_the_baseline_are_paired_by_seed(done):
    out, results = done
    assert [(c["arm"], c["reference"], c["metric"]) for c in results["comparisons"]] == [
        ("distilled", "baseline", "accuracy"),
        ("soft", "baseline", "accuracy"),
    ]
    for comparison in results["comparisons"]:
        ours, plain = (
            [result_of(out, arm, seed)["test"]["accuracy"] for seed in SEEDS]
            for arm in (comparison["arm"], "baseline")
        )
        gains = np.subtract(ours, plain)
        assert comparison["gains"] == pytest.approx(gains) and comparison["mean"] == pytest.approx(
            gains.mean()
        )
        if gains.std() > 0:
            low, high = stats.t.interval(0.95, 1, gains.mean(), stats.sem(gains))
            alone = comparison["over_seeds"]
            assert (alone["low"], alone["high"]) == pytest.approx((low, high))
            assert comparison["low"] <= low and comparison["high"] >= high, "the wider of both"
        subject = "distillation" if comparison["arm"] == "distilled" else "soft"
        assert subject in comparison["verdict"] and "(against" not in comparison["verdict"]


def test_comparisons_are_those_of_the_predicted_images(done):
    """What ``results.json`` proves is what the files of predictions show."""
    out, results = done

    def correct(arm):
        return np.array(
            [correct_in(out / "arms" / f"{arm}-seed{seed}" / "predictions.npz") for seed in SEEDS]
        )

    found = [paired_gain(correct(arm), correct("baseline")) for arm in ("distilled", "soft")]
    for gain, comparison in zip(corrected(found), results["comparisons"], strict=True):
        assert from_json(Comparison, comparison, "here", "").gain == gain
        assert gain.num_compared == 2 and gain.images == results["data"]["num_test"]
        assert f"over 2 seeds and {gain.images} test images" in comparison["verdict"]


def test_size_and_efficiency_follow_from_weights_and_latency(done):
    out, results = done
    sizes = {}
    for arm, entry in results["arms"].items():
        path = out / "models" / f"{arm}-seed{SEEDS[0]}.safetensors"
        tensors = load_file(path).values()
        sizes[arm] = sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 2**20
        assert (
            entry["size"]["size_mb"] == pytest.approx(sizes[arm])
            and entry["size"]["file_bytes"] == path.stat().st_size
        )
        assert entry["size"]["parameters"] + entry["size"]["buffers"] == sum(
            tensor.numel() for tensor in tensors
        )
    assert sizes["teacher"] != sizes["baseline"]
    for arm, entry in results["arms"].items():
        assert entry["compression"] == pytest.approx(sizes["teacher"] / sizes[arm]), (
            "how many times smaller than the teacher"
        )
        percent = 100 * np.mean([run["test"]["accuracy"] for run in entry["runs"]])
        milliseconds = entry["latency"]["4"][
            "median_ms"
        ]  # of the largest batch, which is not the last one
        assert entry["efficiency"] == pytest.approx(
            {
                "accuracy_per_ms": percent / milliseconds,
                "accuracy_per_ms_mb": percent / (milliseconds * sizes[arm]),
            }
        )


def test_the_runs_history_is_that_of_every_arm_and_seed(done):
    out, _ = done
    rows = list(csv.DictReader((out / "history.csv").read_text().splitlines()))
    expected = []
    for arm in ARMS:
        for seed in SEEDS:
            expected += csv.DictReader(
                (out / "arms" / f"{arm}-seed{seed}" / "history.csv").read_text().splitlines()
            )
    assert len(rows) == len(ARMS) * len(SEEDS) * 3 == len(expected)
    assert [(row["arm"], row["seed"], row["epoch"]) for row in rows] == [
        (arm, str(seed), str(epoch)) for arm in ARMS for seed in SEEDS for epoch in range(3)
    ]
    assert rows == [dict.fromkeys(rows[0], "") | row for row in expected]
    for row in rows:
        assert (row["train_kd"] != "") == (row["arm"] in ("distilled", "soft"))


def test_the_best_epoch_is_read_off_the_history(done):
    out, results = done
    for arm in ARMS:
        for run, seed in zip(results["arms"][arm]["runs"], SEEDS, strict=True):
            rows = list(
                csv.DictReader(
                    (out / "arms" / f"{arm}-seed{seed}" / "history.csv").read_text().splitlines()
                )
            )
            accuracies = [float(row["val_accuracy"]) for row in rows]
            assert run["best_epoch"] == int(np.argmax(accuracies)) and run[
                "best_val_accuracy"
            ] == max(accuracies)
            assert accuracies[-1] == run["val"]["accuracy"], "the last epoch's weights are kept"
            assert run["epochs"] == 3
            assert run["images_per_second"] == pytest.approx(
                np.median([float(row["images_per_second"]) for row in rows])
            )
            assert run["label_seconds"] == pytest.approx(
                sum(float(row["label_seconds"]) for row in rows)
            )
            assert run["seconds"] > sum(
                float(row["seconds"]) + float(row["label_seconds"]) for row in rows
            )


def test_the_record_says_what_was_run(done, images: Path):
    out, results = done
    assert results["name"] == "colours" and results["config"]["seeds"] == list(SEEDS)
    data = results["data"]
    assert (data["num_train"], data["num_val"], data["num_test"], data["num_classes"]) == (
        48,
        12,
        30,
        3,
    )
    assert data["image_shape"] == [3, 16, 16] and len(data["class_names"]) == 3
    assert (results["latency_conditions"]["threads"], results["latency_conditions"]["repeats"]) == (
        1,
        2,
    )
    assert (results["environment"]["workers"], results["environment"]["precision"]) == (1, "fp32")
    seconds = results["seconds"]
    assert (
        seconds["total"] >= seconds["teacher"] + seconds["students"] and min(seconds.values()) > 0
    )
    trained = {
        part: sum(run["seconds"] for arm in arms for run in results["arms"][arm]["runs"])
        for part, arms in (("teacher", ARMS[:1]), ("students", ARMS[1:]))
    }
    assert all(seconds[part] >= trained[part] for part in trained), "one after the other"
    kept = json.loads((out / "environment.json").read_text())
    assert kept == results["environment"] | {"command": "", "created": results["created"]}


def test_measuring_the_kept_weights_again_gives_the_results_figures(done):
    """Accuracy and loss to the digit; agreement with the teacher, saved in fp16, to rounding."""
    out, results = done
    again = to_json(evaluate_run(out, device="cpu"))
    assert set(again) == {f"{arm}-seed{seed}" for arm in ARMS for seed in SEEDS}
    for arm in ARMS:
        for run in results["arms"][arm]["runs"]:
            found, tested = again[f"{arm}-seed{run['seed']}"], run["test"]
            assert (found["accuracy"], found["per_class"]) == (
                tested["accuracy"],
                tested["per_class"],
            )
            assert (found["nll"], found["ece"]) == pytest.approx(
                (tested["nll"], tested["ece"]), rel=1e-5
            )
            if arm == "teacher":
                assert found["agreement"] is None and found["teacher_kl"] is None
            else:
                assert found["agreement"] == pytest.approx(tested["agreement"], abs=0.04)
                assert found["teacher_kl"] == pytest.approx(
                    tested["teacher_kl"], rel=5e-3, abs=1e-3
                )
    alone = to_json(evaluate_run(out / "models" / "distilled-seed1.safetensors", device="cpu"))
    assert list(alone) == ["distilled-seed1"] and alone["distilled-seed1"]["agreement"] is None, (
        "there is no teacher in one file"
    )
    assert alone["distilled-seed1"]["nll"] == again["distilled-seed1"]["nll"]


def test_measuring_again_may_read_the_images_from_elsewhere(done, images: Path, tmp_path: Path):
    shutil.copytree(done[0], tmp_path / "run")
    path = tmp_path / "run" / "config.yaml"
    path.write_text(path.read_text().replace(str(images), str(tmp_path / "gone.npz")))
    again = evaluate_run(
        tmp_path / "run" / "models" / "soft-seed3.safetensors", data=str(images), device="cpu"
    )
    assert again["soft-seed3"].accuracy == done[1]["arms"]["soft"]["runs"][0]["test"]["accuracy"]


def test_a_new_benchmark_replaces_its_own_old_figures_only(done, tmp_path: Path):
    out, results = done
    shutil.copytree(out, tmp_path / "run")
    stale = json.loads((out / "results.json").read_text())
    for entry in stale["arms"].values():
        entry |= {"latency": {}, "size": None, "efficiency": None}
    (tmp_path / "run" / "results.json").write_text(json.dumps(stale))
    measured = to_json(benchmark_run(tmp_path / "run", threads=2))
    after = json.loads((tmp_path / "run" / "results.json").read_text())
    assert after["latency_conditions"]["threads"] == 2
    for arm, entry in after["arms"].items():
        old = results["arms"][arm]
        assert (
            entry["size"] == measured[arm]["size"] == old["size"]
            and entry["latency"] == measured[arm]["latency"]
        )
        assert set(entry["latency"]) == {"1", "4"}
        percent, milliseconds = (
            100 * old["summary"]["accuracy"]["mean"],
            entry["latency"]["4"]["median_ms"],
        )
        assert entry["efficiency"]["accuracy_per_ms"] == pytest.approx(percent / milliseconds)
        assert entry["efficiency"]["accuracy_per_ms_mb"] == pytest.approx(
            percent / milliseconds / entry["size"]["size_mb"]
        )
        ratio = after["arms"]["teacher"]["size"]["size_mb"] / entry["size"]["size_mb"]
        assert entry["compression"] == pytest.approx(ratio)
        assert entry["runs"] == old["runs"] and entry["summary"] == old["summary"]


# -- resuming --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "differing"),
    [
        ({"name": "other"}, "name"),
        ({"method": {"name": "kd", "alpha": 0.8}}, r"method\.alpha"),
        ({"method": {"name": "kd", "alpha": 0.9, "temperature": 2}}, r"method\.temperature"),
        (
            {"teacher": {"model": SMALL, "per_seed": True, "path": "t.safetensors"}},
            r"teacher\.path",
        ),
        ({"student": {"model": {"name": "resnet8"}}}, r"student\.model\.name"),
        ({"arms": {}}, r"arms\.soft"),
        (
            {"train": {"epochs": 3, "batch_size": 13, "lr": 2e-2, "precision": "fp32"}},
            r"train\.batch_size, train\.lr",
        ),
    ],
)
def test_another_run_is_not_resumed(tmp_path: Path, changes: dict[str, Any], differing: str):
    record_config(recipe("a.npz"), RunFolder(tmp_path), resume=False)
    before = (tmp_path / "config.yaml").read_text()
    with pytest.raises(
        UnderstudyError,
        match=rf"^cannot resume .*: {differing} differ from its config\.yaml; give another",
    ):
        record_config(recipe("a.npz", **changes), RunFolder(tmp_path), resume=True)
    assert (tmp_path / "config.yaml").read_text() == before


def test_more_seeds_and_moved_data_are_the_same_run(tmp_path: Path):
    record_config(recipe("a.npz"), RunFolder(tmp_path), resume=False)
    record_config(recipe("b.npz", seeds=[3, 1, 7]), RunFolder(tmp_path), resume=True)
    text = (tmp_path / "config.yaml").read_text()
    assert "path: b.npz" in text and "- 7" in text, "the new ones are written down"
    record_config(recipe("b.npz", name="other"), RunFolder(tmp_path), resume=False)
    assert "name: other" in (tmp_path / "config.yaml").read_text()


def test_one_arm_is_not_trained_into_another_run(done, images: Path, tmp_path: Path):
    record_config(recipe(images), RunFolder(tmp_path / "run"), resume=False)
    with pytest.raises(
        UnderstudyError, match="holds a run of another configuration: give another --out"
    ):
        train_arm(recipe(images, name="other"), "baseline", 3, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run" / "arms").exists()


# -- born again ------------------------------------------------------------------------------------


def test_each_generation_of_a_run_is_taught_by_the_one_before_it(images: Path, tmp_path: Path):
    """The same chain built by hand from single generations ends with the same bits."""
    from understudy.data.prepare import prepare_data
    from understudy.models import build_model

    config = recipe(
        images,
        teacher={"model": SMALL, "outputs": "live"},
        method={"name": "born_again", "generations": 3, "alpha": 0.8},
        train={"epochs": 2, "batch_size": 12, "lr": 1e-2, "precision": "fp32"},
    )
    out = tmp_path / "run"
    train_arm(config, "distilled", 3, out, device="cpu")
    data, _ = prepare_data(config.data)

    def network() -> Any:
        return build_model(SMALL["name"], 3, in_channels=3, image_size=16, options=SMALL["options"])

    teacher = network()
    teacher.load_state_dict(load_file(out / "models" / "teacher-seed0.safetensors"))
    chain: list[dict[str, torch.Tensor]] = []
    for generation, arm in enumerate(("distilled-gen1", "distilled-gen2", "distilled"), 1):
        torch.manual_seed(generation_seed(3, generation))
        single = {"name": "born_again", "generations": 1, "alpha": 0.8}
        known = Teacher(teacher, data.config.mean, data.config.std, min_accuracy=0.0)
        taught = distill(
            known, network(), data, single, config.train, seed=3, device="cpu", outputs="live"
        )
        kept, teacher = load_file(out / "models" / f"{arm}-seed3.safetensors"), taught.network
        chain.append({name: value.clone() for name, value in teacher.state_dict().items()})
        assert all(torch.equal(kept[name], value) for name, value in chain[-1].items()), arm
        assert result_of(out, arm, 3)["taught_by"] == (
            "teacher" if generation == 1 else f"distilled-gen{generation - 1}"
        )
    assert not all(torch.equal(chain[1][name], chain[2][name]) for name in chain[1])
