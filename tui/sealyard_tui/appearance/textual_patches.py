"""Workarounds that override private parts of Textual, each with a link to its upstream issue, if there is one.

They are written for :data:`TEXTUAL_VERSION`, which is pinned. ``tests/tui/appearance/test_textual_patches.py`` fails if
the pin changes or a patch is no longer needed.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from textual._compositor import Compositor, CompositorMap
from textual.app import App, ReturnType
from textual.cache import LRUCache
from textual.css.model import RuleSet
from textual.css.stylesheet import Stylesheet
from textual.notifications import Notification, Notify
from textual.screen import Screen, ScreenResultType

TEXTUAL_VERSION = "8.2.8"

CACHE_SIZE = 1024
"""Maximum number of cached style sources.

It must exceed the number of sources: they are read in a fixed order, so a smaller LRU cache would never have a hit.
"""

MAX_THEMES = 4
"""Number of themes whose parsed styles are cached, for users who switch between themes."""

Parsed = LRUCache[tuple[Any, ...], list[RuleSet]]


class RepaintingCompositor(Compositor):
    """Compositor that repaints the region of a widget that was hidden.

    If the widget map is rebuilt by a query for a region rather than by a layout, Textual does not mark the regions of
    added or removed widgets as dirty. The next layout detects no difference, and a hidden widget remains visible.

    https://github.com/Textualize/textual/issues/5056
    """

    @property
    def full_map(self) -> CompositorMap:
        old_map = self._full_map
        new_map = super().full_map
        if new_map is not old_map:
            widgets = old_map.keys() ^ new_map.keys()
            geometries = [(old_map if widget in old_map else new_map)[widget] for widget in widgets]
            self._dirty_regions.update(
                region for geometry in geometries if (region := geometry.clip.intersection(geometry.region))
            )
        return new_map


def use_repainting_compositor(screen: Screen[Any]) -> None:
    """Replace the compositor of ``screen`` with a :class:`RepaintingCompositor`."""
    screen._compositor = RepaintingCompositor()


class BatchedScreen(Screen[ScreenResultType]):
    """Screen that is not rendered while updates are batched: Textual would render it and discard the result.

    Batching was added by https://github.com/Textualize/textual/pull/1832; there is no upstream issue.
    """

    def _compositor_refresh(self) -> None:
        if not self.app._batch_count:
            super()._compositor_refresh()


class CachedStylesheet(Stylesheet):
    """Stylesheet that parses each source only once per theme and process.

    Textual's cache belongs to one stylesheet and is cleared whenever the theme changes or a screen is created. Without
    this class, each source would be parsed four times before the first paint, and again for each screen.

    https://github.com/Textualize/textual/pull/3575
    """

    def __init__(self, *, variables: dict[str, str] | None = None) -> None:
        super().__init__(variables=variables)
        self._parse_cache = _cache_for(self._variables)

    def set_variables(self, variables: dict[str, str]) -> None:
        if variables == self._variables:
            return
        # The base class clears the current cache, which is shared; give it an unused one to clear.
        self._parse_cache = LRUCache(1)
        super().set_variables(variables)
        self._parse_cache = _cache_for(variables)

    def reparse(self) -> None:
        self.parse()


def _cache_for(variables: Mapping[str, str]) -> Parsed:
    return cached_rules(frozenset(variables.items()))


@lru_cache(MAX_THEMES)
def cached_rules(_variables: frozenset[tuple[str, str]]) -> Parsed:
    """Return the cache for rules that are parsed with these CSS variables."""
    return LRUCache(CACHE_SIZE)


MAX_NOTIFICATIONS = 3
"""Maximum number of notifications that are visible at the same time."""


class QueuedNotificationsApp(App[ReturnType]):
    """Application that limits the number of visible notifications. Others wait until an earlier one disappears.

    Textual shows any number of them, which can cover half of the screen; there is no upstream issue.
    """

    def __init__(self) -> None:
        super().__init__()
        self._waiting_notifications: deque[Notification] = deque()

    def _on_notify(self, event: Notify) -> None:
        # Otherwise, the handler of the base class would be called, too.
        event.prevent_default()
        self._waiting_notifications.append(event.notification)
        self._refresh_notifications()

    def _unnotify(self, notification: Notification, refresh: bool = True) -> None:
        super()._unnotify(notification, refresh or bool(self._waiting_notifications))

    def clear_notifications(self) -> None:
        """Remove all notifications, including those that wait."""
        self._waiting_notifications.clear()
        super().clear_notifications()

    def _refresh_notifications(self) -> None:
        while self._waiting_notifications and len(self._notifications) < MAX_NOTIFICATIONS:
            notification = self._waiting_notifications.popleft()
            notification.raised_at = time.time()
            self._notifications.add(notification)
        super()._refresh_notifications()


class CrashReportingApp(App[ReturnType]):
    """Application that reports crashes itself: Textual prints all local variables, which may include secrets.

    There is no upstream issue; a ``show_locals`` option would replace this.
    """

    def report_crash(self) -> None:
        """Report the exception that is being handled. The default implementation does nothing."""

    def _fatal_error(self) -> None:
        self.report_crash()
