"""Styles are parsed once, and anew when what they are made from is another."""

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
def parsed(monkeypatch: pytest.MonkeyPatch) -> Counter[object]:
    """How often each source was parsed since nothing was."""
    cached_rules.cache_clear()
    found: Counter[object] = Counter()

    def counted(scope: str, css: str, read_from: CSSLocation, **options: Any) -> Iterable[RuleSet]:
        found[read_from, options["tie_breaker"]] += 1
        return parse(scope, css, read_from, **options)

    monkeypatch.setattr(stylesheet, "parse", counted)
    return found


async def test_no_style_is_parsed_twice_at_the_start_and_at_the_first_sight_of_places(
    workspace: TuiWorkspace, parsed: Counter[object]
) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        assert parsed
        for place in ("audit", "access"):
            app.switch_mode(place)
            await pilot.pause()
        assert max(parsed.values()) == 1


async def test_the_next_application_of_the_same_look_parses_nothing(
    workspace: TuiWorkspace, parsed: Counter[object]
) -> None:
    async with run_app(make_app(workspace)):
        pass
    before = parsed.total()
    async with run_app(make_app(workspace)):
        assert parsed.total() == before


async def test_another_theme_colours_all_that_was_parsed(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, theme="sealyard-dark")
    async with run_app(app) as pilot:
        dark = app.screen.styles.background
        app.theme = "sealyard-light"
        await pilot.pause()
        assert app.screen.styles.background != dark


def test_a_variable_takes_effect_when_it_changes_and_not_otherwise() -> None:
    sheet = CachedStylesheet(variables={"shade": "#111111"})
    sheet.add_source("Screen { background: $shade; }")
    first = sheet.rules
    sheet.set_variables({"shade": "#111111"})
    sheet.reparse()
    assert sheet.rules[0] is first[0]
    sheet.set_variables({"shade": "#222222"})
    sheet.reparse()
    assert sheet.rules[0].styles.background.hex == "#222222"


async def test_the_first_place_is_composed_alone(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, start_screen="audit")
    async with run_app(app):
        assert app.current_mode == "audit"
        assert [each for each, stack in app._screen_stacks.items() if stack] == ["audit"]
