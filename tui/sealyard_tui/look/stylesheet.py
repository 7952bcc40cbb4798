"""The styles of the application, each parsed once: Textual would parse all of them anew at each first sight of a place,
and four times before the first."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from textual.cache import LRUCache
from textual.css.model import RuleSet
from textual.css.stylesheet import Stylesheet

SOURCES = 1024
"""More than there are; a smaller cache, read in a circle, would never hit."""

THEMES = 4
"""How many themes' styles are kept, for whoever goes back to one."""

Parsed = LRUCache[tuple[Any, ...], list[RuleSet]]


class LastingStylesheet(Stylesheet):
    """Keeps what was parsed with the same variables, thus for the same theme, as long as the process lives."""

    def __init__(self, *, variables: dict[str, str] | None = None) -> None:
        super().__init__(variables=variables)
        self._parse_cache = _parsed_with(self._variables)

    def set_variables(self, variables: dict[str, str]) -> None:
        if variables == self._variables:
            return
        self._parse_cache = LRUCache(1)  # what is set aside must not be cleared
        super().set_variables(variables)
        self._parse_cache = _parsed_with(variables)

    def reparse(self) -> None:
        self.parse()


def _parsed_with(variables: Mapping[str, str]) -> Parsed:
    return parsed_with(frozenset(variables.items()))


@lru_cache(THEMES)
def parsed_with(_variables: frozenset[tuple[str, str]]) -> Parsed:
    return LRUCache(SOURCES)
