"""What every test shares: one thread, no screen, a cache folder of its own, and the browser that
pages are looked at with."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Before torch and matplotlib are imported. Test processes run side by side, one to a core.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["MPLBACKEND"] = "Agg"

import pytest

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
]
FLAGS += ["--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory):
    """Decoded images and teacher outputs of the tests stay out of the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDERSTUDY_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Started once for all tests of a worker."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed")
    with playwright.sync_playwright() as p:
        profile = tmp_path_factory.mktemp("profile")
        context = p.chromium.launch_persistent_context(
            str(profile),
            executable_path=str(CHROMIUM),
            headless=True,
            args=FLAGS,
            viewport={"width": 360, "height": 740},
        )
        yield context
        context.close()


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """The CPU, and a GPU where there is one: what runs there as well as here. On the GPU fp32 is
    fp32, not TF32."""
    import torch

    if request.param == "cuda":
        if not torch.cuda.is_available():
            pytest.skip("no GPU")
        monkeypatch.setattr(torch.backends.cudnn.conv, "fp32_precision", "ieee")
    return torch.device(request.param)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty training and thirty test images of three classes that differ by colour."""
    from tests.worlds import write_colours  # torch waits until a test needs it

    return write_colours(tmp_path_factory.mktemp("images") / "colours.npz")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that looks at a page in a browser is slow."""
    for item in items:
        if "chromium" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)
