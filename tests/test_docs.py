"""The documentation says what the code says."""

import re
import runpy
from pathlib import Path

from understudy.cli import app
from understudy.config.recipe import recipe_names

ROOT = Path(__file__).parents[1]


def test_the_methods_page_is_what_the_docstrings_say():
    written = runpy.run_path(str(ROOT / "docs" / "write_methods.py"))
    assert (ROOT / "docs" / "methods.md").read_text(encoding="utf-8") == written["page"](), (
        "run python docs/write_methods.py"
    )


def test_links_between_documents_lead_somewhere():
    for document in [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "results").rglob("*.md"),
    ]:
        for target in re.findall(
            r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8")
        ):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_commands_in_the_readme_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = set(re.findall(r"^\$ understudy (\w+)", text, re.MULTILINE))
    assert commands and commands <= {
        name for names in app for name in ([names] if isinstance(names, str) else names)
    }
    assert set(re.findall(r"^\$ understudy run ([\w-]+)", text, re.MULTILINE)) <= set(
        recipe_names()
    )
