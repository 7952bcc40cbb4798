"""Tests of the stylesheet cache."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest
from textual.css import stylesheet
from textual.css.model import RuleSet
from textual.css.parse import parse
from textual.css.types import CSSLocation

from sealyard_tui.appearance.textual_patches import CachedStylesheet, cached_rules
from tests.tui.pilot_helpers import make_app, run_app
from tests.tui.workspace import TuiWorkspace


@pytest.fixture
def parse_counts(monkeypatch: pytest.MonkeyPatch) -> Counter[object]:
    """Clear the cache, and count how often each source is parsed."""
    cached_rules.cache_clear()
    counts: Counter[object] = Counter()

    def count_parse(scope: str, css: str, read_from: CSSLocation, **options: Any) -> Iterable[RuleSet]:
        counts[read_from, options["tie_breaker"]] += 1
        return parse(scope, css, read_from, **options)

    monkeypatch.setattr(stylesheet, "parse", count_parse)
    return counts


async def test_styles_are_parsed_once_per_source(workspace: TuiWorkspace, parse_counts: Counter[object]) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        assert parse_counts
        for screen_name in ("audit", "access"):
            app.switch_mode(screen_name)
            await pilot.pause()
        assert max(parse_counts.values()) == 1


async def test_second_application_reuses_parsed_styles(workspace: TuiWorkspace, parse_counts: Counter[object]) -> None:
    async with run_app(make_app(workspace)):
        pass
    before = parse_counts.total()
    async with run_app(make_app(workspace)):
        assert parse_counts.total() == before


async def test_theme_change_updates_cached_styles(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, theme="sealyard-dark")
    async with run_app(app) as pilot:
        dark = app.screen.styles.background
        app.theme = "sealyard-light"
        await pilot.pause()
        assert app.screen.styles.background != dark


def test_rules_are_reparsed_only_for_changed_variables() -> None:
    sheet = CachedStylesheet(variables={"shade": "#111111"})
    sheet.add_source("Screen { background: $shade; }")
    first = sheet.rules
    sheet.set_variables({"shade": "#111111"})
    sheet.reparse()
    assert sheet.rules[0] is first[0]
    sheet.set_variables({"shade": "#222222"})
    sheet.reparse()
    assert sheet.rules[0].styles.background.hex == "#222222"


async def test_start_composes_only_first_screen(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, start_screen="audit")
    async with run_app(app):
        assert app.current_mode == "audit"
        assert [each for each, stack in app._screen_stacks.items() if stack] == ["audit"]
