"""A study that several machines share, in a real PostgreSQL on loopback: no trial twice, one of
them opens the test split."""

import contextlib
import glob
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("optuna")

from tests.sweep.small_sweep import diary_method, epochs_of, figures, small_config
from tests.worlds import write_colours

from understudy.sweep.driver import run_sweep
from understudy.sweep.results import read_sweep
from understudy.sweep.search import Search, make_search_spec
from understudy.sweep.space import make_space

pytestmark = pytest.mark.slow

SPACE = {"method.temperature": [1, 2, 4], "method.alpha": [0.5, 0.9]}


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """The URL of a fresh server of our own; nothing of it is left afterwards."""
    psycopg = pytest.importorskip("psycopg")
    programs = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))
    if not programs:
        pytest.skip("PostgreSQL is not installed: on Debian, apt-get install postgresql")
    programs_folder = Path(programs[-1]).parent
    folder = Path(tempfile.mkdtemp(prefix="understudy-postgresql-"))
    as_user: dict[str, Any] = {}
    if os.getuid() == 0:  # PostgreSQL does not run as root
        as_user = {"user": "nobody", "group": "nogroup", "extra_groups": []}
        shutil.chown(folder, "nobody", "nogroup")
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"LC_ALL": "C", "HOME": str(folder)}
    make = [
        programs_folder / "initdb",
        "-D",
        folder / "data",
        "-A",
        "trust",
        "-U",
        "sweeper",
        "-E",
        "UTF8",
        "--no-sync",
    ]
    subprocess.run(make, check=True, capture_output=True, cwd=folder, env=environment, **as_user)
    serve = [
        programs_folder / "postgres",
        "-D",
        folder / "data",
        "-h",
        "127.0.0.1",
        "-p",
        str(port),
        "-k",
        folder,
        "-F",
    ]
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen(
            serve, stdout=log, stderr=log, cwd=folder, env=environment, **as_user
        )
    try:
        deadline = time.monotonic() + 120
        while True:
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(f"host=127.0.0.1 port={port} user=sweeper dbname=postgres").close()
                break
            assert server.poll() is None and time.monotonic() < deadline, (
                folder / "log"
            ).read_text()
            time.sleep(0.1)
        yield f"postgresql+psycopg://sweeper@127.0.0.1:{port}/postgres"
    finally:
        server.terminate()
        try:
            server.wait(30)
        finally:
            server.kill()
        shutil.rmtree(folder, ignore_errors=True)


def without_gains(results: dict[str, Any]) -> list[Any]:
    """The trials' own figures: who did not begin the study may end before the baselines have."""
    return [(*trial[:4], *trial[5:]) for trial in figures(results)["trials"]]


def test_two_searches_take_turns_at_one_queue(database: str):
    plan = make_search_spec(make_space(SPACE), "grid", "none", None, 2)
    first, second = (Search(plan, database, "turns", {}, driver) for driver in ("first", "second"))
    assert (first.is_leader, second.is_leader) == (True, False)
    seen = []
    for search in [first, second] * 4:
        if taken := search.take():
            seen.append(taken.number)
            search.complete(taken, [{"seed": 0}], 0.5)
    assert sorted(seen) == list(range(6)) == [r.number for r in second.records()]
    assert first.left() == second.left() == 0
    first.close(), second.close()


def test_two_machines_share_a_sweep(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Two sweeps in folders of their own, at once: each trial is trained by one of them, both know
    all results."""
    images = write_colours(tmp_path / "colours.npz", contrast=60)
    config = small_config(images, method=diary_method(tmp_path / "diary"), seeds=[0])
    program = f"""
import sys
from pathlib import Path
import understudy.execution.wave as w
import understudy.sweep.driver as s
from tests.worlds import write_colours
from tests.sweep.small_sweep import diary_method, small_config
w.available_cores = lambda: [0]
method = diary_method(Path({str(tmp_path / "diary")!r}))
config = small_config(Path({str(images)!r}), method=method, seeds=[0])
s.run_sweep(config, {SPACE!r}, Path(sys.argv[1]), backend="sequential", device="cpu", workers=1,
            storage={database!r}, cache={str(tmp_path / "cache")!r})
"""
    root = Path(__file__).parents[2]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": f"{root}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
    }
    machines = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / name)],
            env=environment,
            stderr=subprocess.PIPE,
        )
        for name in ("one", "two")
    ]
    for machine in machines:
        _, said = machine.communicate(timeout=400)
        assert machine.returncode == 0, said.decode()[-4000:]
    both = [read_sweep(tmp_path / name) for name in ("one", "two")]
    one, two = (without_gains(result) for result in both)
    assert one == two
    assert [t.number for t in both[0].trials] == list(range(6))
    assert sum(result.final is not None for result in both) == 1, (
        "the one that made the study opens the test split"
    )
    diary = epochs_of(tmp_path / "diary")
    assert len(diary) == (6 + 1) * 2, (
        "six trials and the winner's final training, of two epochs each"
    )
    monkeypatch.setattr("understudy.execution.wave.available_cores", lambda: [0])
    alone = run_sweep(
        config,
        SPACE,
        tmp_path / "alone",
        backend="sequential",
        device="cpu",
        workers=1,
        cache=str(tmp_path / "cache"),
    )
    assert without_gains(alone) == one
