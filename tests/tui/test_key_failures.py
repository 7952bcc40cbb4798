"""Tests of how the application reports keys that failed their check."""

from __future__ import annotations

from sealyard.model.backend_keys import ProviderKeys
from sealyard.model.errors import KeyProviderUnavailableError
from sealyard_tui.screens.devices.screen import DevicesScreen
from tests.tui.pilot_helpers import make_app, run_app, screen_text, wait_until
from tests.tui.workspace import TuiWorkspace

INTERVAL = 600.0


async def check_keys(workspace: TuiWorkspace) -> None:
    """Check all keys."""
    await workspace.engine.key_monitor.check_due_keys(INTERVAL)
    workspace.clock.advance(seconds=INTERVAL)
    await workspace.engine.key_monitor.check_due_keys(INTERVAL)


async def test_administrator_is_notified_of_failure_and_recovery(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, "administrator")
    async with run_app(app, size=(140, 40)) as pilot:
        (device, *_) = workspace.engine.devices.list_configs("USER:administrator")
        key = workspace.shelf.private[device.signing.uri, device.signing.version]
        workspace.shelf.delete(device.signing.uri)
        await check_keys(workspace)
        await wait_until(pilot, lambda: "Key check failed" in screen_text(app))
        await wait_until(pilot, lambda: "1 key failing" in screen_text(app))
        await pilot.press("5")
        await wait_until(pilot, lambda: isinstance(app.screen, DevicesScreen))
        await wait_until(pilot, lambda: "failed its last check" in screen_text(app))
        workspace.shelf.private[device.signing.uri, device.signing.version] = key
        await check_keys(workspace)
        await wait_until(pilot, lambda: "All keys work again" in screen_text(app))
        assert "1 key failing" not in screen_text(app)


async def test_others_see_no_failing_keys_in_the_status_bar(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, "owner")
    async with run_app(app) as pilot:
        (device, *_) = workspace.engine.devices.list_configs("USER:administrator")
        workspace.shelf.delete(device.signing.uri)
        await check_keys(workspace)
        await wait_until(pilot, lambda: bool(app.state.key_failures))
        await pilot.pause()
        assert "failing" not in screen_text(app)


def set_up_provider(workspace: TuiWorkspace, *, works: bool) -> None:
    error = KeyProviderUnavailableError("The token seal was removed.", "Insert it.").to_info()
    workspace.shelf.provider_keys = (ProviderKeys(section="seal", scheme="pkcs11", error=None if works else error),)


async def test_administrator_is_notified_of_failing_key_providers(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, "administrator")
    async with run_app(app, size=(140, 40)) as pilot:
        set_up_provider(workspace, works=False)
        await workspace.engine.provider_monitor.check()
        await wait_until(pilot, lambda: "1 key provider failing" in screen_text(app))
        await wait_until(pilot, lambda: "The key provider seal does not work" in screen_text(app))
        set_up_provider(workspace, works=True)
        await workspace.engine.provider_monitor.check()
        await wait_until(pilot, lambda: "All keys work again" in screen_text(app))
        assert "failing" not in screen_text(app)


async def test_others_see_no_failing_key_providers(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, "owner")
    async with run_app(app) as pilot:
        set_up_provider(workspace, works=False)
        await workspace.engine.provider_monitor.check()
        await pilot.pause()
        assert app.state.provider_failures == ()
        assert "failing" not in screen_text(app)
