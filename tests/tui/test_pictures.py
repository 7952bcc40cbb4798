"""What each place and the important dialogs look like, at both sizes and in each kind of theme."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from syrupy.assertion import SnapshotAssertion
from textual.command import CommandPalette
from textual.pilot import Pilot

from sealyard.client.config.settings_loader import Settings
from sealyard.client.downloads.events import DownloadedFile, DownloadProgress, DownloadResult, VerifiedBy
from sealyard.model.errors import PermissionDeniedError, ResultExpiredError, StorageError
from sealyard.model.tasks import Verdict
from sealyard.model.workspace import KeyStore
from sealyard_tui.app import SealyardApp
from sealyard_tui.appearance.preferences import Preferences
from sealyard_tui.dialogs.base import BaseDialog
from sealyard_tui.dialogs.help import HelpScreen
from sealyard_tui.screens.approvals.review_pane import ReviewPane
from sealyard_tui.screens.base import SCREENS, BaseScreen
from sealyard_tui.screens.upload.form_model import FileRole
from sealyard_tui.screens.upload.screen import UploadScreen
from sealyard_tui.screens.welcome import app as welcome_app
from sealyard_tui.screens.welcome.app import WelcomeApp
from sealyard_tui.session.messages import ConnectionMode
from sealyard_tui.widgets.key_hints import KeyHintBar
from tests.tui import approvals_helpers
from tests.tui.connection import FakeConnection
from tests.tui.pilot_helpers import connection_of, make_app, run_app, screen_text, wait_for_workers, wait_until
from tests.tui.screenshots import ScreenshotExtension, render_screenshot
from tests.tui.task_factories import sha
from tests.tui.workspace import DEVELOPER, NOW, TuiWorkspace

SIZES = {"80x24": (80, 24), "120x40": (120, 40)}
THEMES = {"dark": "sealyard-dark", "light": "sealyard-light"}
WHO = {
    "dashboard": "developer",
    "upload": "developer",
    "approvals": "owner",
    "audit": "auditor",
    "devices": "administrator",
    "access": "administrator",
}
"""Who has most to do in each place."""

SEEN = {
    "dashboard": ("gateway 1.4.3", "40 %", "EXPIRED"),
    "upload": ("firmware 2", "as expected", "ready"),
    "approvals": ("gateway 1.5.0", "sensor 3.1", "3 to approve"),
    "audit": ("KEY_USED", "REFUSED"),
    "devices": ("ECC_NIST_P256", "sensor"),
    "access": ("USER:administrator", "GROUP:owners"),
}
"""What must be there before a picture is worth a look."""

EMPTY = {
    "dashboard": "Press n to create the first package",
    "upload": "No files yet",
    "approvals": "Nothing to approve",
}


@pytest.fixture(autouse=True)
def same_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The same time zone, and a home whose place does not show."""
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def screenshot(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    return snapshot.use_extension(ScreenshotExtension)


@pytest.fixture
def firmware(tmp_path: Path) -> Path:
    folder = tmp_path / "firmware"
    (folder / "archive").mkdir(parents=True)
    for name, size in (
        ("gateway-1.6.0.bin", 1_048_576),
        ("gateway-boot-1.6.0.bin", 65_536),
        ("gateway-1.6.0.json", 64),
        (".gitignore", 8),
    ):
        (folder / name).write_bytes(name.encode()[:1] * size)
    for each in (*folder.iterdir(), folder):
        os.utime(each, (NOW.timestamp() - 3600, NOW.timestamp() - 3600))
    return folder


async def sees(pilot: Pilot[None], *words: str) -> None:
    """Once all of it is there, wherever lines end."""

    def there() -> bool:
        seen = " ".join(screen_text(pilot.app).split())  # type: ignore[arg-type]
        return all(each in seen for each in words)

    await wait_until(pilot, there)
    await wait_for_workers(pilot)


async def dialog_opens(pilot: Pilot[None], *keys: str) -> None:
    await pilot.press(*keys)
    await wait_until(pilot, lambda: isinstance(pilot.app.screen, BaseDialog))
    await wait_for_workers(pilot)


async def filled(app: SealyardApp, pilot: Pilot[None], folder: Path) -> None:
    """The form with two files of firmware and one of metadata, one digest of which was expected."""
    await wait_until(pilot, lambda: isinstance(app.screen, UploadScreen))
    place = app.screen
    assert isinstance(place, UploadScreen)
    place.add_paths((folder / "gateway-boot-1.6.0.bin", folder / "gateway-1.6.0.bin"))
    place.add_paths((folder / "gateway-1.6.0.json",), FileRole.METADATA)
    await wait_until(pilot, lambda: not any(each.is_pending for each in place.form.entries))
    second = place.form.entries[1]
    assert second.file is not None
    place.form.change(second.key, expected_sha256=second.file.sha256)
    place.form.device = "gw"
    place.reload()
    await pilot.press("g")
    await wait_for_workers(pilot)


# ---- places


Workspaces = dict[str, TuiWorkspace]


@pytest.fixture
def workspaces(workspace: TuiWorkspace, pending_workspace: TuiWorkspace) -> Workspaces:
    """The workspace that the picture of each screen shows."""
    return {name: pending_workspace if name == "approvals" else workspace for name in SCREENS}


@asynccontextmanager
async def shown(
    workspaces: Workspaces, place: str, firmware: Path, theme: str = "sealyard-dark"
) -> AsyncIterator[tuple[SealyardApp, Pilot[None]]]:
    """Run the application on a screen that is completely loaded, at 80x24."""
    workspace = workspaces[place]
    if place == "audit":
        await add_key_use_and_refusal(workspace)
    app = make_app(workspace, WHO[place], start_screen=place, theme=theme)
    async with run_app(app, size=(80, 24)) as pilot:
        if place == "upload":
            await filled(app, pilot, firmware)
        if place == "approvals":
            await approvals_helpers.wait_for_review(app, pilot)
        await sees(pilot, *SEEN[place])
        seconds_go_by(app)
        yield app, pilot


async def add_key_use_and_refusal(workspace: TuiWorkspace) -> None:
    """Let a task sign, and the developer try to approve a task, so that the audit log ends with both."""
    await workspace.finish("t-running")
    await workspace.wait_for_worker("t-queued")
    with pytest.raises(PermissionDeniedError):
        await workspace.client(DEVELOPER).decide("t-waiting", Verdict.APPROVED)


def seconds_go_by(app: SealyardApp) -> None:
    """What is said each second is said, whether one has gone by or not."""
    place = app.screen
    assert isinstance(place, BaseScreen)
    place.tick(place.now())


async def resized(app: SealyardApp, pilot: Pilot[None], size: str) -> None:
    await pilot.resize_terminal(*SIZES[size])
    await wait_until(pilot, lambda: app.size == SIZES[size])
    await wait_for_workers(pilot)
    if app.current_mode == "dashboard" and size == "120x40" and not app.screen.is_modal:
        await wait_until(pilot, lambda: "bootloader.bin" in screen_text(app))
    await wait_for_workers(pilot)


@pytest.mark.parametrize("place", SCREENS)
async def test_each_place_looks_as_it_was_approved(
    workspaces: Workspaces, place: str, firmware: Path, screenshot: SnapshotAssertion
) -> None:
    async with shown(workspaces, place, firmware) as (app, pilot):
        for size in SIZES:
            await resized(app, pilot, size)
            for name, theme in THEMES.items():
                app.theme = theme
                await wait_for_workers(pilot)
                await sees(pilot, *SEEN[place])
                assert await render_screenshot(pilot) == screenshot(name=f"{place}-{size}-{name}")


@pytest.mark.parametrize("place", SCREENS)
async def test_each_place_looks_as_it_was_approved_without_colour(
    workspaces: Workspaces, place: str, firmware: Path, screenshot: SnapshotAssertion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with shown(workspaces, place, firmware) as (app, pilot):
        for size in SIZES:
            await resized(app, pilot, size)
            await sees(pilot, *SEEN[place])
            assert await render_screenshot(pilot) == screenshot(name=f"{place}-{size}-no-color")


@pytest.mark.parametrize("place", EMPTY)
async def test_an_empty_place_says_what_to_do_next(
    empty_workspace: TuiWorkspace, place: str, screenshot: SnapshotAssertion
) -> None:
    app = make_app(empty_workspace, WHO[place], start_screen=place)
    async with run_app(app, size=(80, 24)) as pilot:
        await sees(pilot, EMPTY[place])
        seconds_go_by(app)
        assert await render_screenshot(pilot) == screenshot(name=f"{place}-empty")


@pytest.mark.parametrize("who", ["developer", "owner", "auditor", "administrator"])
async def test_at_80_columns_no_key_in_the_footer_is_clipped(workspace: TuiWorkspace, who: str) -> None:
    app = make_app(workspace, who)
    async with run_app(app, size=(80, 24)) as pilot:
        for place, (key, _) in SCREENS.items():
            await pilot.press(key)
            await wait_until(pilot, lambda place=place: app.current_mode == place)  # type: ignore[misc]
            await wait_for_workers(pilot)
            line = app.screen.query_one(KeyHintBar)
            assert len(line.hints) > 1, place
            assert line.visible_hints == line.hints, f"{place}, for {who}"


# ---- dialogs

Opening = Callable[[SealyardApp, Pilot[None]], Awaitable[None]]


async def _approve(_: SealyardApp, pilot: Pilot[None]) -> None:
    await dialog_opens(pilot, "A")
    await pilot.press(*"gatew")
    await sees(pilot, "gatew", "cannot be undone")


async def _reject(_: SealyardApp, pilot: Pilot[None]) -> None:
    await dialog_opens(pilot, "x")
    await pilot.press(*"Built from the wrong branch.")
    await sees(pilot, "wrong branch")


async def _error(app: SealyardApp, pilot: Pilot[None]) -> None:
    app.show_error(
        StorageError("The artifact store is full.", "Make room on its disk, then try again."),
        detail="artifacts: 0 bytes free of 512 GiB, 18 MiB wanted",
    )
    await sees(pilot, "is full", "Make room")


async def _help(app: SealyardApp, pilot: Pilot[None]) -> None:
    await pilot.press("question_mark")
    await wait_until(pilot, lambda: isinstance(app.screen, HelpScreen))
    await sees(pilot, "Help: Dashboard")


async def _palette(app: SealyardApp, pilot: Pilot[None]) -> None:
    await pilot.press("ctrl+p")
    await wait_until(pilot, lambda: isinstance(app.screen, CommandPalette))
    await pilot.press(*"gateway")
    await wait_until(pilot, lambda: "gateway 1.4.3 beta" in screen_text(app))
    await wait_until(pilot, lambda: not app.screen._show_busy)  # type: ignore[attr-defined]


async def _browser(_: SealyardApp, pilot: Pilot[None]) -> None:
    await dialog_opens(pilot, "b")
    await sees(pilot, "gateway-boot-1.6.0.bin")
    await pilot.press("j", "space")
    await sees(pilot, "1 marked", "~/firmware/")


async def _device_form(_: SealyardApp, pilot: Pilot[None]) -> None:
    await dialog_opens(pilot, "n")
    await sees(pilot, "Name")


async def _verify(_: SealyardApp, pilot: Pilot[None]) -> None:
    await dialog_opens(pilot, "V")
    await pilot.press("enter")
    await sees(pilot, "Audit log verified")


async def _downloads(app: SealyardApp, pilot: Pilot[None]) -> None:
    file = DownloadedFile(
        task_id="t-done",
        path="/srv/results/gateway-1.4.2.se-1",
        size=1_114_700,
        sha256=sha("container"),
        checked=VerifiedBy.SIGNATURE,
        at=NOW,
    )
    app.download_manager.folder = Path("/srv/results")
    expired = ResultExpiredError("The link has expired.", "Renew it.").to_info()
    app.download_manager.by_task.update(
        {
            "t-done": DownloadResult(task_id="t-done", name="gateway 1.4.2", downloaded=file),
            "t-1": DownloadProgress(task_id="t-1", name="sensor 3.0", bytes_done=43, bytes_total=100),
            "t-expired": DownloadResult(task_id="t-expired", name="gateway 1.4.1", error=expired),
        }
    )
    await dialog_opens(pilot, "L")
    await sees(pilot, "signature and digest", "43 %", "expired")


DIALOGS: dict[str, tuple[str, Opening]] = {
    "approve": ("approvals", _approve),
    "reject": ("approvals", _reject),
    "error": ("dashboard", _error),
    "help": ("dashboard", _help),
    "palette": ("dashboard", _palette),
    "downloads": ("dashboard", _downloads),
    "file-browser": ("upload", _browser),
    "device-form": ("devices", _device_form),
    "verify": ("audit", _verify),
}
"""By name: the place under it, and how it is opened."""


def _is_laid_out(review: ReviewPane) -> Callable[[], bool]:
    return lambda: "more lines" in str(review.border_subtitle)


@pytest.mark.parametrize("dialog", DIALOGS)
async def test_each_dialog_looks_as_it_was_approved(
    workspaces: Workspaces, dialog: str, firmware: Path, screenshot: SnapshotAssertion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(firmware)
    place, opened = DIALOGS[dialog]
    async with shown(workspaces, place, firmware) as (app, pilot):
        await opened(app, pilot)
        for size in SIZES:
            await resized(app, pilot, size)
            if place == "approvals" and size == "120x40":
                review = app.screen_stack[-2].query_one(ReviewPane)
                # Below the dialog it is laid out later than the dialog itself.
                await wait_until(pilot, _is_laid_out(review))
            assert await render_screenshot(pilot) == screenshot(name=f"dialog-{dialog}-{size}")


# ---- the line


def _line(workspace: TuiWorkspace, mode: ConnectionMode, host: str = "") -> FakeConnection:
    """Return a connection to a workspace that is not a demo; on a server, dual control is enforced."""
    workspace.engine.metadata = msgspec.structs.replace(workspace.engine.metadata, demo=False)
    if mode is ConnectionMode.SERVER:
        workspace.trust_note = "on a server: people are authenticated, nobody approves what they asked for"
    return FakeConnection(workspace, mode=mode, host=host)


LINES: dict[str, tuple[ConnectionMode, str]] = {
    "attached": (ConnectionMode.ATTACHED, ""),
    "server": (ConnectionMode.SERVER, "seal.example:8443"),
}


@pytest.mark.parametrize("line", LINES)
async def test_a_line_looks_as_it_was_approved_there_and_lost(
    workspace: TuiWorkspace, line: str, screenshot: SnapshotAssertion
) -> None:
    app = make_app(workspace, connection=_line(workspace, *LINES[line]))
    async with run_app(app, size=(80, 24)) as pilot:
        for size in SIZES:
            await resized(app, pilot, size)
            seconds_go_by(app)
            await sees(pilot, "● ready", "gateway 1.4.3")
            assert await render_screenshot(pilot) == screenshot(name=f"line-{line}-{size}-there")
            connection_of(app).lose()
            await sees(pilot, "reconnecting since 09:00:00")
            seconds_go_by(app)
            await sees(pilot, "as of 09:00:00")
            assert await render_screenshot(pilot) == screenshot(name=f"line-{line}-{size}-lost")
            connection_of(app).restore()
            await sees(pilot, "● ready")


async def test_too_small_a_window_says_so(workspace: TuiWorkspace, screenshot: SnapshotAssertion) -> None:
    async with run_app(make_app(workspace), size=(58, 16)) as pilot:
        await sees(pilot, "Terminal too small", "58 and 16")
        assert await render_screenshot(pilot) == screenshot(name="too-small")


@pytest.mark.parametrize("size", SIZES)
async def test_the_first_start_looks_as_it_was_approved(
    size: str, screenshot: SnapshotAssertion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(welcome_app, "detect_key_store", lambda: KeyStore.PASSPHRASE)
    app = WelcomeApp(Preferences(Settings()))
    async with app.run_test(size=SIZES[size]) as pilot:
        await wait_until(pilot, lambda: "Create a workspace" in screen_text(app))  # type: ignore[arg-type]
        assert await render_screenshot(pilot) == screenshot(name=f"welcome-{size}")
