"""Each benchmark runs, at its tiniest, and writes the JSON file that others read. No figure is
judged here."""

import functools
import importlib
import json
import sys
import tarfile
from pathlib import Path

import pytest
import torch
from tests.evaluation.example_deploy_results import RESULTS
from tests.worlds import write_colours

from understudy.errors import UnderstudyError
from understudy.evaluation.latency import count_macs
from understudy.methods import METHODS
from understudy.models import build_model
from understudy.models.students import KnownStudent

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
RATIOS = {
    "backends": {"fused, live"},
    "deploy": {"torch_1_over_teacher", "torch_2_over_teacher"},
    "distilled_epoch": {"cached", "live", "cached_resnet", "live_resnet", "first_over_live"},
    "end_to_end": None,
    "fused": {
        f"{name} 2"
        for name in (
            "interleaved",
            "stacked fp32",
            "stacked bf16",
            "vmap fp32",
            "interleaved, live",
        )
    },
    "inference": {
        f"{n}_{b}_{w}"
        for n in ("student", "teacher")
        for b in (1, 2)
        for w in ("channels_last", "bf16")
    },
    "limit": None,
    "method_costs": set(METHODS) - {"ce"},
    "norm_relu": {
        f"{p} {m}"
        for p in ("bf16", "fp32")
        for m in ("stage 1, pool", "stage 2, pool", "stage 3, pool", "stage 4", "resnet20, sum")
    },
    "photos": {"first pass", "distilled epoch"},
    "plain_epoch": {"plain", "distilled"},
    "scaling": None,
    "startup": None,
    "step_overhead": None,
}
"""Benchmark -> the names of its ratios; ``None`` for a single one."""


@pytest.fixture(autouse=True)
def benchmarks_importable(monkeypatch: pytest.MonkeyPatch):
    """Their folder is on the path, as it is when one is run as a script; labelling does not fill up
    its batches to 512."""
    monkeypatch.setattr("understudy.teachers.cached._BATCH", 8)
    monkeypatch.syspath_prepend(str(FOLDER))
    yield
    for name in [
        name
        for name, module in sys.modules.items()
        if str(FOLDER) in str(getattr(module, "__file__", ""))
    ]:
        del sys.modules[name]


