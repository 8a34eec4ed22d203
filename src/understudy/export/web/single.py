"""The page as one file that needs no server."""

from collections.abc import Sequence
from pathlib import Path

from understudy.export.deployable import Deployable
from understudy.export.web.page import SCRIPTS, WEIGHTS, Page, asset, dumped, html, page_of
from understudy.export.web.samples import Sample
from understudy.export.web.weights import deflated, planes
from understudy.files import write_bytes


def write(deployable: Deployable, out: Path, samples: Sequence[Sample] = ()) -> None:
    """Write the file ``out``, atomically.

    Args:
        deployable: the student.
        out: the HTML file.
        samples: images on which it and its teacher differ.

    Raises:
        UnderstudyError: if the student has an operation that the page's kernels lack, and
            onnxruntime-web is not installed.
    """
    page = page_of(deployable, "web-single", samples)
    inline = {
        "style": _unescaped(asset("style.css")),
        "scripts": {name: _unescaped(asset(f"{name}.js")) for name in SCRIPTS},
        "data": {name: _data(text) for name, text in _texts(page).items()},
    }
    write_bytes(out, html(page, inline).encode())


def _texts(page: Page) -> dict[str, str]:
    binaries = {
        name: deflated(planes(content) if name == WEIGHTS else content)
        for name, content in page.binaries.items()
    }
    return page.data() | {name: dumped(text) for name, text in binaries.items()}


def _data(text: str) -> str:
    """JSON that ends no element of the page: a name may contain ``</script>``."""
    return _unescaped(text.replace("<", "\\u003c"))


def _unescaped(text: str) -> str:
    from markupsafe import Markup

    assert "</" not in text
    return Markup(text)  # noqa: S704
