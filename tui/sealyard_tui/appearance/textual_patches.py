"""What a hidden widget has covered is painted: Textual may forget it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from textual._compositor import Compositor, CompositorMap
from textual.cache import LRUCache
from textual.css.model import RuleSet
from textual.css.stylesheet import Stylesheet


class RepaintingCompositor(Compositor):
    """Where the map of widgets is made anew because somebody asked for a place, and not for a layout, Textual (8.2)
    keeps no note of what came or went by it: the layout that follows finds nothing changed, and the words of a line
    that is hidden stay on the screen (https://github.com/Textualize/textual/issues/5056).
    """

    @property
    def full_map(self) -> CompositorMap:
        before = self._full_map
        now = super().full_map
        if now is not before:
            changed = [(before if each in before else now)[each] for each in before.keys() ^ now.keys()]
            self._dirty_regions.update(region for each in changed if (region := each.clip.intersection(each.region)))
        return now


CACHE_SIZE = 1024
"""More than there are; a smaller cache, read in a circle, would never hit."""

MAX_THEMES = 4
"""How many themes' styles are kept, for whoever goes back to one."""

Parsed = LRUCache[tuple[Any, ...], list[RuleSet]]


class CachedStylesheet(Stylesheet):
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
    return cached_rules(frozenset(variables.items()))


@lru_cache(MAX_THEMES)
def cached_rules(_variables: frozenset[tuple[str, str]]) -> Parsed:
    return LRUCache(CACHE_SIZE)
