"""Compare screens and dialogs with approved pictures, in several sizes and all kinds of themes."""

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
from sealyard.model.zone_status import ZoneStatus
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
from tests.support.zone_examples import build_host
from tests.tui import approvals_helpers
from tests.tui.connection import FakeConnection
from tests.tui.pilot_helpers import connection_of, make_app, run_app, screen_text, wait_for_workers, wait_until
from tests.tui.screenshots import ScreenshotExtension, render_screenshot
from tests.tui.task_factories import sha
from tests.tui.workspace import DEVELOPER, NOW, TuiWorkspace

SIZES = {"80x24": (80, 24), "120x40": (120, 40)}
SCREEN_SIZES = {"60x18": (60, 18), **SIZES, "200x60": (200, 60)}
"""Sizes of the pictures of screens. Those of the smallest and the largest one exist only in the dark theme."""

THEMES = {"dark": "sealyard-dark", "light": "sealyard-light"}
SCREEN_PROFILES = {
    "dashboard": "developer",
    "upload": "developer",
    "approvals": "owner",
    "audit": "auditor",
    "devices": "administrator",
    "access": "administrator",
}
"""By screen, the profile with the most permissions there."""

SCREEN_TEXTS = {
    "dashboard": ("gateway 1.4.3", "40 %", "EXPIRED"),
    "upload": ("firmware 2", "as expected", "ready"),
    "approvals": ("gateway 1.5.0", "sensor 3.1", "3 to approve"),
    "audit": ("KEY_USED", "REFUSED"),
    "devices": ("ECC_NIST_P256", "sensor"),
    "access": ("USER:administrator", "GROUP:owners"),
}
"""By screen, the text that must be visible before the picture is taken."""

SMALLEST_SCREEN_TEXTS = {
    **SCREEN_TEXTS,
    "upload": ("firmware 2",),
    "devices": ("sensor",),
    "access": ("user", "rule"),
}
"""As :data:`SCREEN_TEXTS`, for the smallest size, which has no room for some columns and rows."""

EMPTY_TEXTS = {
    "dashboard": "Press n to create the first package",
    "upload": "No files yet",
    "approvals": "Nothing to approve",
}


