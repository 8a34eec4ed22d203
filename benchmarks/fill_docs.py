"""Put the tables of the benchmarks' JSON files between the markers of docs/performance.md.

``python benchmarks/fill_docs.py FOLDER`` reads ``FOLDER/NAME.json`` for each ``<!-- measured: NAME
-->`` and replaces what
stands between it and the next ``<!-- end -->``. A marker without a file keeps what it has.
"""

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
_MARKED = re.compile(r"<!-- measured: (\w+) -->\n(.*?)<!-- end -->", re.DOTALL)


def as_markdown(result: Mapping[str, Any]) -> str:
    """A result's table, its ratios, and what it was measured on."""
    columns, rows = result["table"]["columns"], result["table"]["rows"]
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    ratios = result.get("ratios", {"ratio": result.get("ratio")})
    hardware, versions = result["hardware"], result["versions"]
    text = "\n".join("| " + " | ".join(row) + " |" for row in lines)
    text += f"\n\n{result['meaning'][0].upper()}{result['meaning'][1:]}: "
    text += ", ".join(f"{name} **{value:.3f}**" for name, value in ratios.items()) + ".\n"
    return text + (
        f"`{result['command']}` on {hardware['cpu']}, {hardware['cores']} cores, "
        f"torch {versions['torch']}, "
        f"load {result['settings']['load_average_before']:.1f} before it.\n"
    )


def fill(text: str, results: Mapping[str, Mapping[str, Any]]) -> str:
    """The document with every marked place filled for which there is a result."""

    def replace(match: re.Match[str]) -> str:
        name = match[1]
        body = as_markdown(results[name]) if name in results else match[2]
        return f"<!-- measured: {name} -->\n{body}<!-- end -->"

    return _MARKED.sub(replace, text)


def main() -> None:
    """Fill docs/performance.md from the folder named on the command line."""
    if len(sys.argv) != 2:
        sys.exit("usage: python benchmarks/fill_docs.py FOLDER")
    results = {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in Path(sys.argv[1]).glob("*.json")
    }
    DOCUMENT.write_text(fill(DOCUMENT.read_text(encoding="utf-8"), results), encoding="utf-8")
    print(f"filled {DOCUMENT} from {', '.join(sorted(results)) or 'nothing'}")


if __name__ == "__main__":
    main()
