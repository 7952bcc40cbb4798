"""The styles of the application, each parsed once: Textual would parse all of them anew at each first sight of a place,
and four times before the first."""

from __future__ import annotations

from textual.cache import LRUCache
from textual.css.stylesheet import Stylesheet

SOURCES = 1024
"""More than there are; a smaller cache, read in a circle, would never hit."""


class LastingStylesheet(Stylesheet):
    """Keeps what it parsed until a variable, thus the theme, is another."""

    def __init__(self, *, variables: dict[str, str] | None = None) -> None:
        super().__init__(variables=variables)
        self._parse_cache = LRUCache(SOURCES)

    def set_variables(self, variables: dict[str, str]) -> None:
        if variables != self._variables:
            super().set_variables(variables)

    def reparse(self) -> None:
        self.parse()