@pytest.fixture(autouse=True)
def fixed_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set the time zone, and a home folder whose path is not shown."""
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


async def wait_for_text(pilot: Pilot[None], *words: str) -> None:
    """Wait until the screen shows all of the words, ignoring line breaks."""

    def is_visible() -> bool:
        text = " ".join(screen_text(pilot.app).split())  # type: ignore[arg-type]
        return all(each in text for each in words)

    await wait_until(pilot, is_visible)
    await wait_for_workers(pilot)


async def open_dialog(pilot: Pilot[None], *keys: str) -> None:
    await pilot.press(*keys)
    await wait_until(pilot, lambda: isinstance(pilot.app.screen, BaseDialog))
    await wait_for_workers(pilot)


async def fill_upload_form(app: SealyardApp, pilot: Pilot[None], folder: Path) -> None:
    """Add two firmware files and one metadata file to the form, one with an expected digest."""
    await wait_until(pilot, lambda: isinstance(app.screen, UploadScreen))
    screen = app.screen
    assert isinstance(screen, UploadScreen)
    screen.add_paths((folder / "gateway-boot-1.6.0.bin", folder / "gateway-1.6.0.bin"))
    screen.add_paths((folder / "gateway-1.6.0.json",), FileRole.METADATA)
    await wait_until(pilot, lambda: not any(each.is_pending for each in screen.form.entries))
    second = screen.form.entries[1]
    assert second.file is not None
    screen.form.change(second.key, expected_sha256=second.file.sha256)
    screen.form.device = "gw"
    screen.reload()
    await pilot.press("g")
    await wait_for_workers(pilot)


# ---- screens


@pytest.fixture
def shown_workspace(request: pytest.FixtureRequest) -> TuiWorkspace:
    """The workspace that the picture of a screen, or of a dialog on it, shows."""
    params = request.node.callspec.params
    screen_name = params["screen_name"] if "screen_name" in params else DIALOGS[params["dialog"]][0]
    workspace: TuiWorkspace = request.getfixturevalue(
        "pending_workspace" if screen_name == "approvals" else "workspace"
    )
    return workspace


@asynccontextmanager
async def open_screen(
    workspace: TuiWorkspace, screen_name: str, firmware: Path, theme: str = "sealyard-dark"
) -> AsyncIterator[tuple[SealyardApp, Pilot[None]]]:
    """Run the application on a screen that is completely loaded, at 80x24."""
    if screen_name == "audit":
        await add_key_use_and_refusal(workspace)
    app = make_app(workspace, SCREEN_PROFILES[screen_name], start_screen=screen_name, theme=theme)
    async with run_app(app, size=(80, 24)) as pilot:
        if screen_name == "upload":
            await fill_upload_form(app, pilot, firmware)
        if screen_name == "approvals":
            await approvals_helpers.wait_for_review(app, pilot)
        await wait_for_text(pilot, *SCREEN_TEXTS[screen_name])
        tick_clock(app)
        yield app, pilot


async def add_key_use_and_refusal(workspace: TuiWorkspace) -> None:
    """Let a task sign, and the developer try to approve a task, so that the audit log ends with both."""
    await workspace.finish("t-running")
    await workspace.wait_for_worker("t-queued")
    with pytest.raises(PermissionDeniedError):
        await workspace.client(DEVELOPER).decide("t-waiting", Verdict.APPROVED)


def tick_clock(app: SealyardApp) -> None:
    """Update the texts that change every second."""
    screen = app.screen
    assert isinstance(screen, BaseScreen)
    screen.tick(screen.now())


async def resize_terminal(app: SealyardApp, pilot: Pilot[None], size: str) -> None:
    await pilot.resize_terminal(*SCREEN_SIZES[size])
    await wait_until(pilot, lambda: app.size == SCREEN_SIZES[size])
    await wait_for_workers(pilot)
    if app.current_mode == "dashboard" and size in ("120x40", "200x60") and not app.screen.is_modal:
        await wait_until(pilot, lambda: "bootloader.bin" in screen_text(app))
    await wait_for_workers(pilot)


@pytest.mark.parametrize("screen_name", SCREENS)
async def test_screen_matches_picture(
    shown_workspace: TuiWorkspace, screen_name: str, firmware: Path, screenshot: SnapshotAssertion
) -> None:
    async with open_screen(shown_workspace, screen_name, firmware) as (app, pilot):
        for size in SCREEN_SIZES:
            texts = (SCREEN_TEXTS if size in SIZES else SMALLEST_SCREEN_TEXTS)[screen_name]
            await resize_terminal(app, pilot, size)
            for name, theme in THEMES.items():
                if name != "dark" and size not in SIZES:
                    continue
                app.theme = theme
                await wait_for_workers(pilot)
                await wait_for_text(pilot, *texts)
                assert await render_screenshot(pilot) == screenshot(name=f"{screen_name}-{size}-{name}")


@pytest.mark.parametrize("screen_name", SCREENS)
async def test_screen_without_colour_matches_picture(
    shown_workspace: TuiWorkspace,
    screen_name: str,
    firmware: Path,
    screenshot: SnapshotAssertion,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with open_screen(shown_workspace, screen_name, firmware) as (app, pilot):
        for size in SIZES:
            await resize_terminal(app, pilot, size)
            await wait_for_text(pilot, *SCREEN_TEXTS[screen_name])
            assert await render_screenshot(pilot) == screenshot(name=f"{screen_name}-{size}-no-color")


@pytest.mark.parametrize("screen_name", EMPTY_TEXTS)
async def test_empty_screen_matches_picture(
    empty_workspace: TuiWorkspace, screen_name: str, screenshot: SnapshotAssertion
) -> None:
    app = make_app(empty_workspace, SCREEN_PROFILES[screen_name], start_screen=screen_name)
    async with run_app(app, size=(80, 24)) as pilot:
        await wait_for_text(pilot, EMPTY_TEXTS[screen_name])
        tick_clock(app)
        assert await render_screenshot(pilot) == screenshot(name=f"{screen_name}-empty")


@pytest.mark.parametrize("profile_name", ["developer", "owner", "auditor", "administrator"])
async def test_footer_at_80_columns_shows_all_keys(workspace: TuiWorkspace, profile_name: str) -> None:
    app = make_app(workspace, profile_name)
    async with run_app(app, size=(80, 24)) as pilot:
        for screen_name, (key, _) in SCREENS.items():
            await pilot.press(key)
            await wait_until(pilot, lambda screen_name=screen_name: app.current_mode == screen_name)  # type: ignore[misc]
            await wait_for_workers(pilot)
            footer = app.screen.query_one(KeyHintBar)
            assert len(footer.hints) > 1, screen_name
            assert footer.visible_hints == footer.hints, f"{screen_name} as {profile_name}"


# ---- dialogs

DialogOpener = Callable[[SealyardApp, Pilot[None]], Awaitable[None]]


async def _approve(_: SealyardApp, pilot: Pilot[None]) -> None:
    await open_dialog(pilot, "A")
    await pilot.press(*"gatew")
    await wait_for_text(pilot, "gatew", "cannot be undone")


async def _reject(_: SealyardApp, pilot: Pilot[None]) -> None:
    await open_dialog(pilot, "x")
    await pilot.press(*"Built from the wrong branch.")
    await wait_for_text(pilot, "wrong branch")


async def _error(app: SealyardApp, pilot: Pilot[None]) -> None:
    app.show_error(
        StorageError("The artifact store is full.", "Make room on its disk, then try again."),
        detail="artifacts: 0 bytes free of 512 GiB, 18 MiB wanted",
    )
    await wait_for_text(pilot, "is full", "Make room")


async def _help(app: SealyardApp, pilot: Pilot[None]) -> None:
    await pilot.press("question_mark")
    await wait_until(pilot, lambda: isinstance(app.screen, HelpScreen))
    await wait_for_text(pilot, "Help: Dashboard")


async def _palette(app: SealyardApp, pilot: Pilot[None]) -> None:
    await pilot.press("ctrl+p")
    await wait_until(pilot, lambda: isinstance(app.screen, CommandPalette))
    await pilot.press(*"gateway")
    await wait_until(pilot, lambda: "gateway 1.4.3 beta" in screen_text(app))
    await wait_until(pilot, lambda: not app.screen._show_busy)  # type: ignore[attr-defined]


async def _browser(_: SealyardApp, pilot: Pilot[None]) -> None:
    await open_dialog(pilot, "b")
    await wait_for_text(pilot, "gateway-boot-1.6.0.bin")
    await pilot.press("j", "space")
    await wait_for_text(pilot, "1 marked", "~/firmware/")


async def _device_form(_: SealyardApp, pilot: Pilot[None]) -> None:
    await open_dialog(pilot, "n")
    await wait_for_text(pilot, "Name")


async def _verify(_: SealyardApp, pilot: Pilot[None]) -> None:
    await open_dialog(pilot, "V")
    await pilot.press("enter")
    await wait_for_text(pilot, "Audit log verified")


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
    await open_dialog(pilot, "L")
    await wait_for_text(pilot, "signature and digest", "43 %", "expired")


DIALOGS: dict[str, tuple[str, DialogOpener]] = {
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
"""By name: the screen below the dialog, and the function that opens it."""


def _is_laid_out(review: ReviewPane) -> Callable[[], bool]:
    return lambda: "more lines" in str(review.border_subtitle)


@pytest.mark.parametrize("dialog", DIALOGS)
async def test_dialog_matches_picture(
    shown_workspace: TuiWorkspace,
    dialog: str,
    firmware: Path,
    screenshot: SnapshotAssertion,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(firmware)
    screen_name, opener = DIALOGS[dialog]
    async with open_screen(shown_workspace, screen_name, firmware) as (app, pilot):
        await opener(app, pilot)
        for size in SIZES:
            await resize_terminal(app, pilot, size)
            if screen_name == "approvals" and size == "120x40":
                review = app.screen_stack[-2].query_one(ReviewPane)
                # The screen below the dialog is laid out after the dialog.
                await wait_until(pilot, _is_laid_out(review))
            assert await render_screenshot(pilot) == screenshot(name=f"dialog-{dialog}-{size}")


ABOUT_SIZES = {name: size for name, size in SCREEN_SIZES.items() if name != "200x60"}


async def test_about_dialog_matches_pictures(workspace: TuiWorkspace, screenshot: SnapshotAssertion) -> None:
    hosts = (build_host("crypto-1:4242:k3"), build_host("\x1b[2J:77:x9", "\x1b[2Jnew\nline", draining=True))
    workspace.bus.zone = ZoneStatus(name="plant", reachable=True, hosts=hosts, queued=12)
    app = make_app(workspace, "administrator")
    async with run_app(app, size=(120, 40)) as pilot:
        app.show_about()
        await wait_for_text(pilot, "plant: 2 hosts, ", "waiting tasks", "seen now")
        for size in ABOUT_SIZES:
            await resize_terminal(app, pilot, size)
            assert await render_screenshot(pilot) == screenshot(name=f"dialog-about-{size}")


# ---- connection


def _make_connection(workspace: TuiWorkspace, mode: ConnectionMode, host: str = "") -> FakeConnection:
    """Return a connection to a workspace that is not a demo; on a server, dual control is enforced."""
    workspace.engine.metadata = msgspec.structs.replace(workspace.engine.metadata, demo=False)
    if mode is ConnectionMode.SERVER:
        workspace.trust_note = "on a server: people are authenticated, nobody approves what they asked for"
    return FakeConnection(workspace, mode=mode, host=host)


CONNECTIONS: dict[str, tuple[ConnectionMode, str]] = {
    "attached": (ConnectionMode.ATTACHED, ""),
    "server": (ConnectionMode.SERVER, "seal.example:8443"),
}


@pytest.mark.parametrize("connection_name", CONNECTIONS)
async def test_connection_status_matches_pictures(
    workspace: TuiWorkspace, connection_name: str, screenshot: SnapshotAssertion
) -> None:
    app = make_app(workspace, connection=_make_connection(workspace, *CONNECTIONS[connection_name]))
    async with run_app(app, size=(80, 24)) as pilot:
        for size in SIZES:
            await resize_terminal(app, pilot, size)
            tick_clock(app)
            await wait_for_text(pilot, "● ready", "gateway 1.4.3")
            assert await render_screenshot(pilot) == screenshot(name=f"line-{connection_name}-{size}-there")
            connection_of(app).lose()
            await wait_for_text(pilot, "reconnecting since 09:00:00")
            tick_clock(app)
            await wait_for_text(pilot, "as of 09:00:00")
            assert await render_screenshot(pilot) == screenshot(name=f"line-{connection_name}-{size}-lost")
            connection_of(app).restore()
            await wait_for_text(pilot, "● ready")


async def test_too_small_terminal_matches_picture(workspace: TuiWorkspace, screenshot: SnapshotAssertion) -> None:
    async with run_app(make_app(workspace), size=(58, 16)) as pilot:
        await wait_for_text(pilot, "Terminal too small", "58 and 16")
        assert await render_screenshot(pilot) == screenshot(name="too-small")


@pytest.mark.parametrize("size", SIZES)
async def test_welcome_screen_matches_picture(
    size: str, screenshot: SnapshotAssertion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(welcome_app, "detect_key_store", lambda: KeyStore.PASSPHRASE)
    app = WelcomeApp(Preferences(Settings()))
    async with app.run_test(size=SIZES[size]) as pilot:
        await wait_until(pilot, lambda: "Create a workspace" in screen_text(app))  # type: ignore[arg-type]
        assert await render_screenshot(pilot) == screenshot(name=f"welcome-{size}")
