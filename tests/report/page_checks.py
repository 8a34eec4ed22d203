"""What the page of every report must be: well-formed, and readable on a phone, light and dark."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

VOID = {"meta", "link", "br", "img", "hr", "input"}


class Elements(HTMLParser):
    """Start tags with their attributes; fails where tags do not nest."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes nothing"


def check_on_a_phone(page: Path, chromium: Any, scheme: str) -> None:
    """No console message, request or scrolling sideways, and readable text, at 360 pixels."""
    tab = chromium.new_page()
    tab.emulate_media(color_scheme=scheme)
    messages: list[str] = []
    requests: list[str] = []
    tab.on("console", lambda message: messages.append(message.text))
    tab.on("pageerror", lambda error: messages.append(str(error)))
    tab.on("dialog", lambda dialog: messages.append(dialog.message))
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto(page.as_uri())
    assert messages == []
    assert requests == [page.as_uri()]
    assert tab.evaluate("innerWidth") == 360
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    # Text, in the page and in the figures, stands out from what is behind it (WCAG: 4.5 to 1).
    colours = tab.evaluate(
        "[['figure svg', 'color'], ['figure', 'backgroundColor'], ['figcaption', 'color']]"
        ".map(([selector, property]) =>"
        " getComputedStyle(document.querySelector(selector))[property])"
    )
    ink, card, soft = (_luminance(colour) for colour in colours)
    assert (ink > card) == (scheme == "dark")
    for text in (ink, soft):
        assert (max(text, card) + 0.05) / (min(text, card) + 0.05) >= 4.5
    tab.close()


def _luminance(colour: str) -> float:
    """Relative luminance of ``rgb(r, g, b)``, in [0, 1] (WCAG 2)."""
    channels = [int(value) / 255 for value in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
