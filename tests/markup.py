"""What a browser would make of a page: its elements, their attributes, and the text that a reader sees."""

from __future__ import annotations

import re
from html.parser import HTMLParser


class Markup(HTMLParser):
    """A page that was read.

    Args:
        page: HTML, whole or a part.
    """

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self._silent = 0
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        self._silent += tag in ("style", "script")

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in ("style", "script")

    def handle_data(self, data: str) -> None:
        self.text += "" if self._silent else data

    def addresses(self) -> list[str]:
        """What it loads or links to."""
        return [value for name, value in self.attributes if name in ("src", "href")]

    def assert_runs_nothing(self) -> None:
        assert not {"script", "iframe", "object", "embed", "form", "base", "svg"} & set(self.elements)
        assert not [name for name, _ in self.attributes if name.startswith("on")]
        assert not [address for address in self.addresses() if re.match(r"\s*(?:javascript|vbscript):", address, re.I)]