@pytest.mark.parametrize("name", RATIOS)
def test_json_holds_ratios_samples_hardware_and_versions(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    importlib.import_module(name).main(["--tiny", "--json", str(tmp_path / "out.json")])
    result = json.loads((tmp_path / "out.json").read_text())
    names = RATIOS[name]
    ratios = {"ratio": result["ratio"]} if names is None else result["ratios"]
    assert set(ratios) == (names or {"ratio"})
    assert all(isinstance(value, float) and value > 0 for value in ratios.values())
    assert result["samples"] and all(seconds for seconds in result["samples"].values())
    assert all(isinstance(s, float) for seconds in result["samples"].values() for s in seconds)
    assert result["hardware"]["cores"] >= 1 and {"python", "torch", "understudy"} <= set(
        result["versions"]
    )
    assert result["command"].startswith(f"python benchmarks/{name}.py --tiny")
    assert result["settings"]["data"] == "generated"
    assert all(len(row) == len(result["table"]["columns"]) for row in result["table"]["rows"])
    assert capsys.readouterr().out


def test_every_benchmark_is_tested_and_named_in_the_documents() -> None:
    shared = {"fill_docs", "harness", "on_gpu", "our_loop", "usual_loop", "worker_process"}
    others = {"students"}  # a table of accuracies, not of times
    assert {path.stem for path in FOLDER.glob("*.py")} - shared - others == set(RATIOS)
    assert "students.py" in (FOLDER / "README.md").read_text()
    performance = (FOLDER.parent / "docs" / "performance.md").read_text()
    for name in RATIOS:
        assert f"{name}.py" in (FOLDER / "README.md").read_text()
        assert f"<!-- measured: {name} -->" in performance


def test_the_table_of_students_goes_on_from_what_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, out = importlib.import_module("students"), tmp_path / "students.json"
    table = script.main(["--tiny", "--out", str(out)])
    assert all(set(entry.accuracy) == {"0", "1"} for entry in table.students)
    content = json.loads(out.read_text())
    del content["students"][1]["accuracy"]["0"]
    out.write_text(json.dumps(content))
    trained: list[tuple[str, int]] = []

    def train(student: KnownStudent, seed: int, *_: object) -> float:
        trained.append((student.name, seed))
        return 0.25

    monkeypatch.setattr(script, "train", train)
    again = script.main(["--tiny", "--out", str(out)])
    assert trained == [(table.students[1].name, 0)]
    assert again.students[1].accuracy["0"] == 0.25 and again.students[0] == table.students[0]
    out.write_text(out.read_text().replace('"epochs": 1', '"epochs": 2'))
    with pytest.raises(UnderstudyError, match="was measured with another train"):
        script.main(["--tiny", "--out", str(out)])


@pytest.mark.slow
def test_script_for_a_gpu_goes_on_after_a_failed_stage(tmp_path: Path) -> None:
    """On the CPU with tiny settings: one stage is out of time at once, the others leave what they
    should."""
    on_gpu, out, work = importlib.import_module("on_gpu"), tmp_path / "out", tmp_path / "work"
    images = write_colours(tmp_path / "colours.npz")
    options = [
        "--device",
        "cpu",
        "--tiny",
        "--out",
        str(out),
        "--work",
        str(work),
        "--data",
        str(images),
    ]
    found = on_gpu.main([*options, "--limits", "fused=0.01"])
    assert {name: stage["ended"] for name, stage in found.items()} == {
        "environment": "ok",
        "tests": "ok",
        "fused": "stopped after 0 seconds",
        "sweep": "ok",
    }
    assert json.loads((out / "on_gpu.json").read_text()) == found
    assert (
        '"torch"' in (out / "environment.log").read_text()
        and " passed" in (out / "tests.log").read_text()
    )
    assert found["sweep"]["trials_complete"] == 2 and found["sweep"]["final"] is not None
    with tarfile.open(out / "sweep.tar.gz") as archive:
        names = archive.getnames()
    assert {"sweep/results.json", "sweep/models/teacher-seed0.safetensors"} <= set(names)
    assert not [
        name
        for name in names
        if name.endswith(".pt") or ("trials" in name and name.endswith(".safetensors"))
    ]
    again = on_gpu.main(
        [*options, "--stages", "environment"]
    )  # one stage again; of the others the news stay
    assert again["environment"]["ended"] == "ok" and again["sweep"] == found["sweep"]
    assert len(list(out.iterdir())) <= 8


def test_the_script_for_a_gpu_knows_every_test_that_runs_on_one() -> None:
    folder = Path(__file__).parent
    marked = ("device: torch.device", "pytest.mark.cuda")
    files = [
        path
        for path in folder.rglob("test_*.py")
        if any(mark in path.read_text() for mark in marked)
    ]
    found = {path.relative_to(folder).as_posix() for path in files if path != Path(__file__)}
    assert found == set(importlib.import_module("on_gpu").TESTS)


def test_contenders_take_turns_in_alternating_order() -> None:
    harness = importlib.import_module("harness")
    called: list[str] = []

    def contender(name: str) -> float:
        called.append(name)
        return float(len(called))

    samples = harness.alternate(
        {"a": functools.partial(contender, "a"), "b": functools.partial(contender, "b")}, rounds=2
    )
    assert called == ["a", "b", "b", "a", "a", "b"]
    assert samples == {"a": [4.0, 5.0], "b": [3.0, 6.0]}  # the first round only warms up
    assert harness.ratio(samples, "a", "b") == (4 / 3 + 5 / 6) / 2
    assert harness.summarise([1.0, 2.0, 3.0, 4.0, 5.0]) == {"median": 3.0, "q1": 2.0, "q3": 4.0}


def test_worker_measures_in_a_process_of_its_own() -> None:
    worker_process = importlib.import_module("worker_process")
    worker = worker_process.Worker(
        functools.partial, max, 1.0, environment=worker_process.ONE_THREAD
    )  # measure = max(1.0, ...)
    for message in (3.0, 4.0):
        worker.start(message)
        assert worker.result() == message
    worker.close()
    assert worker.process.exitcode == 0


def test_limit_counts_what_the_flop_counter_counts() -> None:
    limit = importlib.import_module("limit")
    model = build_model("founding_student", 10)
    flops = sum(f for f, _ in limit.arithmetic(model, batch_size=2).values())
    macs = count_macs(model, (3, 32, 32))
    images_gradient = (
        32 * 32 * 16 * 27
    )  # the one product that is not needed: the first layer's, by the images
    assert flops == 2 * 2 * (3 * macs - images_gradient)


def test_limit_counts_bytes_and_products_in_the_precision_of_a_run() -> None:
    limit, our_loop = (importlib.import_module(name) for name in ("limit", "our_loop"))
    assert (limit.DTYPE is torch.bfloat16) == (our_loop.PRECISION == "bf16")
    model = build_model("founding_student", 10)
    (_, moved), *_ = limit.arithmetic(model, batch_size=2).values()
    assert moved == 2 * limit.DTYPE.itemsize * 2 * 32 * 32 * (3 + 16), "2 images, 2 products"


def test_limit_of_a_layer_is_the_slower_of_computing_and_moving() -> None:
    limit = importlib.import_module("limit")
    assert limit.least_seconds({"a": (10.0, 1.0), "b": (1.0, 8.0)}, 2.0, 4.0) == 5.0 + 2.0


def test_limit_that_is_beaten_ends_the_program() -> None:
    limit = importlib.import_module("limit")
    limit.require_limit(0.002, 0.001)
    with pytest.raises(SystemExit, match=r"less than its limit of 2\.00 ms"):
        limit.require_limit(0.001, 0.002)


def test_documents_are_filled_between_the_markers_only() -> None:
    fill_docs = importlib.import_module("fill_docs")
    result = {
        "ratio": 1.25,
        "meaning": "ours over theirs",
        "table": {"columns": ["loop", "ms"], "rows": [["ours", "5"]]},
        "hardware": {"cpu": "a CPU", "cores": 2},
        "versions": {"torch": "2"},
        "settings": {"load_average_before": 0.0},
        "command": "python benchmarks/one.py",
    }
    text = (
        "before\n<!-- measured: one -->\nold\n<!-- end -->\nbetween\n"
        "<!-- measured: two -->\nkept\n<!-- end -->\nafter\n"
    )
    filled = fill_docs.fill(text, {"one": result})
    assert (
        "| loop | ms |\n| --- | ---: |\n| ours | 5 |" in filled
        and "ratio **1.250**" in filled
        and "old" not in filled
    )
    assert (
        filled.startswith("before\n")
        and "between\n<!-- measured: two -->\nkept\n<!-- end -->\nafter\n" in filled
    )
    assert fill_docs.fill(filled, {"one": result}) == filled


def test_deployed_pair_must_reach_what_is_written_down() -> None:
    deploy = importlib.import_module("deploy")
    files = [{"format": "c", "bytes": 500_000}]  # a folder of text: its constants count
    exported = {"seconds": 61.0, "files": files, "c": {"constant_bytes": 120_000}}
    found = {line["what"]: line["reached"] for line in deploy.goals(RESULTS, exported)}
    assert found == {
        "onnx-int8, bytes of the student": False,
        "c, bytes of the student": True,
        "onnx, batch 1, teacher / student": True,
        "onnx, batch 128, teacher / student": True,
        "onnx-int8, batch 1, teacher / student": False,
        "onnx-int8, batch 128, teacher / student": True,
        "export of all formats, seconds": False,
    }
