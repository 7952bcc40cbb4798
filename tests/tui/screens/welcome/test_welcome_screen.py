"""The first start: three questions lead to a workspace, and nobody is stuck."""

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
from tests.tui.form_helpers import field_row, fill_field

WANTED = CreateWorkspaceChoice(
    folder=Path("/srv/yard"), name="yard", administrator="USER:olga", key_store=KeyStore.PASSPHRASE
)


@pytest.fixture(autouse=True)
def _no_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(welcome_app, "detect_key_store", lambda: KeyStore.PASSPHRASE)
    monkeypatch.setattr(welcome_screen, "current_user_name", lambda: "olga")


def text(app: WelcomeApp) -> str:
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)


async def sees(pilot: Pilot[StartChoice | None], app: WelcomeApp, *words: str) -> None:
    for _ in range(500):
        if all(each in text(app) for each in words):
            return
        await pilot.pause(0.01)
    raise AssertionError(f"{words} not in\n{text(app)}")


@asynccontextmanager
async def running(
    wanted: CreateWorkspaceChoice | None = None, error: SealyardError | None = None, size: tuple[int, int] = (80, 24)
) -> AsyncIterator[tuple[WelcomeApp, Pilot[StartChoice | None]]]:
    app = WelcomeApp(Preferences(Settings()), wanted, error)
    async with app.run_test(size=size) as pilot:
        await sees(pilot, app, "Create a workspace")
        yield app, pilot


async def test_it_says_what_sealyard_is_and_what_one_can_do() -> None:
    async with running() as (app, pilot):
        await sees(pilot, app, "under dual control", "Create a workspace", "Open the demo", "Quit")


async def test_three_questions_have_answers_that_only_want_enter() -> None:
    async with running() as (app, pilot):
        await pilot.press("enter")
        await sees(pilot, app, "1 Folder", "2 User name", "olga", "3 Master key", "encrypted file (passphrase)")
        await pilot.press("enter", "enter", "enter", "ctrl+s")
        await pilot.pause()
    place = default_workspace_path()
    assert app.return_value == CreateWorkspaceChoice(
        folder=place, name=place.name, administrator="USER:olga", key_store=KeyStore.PASSPHRASE
    )


async def test_the_answers_are_what_was_typed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(welcome_app, "detect_key_store", lambda: KeyStore.OS_KEYRING)
    async with running() as (app, pilot):
        await pilot.press("n")
        await sees(pilot, app, "OS keyring")
        fill_field(app, "folder", str(tmp_path / "yard"))
        fill_field(app, "name", "Yard 1")
        fill_field(app, "who", "USER:dana")
        await pilot.press("ctrl+s")
        await pilot.pause()
    assert app.return_value == CreateWorkspaceChoice(
        folder=tmp_path / "yard", name="Yard 1", administrator="USER:dana", key_store=KeyStore.OS_KEYRING
    )


async def test_without_a_keyring_none_is_offered() -> None:
    async with running() as (app, pilot):
        await pilot.press("n")
        await sees(pilot, app, "3 Master key")
        control = field_row(app, "store").control
        assert isinstance(control, ChoiceLine)
        assert [each for each, _ in control.choices] == [KeyStore.PASSPHRASE]


async def test_only_a_person_can_administer() -> None:
    async with running() as (app, pilot):
        await pilot.press("n")
        await sees(pilot, app, "2 User name")
        fill_field(app, "who", "GROUP:owners")
        await pilot.press("ctrl+s")
        await sees(pilot, app, "GROUP:owners is not a user")
        assert app.return_value is None


async def test_what_went_wrong_is_told_beside_the_answers_of_before() -> None:
    async with running(WANTED, StorageError("/srv/yard cannot be made.", "Choose another folder.")) as (app, pilot):
        await sees(pilot, app, "✗ /srv/yard cannot be made.", "→ Choose another folder.", "USER:olga")
        await pilot.press("ctrl+s")
        await pilot.pause()
    assert app.return_value == WANTED


async def test_esc_goes_back_one_level_and_keeps_what_was_typed() -> None:
    async with running() as (app, pilot):
        await pilot.press("n")
        await sees(pilot, app, "1 Folder")
        fill_field(app, "name", "typed once")
        await pilot.pause()
        await pilot.press("escape")
        assert not isinstance(app.screen, FormDialog)
        await pilot.press("n")
        await sees(pilot, app, "typed once")


async def test_the_demo_and_quitting_are_a_key_away() -> None:
    async with running() as (app, pilot):
        await pilot.press("d")
        await pilot.pause()
    assert app.return_value == OpenDemoChoice()
    async with running() as (app, pilot):
        await pilot.press("q")
        await pilot.pause()
    assert app.return_value is None


async def test_a_keyring_that_does_not_answer_holds_up_only_the_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()

    def slow() -> KeyStore:
        answer.wait(10)
        return KeyStore.PASSPHRASE

    monkeypatch.setattr(welcome_app, "detect_key_store", slow)
    async with running() as (app, pilot):
        await pilot.press("n")
        await sees(pilot, app, "Checking for an OS keyring…")
        await pilot.press("j", "j", "k")
        answer.set()
        await sees(pilot, app, "3 Master key")


async def test_a_small_and_a_large_terminal_show_all_of_it() -> None:
    for size in ((60, 18), (120, 40)):
        async with running(size=size) as (app, pilot):
            await sees(pilot, app, "Quit", "Every step")
            await pilot.press("n")
            await sees(pilot, app, "1 Folder", "(^s)")
