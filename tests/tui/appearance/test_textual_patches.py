"""Test that the patches match the pinned version of Textual, and that each is still needed."""

from __future__ import annotations

import inspect
import tomllib
from collections import Counter
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from textual._compositor import Compositor
from textual.app import App
from textual.css import stylesheet
from textual.css.model import RuleSet
from textual.css.parse import parse
from textual.css.stylesheet import Stylesheet
from textual.css.types import CSSLocation
from textual.driver import Driver

from sealyard_tui.appearance.textual_patches import TEXTUAL_VERSION, BatchedScreen, RepaintingCompositor
from sealyard_tui.widgets.flash import Flash
from tests.tui.pilot_helpers import make_app, run_app, wait_until
from tests.tui.workspace import TuiWorkspace

PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"


def test_patches_match_pinned_textual_version() -> None:
    dependencies = tomllib.loads(PYPROJECT.read_text())["project"]["dependencies"]
    assert f"textual=={TEXTUAL_VERSION}" in dependencies
    assert version("textual") == TEXTUAL_VERSION


@pytest.mark.parametrize("patched", [True, False])
async def test_compositor_patch_is_needed(
    workspace: TuiWorkspace, monkeypatch: pytest.MonkeyPatch, patched: bool
) -> None:
    if not patched:
        monkeypatch.setattr(RepaintingCompositor, "full_map", Compositor.full_map)
    app = make_app(workspace, "developer", start_screen="upload")
    async with run_app(app) as pilot:
        line = app.screen.query_one(Flash)
        line.show("Already added")
        await wait_until(pilot, lambda: line.region)
        region = line.region
        compositor = app.screen._compositor
        compositor._full_map_invalidated = True
        compositor._dirty_regions.clear()
        line._hide()
        assert app.screen.find_widget(app.screen.query_one("#submit")).region
        assert (region in compositor._dirty_regions) is patched


async def test_batch_patch_is_needed(workspace: TuiWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(BatchedScreen, "_compositor_refresh")
    drawn: list[object] = []
    render = Compositor.render_update

    def record_call(self: Compositor, **options: Any) -> object:
        drawn.append(self)
        return render(self, **options)

    app = make_app(workspace)
    async with run_app(app) as pilot:
        monkeypatch.setattr(Compositor, "render_update", record_call)
        with app.batch_update():
            app.screen.refresh(layout=True)
            app.screen._refresh_layout()
            await pilot.pause()
            assert drawn != []


async def test_stylesheet_patch_is_needed(workspace: TuiWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: Counter[object] = Counter()

    def record_call(scope: str, css: str, read_from: CSSLocation, **options: Any) -> Iterable[RuleSet]:
        parsed[read_from, options["tie_breaker"]] += 1
        return parse(scope, css, read_from, **options)

    monkeypatch.setattr(stylesheet, "parse", record_call)
    monkeypatch.setattr("sealyard_tui.app_base.CachedStylesheet", Stylesheet)
    app = make_app(workspace)
    async with run_app(app) as pilot:
        app.switch_mode("audit")
        await pilot.pause()
        assert max(parsed.values()) > 1


def test_crash_patch_is_needed() -> None:
    assert "show_locals=True" in inspect.getsource(App._fatal_error)


def test_driver_has_no_public_mouse_api() -> None:
    """If Textual adds one, :mod:`sealyard_tui.terminal.mouse` should use it."""
    assert [name for name in dir(Driver) if "mouse" in name and not name.startswith("_")] == []
