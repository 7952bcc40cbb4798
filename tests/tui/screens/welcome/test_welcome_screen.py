"""Tests of the first start: create a workspace, open the demo, or quit."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.pilot import Pilot

from sealyard.client.config.settings_loader import Settings
from sealyard.client.config.workspaces import default_workspace_path
from sealyard.model.errors import SealyardError, StorageError
from sealyard.model.workspace import KeyStore
from sealyard_tui.appearance.preferences import Preferences
from sealyard_tui.dialogs.fields import ChoiceLine
from sealyard_tui.dialogs.form import FormDialog
from sealyard_tui.screens.welcome import app as welcome_app
from sealyard_tui.screens.welcome import screen as welcome_screen
from sealyard_tui.screens.welcome.app import WelcomeApp
from sealyard_tui.screens.welcome.choices import CreateWorkspaceChoice, OpenDemoChoice, StartChoice
from tests.support.limits import TIMEOUT
from tests.tui.form_helpers import field_row, fill_field

PREVIOUS_CHOICE = CreateWorkspaceChoice(
    folder=Path("/srv/yard"), name="yard", administrator="USER:olga", key_store=KeyStore.PASSPHRASE
)


@pytest.fixture(autouse=True)
def _no_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(welcome_app, "detect_key_store", lambda: KeyStore.PASSPHRASE)
    monkeypatch.setattr(welcome_screen, "current_user_name", lambda: "olga")


def app_text(app: WelcomeApp) -> str:
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)


async def wait_for_text(pilot: Pilot[StartChoice | None], app: WelcomeApp, *words: str) -> None:
    for _ in range(500):
        if all(each in app_text(app) for each in words):
            return
        await pilot.pause(0.01)
    raise AssertionError(f"{words} not in\n{app_text(app)}")


@asynccontextmanager
async def run_welcome_app(
    previous: CreateWorkspaceChoice | None = None, error: SealyardError | None = None, size: tuple[int, int] = (80, 24)
) -> AsyncIterator[tuple[WelcomeApp, Pilot[StartChoice | None]]]:
    app = WelcomeApp(Preferences(Settings()), previous, error)
    async with app.run_test(size=size) as pilot:
        await wait_for_text(pilot, app, "Create a workspace")
        yield app, pilot


async def test_start_page_lists_choices() -> None:
    async with run_welcome_app() as (app, pilot):
        await wait_for_text(pilot, app, "under dual control", "Create a workspace", "Open the demo", "Quit")


async def test_form_defaults_create_default_workspace() -> None:
    async with run_welcome_app() as (app, pilot):
        await pilot.press("enter")
        await wait_for_text(pilot, app, "Folder", "User name", "olga", "Master key", "encrypted file (passphrase)")
        await pilot.press("enter", "enter", "enter", "ctrl+s")
        await pilot.pause()
    folder = default_workspace_path()
    assert app.return_value == CreateWorkspaceChoice(
        folder=folder, name=folder.name, administrator="USER:olga", key_store=KeyStore.PASSPHRASE
    )


async def test_form_returns_typed_values(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(welcome_app, "detect_key_store", lambda: KeyStore.OS_KEYRING)
    async with run_welcome_app() as (app, pilot):
        await pilot.press("n")
        await wait_for_text(pilot, app, "OS keyring")
        fill_field(app, "folder", str(tmp_path / "yard"))
        fill_field(app, "name", "Yard 1")
        fill_field(app, "who", "USER:dana")
        await pilot.press("ctrl+s")
        await pilot.pause()
    assert app.return_value == CreateWorkspaceChoice(
        folder=tmp_path / "yard", name="Yard 1", administrator="USER:dana", key_store=KeyStore.OS_KEYRING
    )


async def test_missing_keyring_is_not_offered() -> None:
    async with run_welcome_app() as (app, pilot):
        await pilot.press("n")
        await wait_for_text(pilot, app, "Master key")
        control = field_row(app, "store").control
        assert isinstance(control, ChoiceLine)
        assert [each for each, _ in control.choices] == [KeyStore.PASSPHRASE]


async def test_group_as_administrator_is_rejected() -> None:
    async with run_welcome_app() as (app, pilot):
        await pilot.press("n")
        await wait_for_text(pilot, app, "User name")
        fill_field(app, "who", "GROUP:owners")
        await pilot.press("ctrl+s")
        await wait_for_text(pilot, app, "GROUP:owners is not a user")
        assert app.return_value is None


async def test_previous_error_and_answers_are_shown() -> None:
    async with run_welcome_app(
        PREVIOUS_CHOICE, StorageError("/srv/yard cannot be made.", "Choose another folder.")
    ) as (app, pilot):
        await wait_for_text(pilot, app, "✗ /srv/yard cannot be made.", "→ Choose another folder.", "USER:olga")
        await pilot.press("ctrl+s")
        await pilot.pause()
    assert app.return_value == PREVIOUS_CHOICE


async def test_escape_closes_form_and_keeps_draft() -> None:
    async with run_welcome_app() as (app, pilot):
        await pilot.press("n")
        await wait_for_text(pilot, app, "Folder")
        fill_field(app, "name", "typed once")
        await pilot.pause()
        await pilot.press("escape")
        assert not isinstance(app.screen, FormDialog)
        await pilot.press("n")
        await wait_for_text(pilot, app, "typed once")


async def test_quit_asks_before_answers_are_discarded() -> None:
    async with run_welcome_app() as (app, pilot):
        await pilot.press("n")
        await wait_for_text(pilot, app, "Folder")
        fill_field(app, "name", "typed once")
        await pilot.pause()
        await pilot.press("escape", "escape")
        await wait_for_text(pilot, app, "Quit?", "will be discarded")
        await pilot.press("n")
        await pilot.pause()
        assert app.is_running
        await pilot.press("n")
        await wait_for_text(pilot, app, "typed once")
        await pilot.press("escape", "escape")
        await wait_for_text(pilot, app, "Quit?")
        await pilot.press("y")
        await pilot.pause()
    assert app.return_value is None


async def test_form_has_a_single_frame() -> None:
    async with run_welcome_app() as (app, pilot):
        await pilot.press("n")
        await wait_for_text(pilot, app, "Folder")
        assert app_text(app).count("╭") == 1
        await pilot.press("escape")
        await wait_for_text(pilot, app, "under dual control")


async def test_keys_open_demo_or_quit() -> None:
    async with run_welcome_app() as (app, pilot):
        await pilot.press("d")
        await pilot.pause()
    assert app.return_value == OpenDemoChoice()
    async with run_welcome_app() as (app, pilot):
        await pilot.press("q")
        await pilot.pause()
    assert app.return_value is None


async def test_slow_keyring_delays_only_the_form(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()

    def slow() -> KeyStore:
        answer.wait(TIMEOUT)
        return KeyStore.PASSPHRASE

    monkeypatch.setattr(welcome_app, "detect_key_store", slow)
    async with run_welcome_app() as (app, pilot):
        await pilot.press("n")
        await wait_for_text(pilot, app, "Checking for an OS keyring…")
        await pilot.press("j", "j", "k")
        answer.set()
        await wait_for_text(pilot, app, "Master key")


async def test_content_fits_small_and_large_terminals() -> None:
    for size in ((60, 18), (120, 40)):
        async with run_welcome_app(size=size) as (app, pilot):
            await wait_for_text(pilot, app, "Quit", "Every step")
            await pilot.press("n")
            await wait_for_text(pilot, app, "Folder", "(^s)")
