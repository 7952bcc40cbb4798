"""Tests of the devices screen: versions, forms, certificates and keys."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

from textual.pilot import Pilot
from textual.widgets import Input

from sealyard.engine.state.tables import DEVICES
from sealyard.model.access import Action
from sealyard.model.algorithms import EncryptionAlgorithm, KeyPurpose, SigningAlgorithm
from sealyard.model.audit import AuditAction
from sealyard.model.errors import StorageError
from sealyard.model.requests import DeviceRequest, DeviceUpdate, EncryptionKeyRequest, SigningKeyRequest
from sealyard_tui.app import SealyardApp
from sealyard_tui.widgets.filter_bar import FilterBar
from tests.tui.connection import FakeConnection
from tests.tui.form_helpers import fill_field, open_form, select_values, submit_form, type_text
from tests.tui.pilot_helpers import assert_visible, make_app, run_app, screen_text, wait_for_workers, wait_until
from tests.tui.task_factories import device
from tests.tui.workspace import ADMINISTRATOR, DEVELOPER, OWNER, TuiWorkspace

HOSTILE = "fw[/oops] [@click=app.quit]x[/] \x1b]2;PWNED\x07 \u202e"


def make_devices_app(
    workspace: TuiWorkspace, profile_name: str = "administrator", downloads: Path | None = None, **settings: Any
) -> SealyardApp:
    app = make_app(workspace, profile_name, start_screen="devices", **settings)
    app.download_manager.folder = downloads
    return app


async def confirm_by_typing(pilot: Pilot[None], word: str) -> None:
    type_text(pilot.app, word)
    await pilot.press("enter")
    await wait_for_workers(pilot)


async def test_list_at_80_columns_shows_main_columns(workspace: TuiWorkspace) -> None:
    app = make_devices_app(workspace)
    async with run_app(app, size=(80, 24)):
        text = screen_text(app)
        for words in ("gateway", "AES256_CBC_PKCS7_PAD", "ECC_NIST_P256", "!1", "sensor"):
            assert words in text


async def test_wide_list_shows_more_columns_and_detail(workspace: TuiWorkspace) -> None:
    app = make_devices_app(workspace)
    async with run_app(app, size=(120, 60)):
        text = screen_text(app)
        for words in ("APPROVALS", "FORMAT", "LINK", "KEPT", "local:gateway-signing version 1", "may approve"):
            assert words in text
        assert re.search(rf"may use +{DEVELOPER} \(Dana Developer\)", text)
        assert "This cipher is not authenticated" in text


async def test_detail_opens_and_closes_by_key(workspace: TuiWorkspace) -> None:
    app = make_devices_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        assert "link time" not in screen_text(app)
        await pilot.press("enter")
        await assert_visible(pilot, "gateway  version 2 of 2", "link time")
        await pilot.press("escape")
        await wait_until(pilot, lambda: "link time" not in screen_text(app))


async def test_version_keys_show_older_versions(workspace: TuiWorkspace) -> None:
    app = make_devices_app(workspace)
    async with run_app(app) as pilot:
        await pilot.press("left_square_bracket")
        await assert_visible(pilot, "version 1 of 2", "newest version: 2")
        await pilot.press("left_square_bracket")
        await pilot.press("right_square_bracket")
        await assert_visible(pilot, "version 2 of 2")


async def test_unprivileged_user_sees_detail_without_keys(workspace: TuiWorkspace) -> None:
    app = make_devices_app(workspace, "developer")
    async with run_app(app, size=(120, 44)) as pilot:
        text = screen_text(app)
        assert "local:gateway-signing version 1" in text
        assert "your permissions  USE" in text
        assert "fingerprint" not in text
        for key in ("n", "e", "E", "R"):
            await pilot.press(key)
        await wait_for_workers(pilot)
        assert app.screen.id == "devices"
        assert not workspace.faults.calls
        assert await workspace.audit_entries(AuditAction.REFUSED) == []


async def test_expiring_certificate_shows_warning(empty_workspace: TuiWorkspace) -> None:
    (key,) = [key for key in empty_workspace.shelf.infos.values() if key.uri == "local:gateway-signing"]
    assert key.current.certificate_expires_at is not None
    empty_workspace.clock.move_to(key.current.certificate_expires_at - timedelta(days=3))
    app = make_devices_app(empty_workspace)
    async with run_app(app):
        text = screen_text(app)
        assert "in 3d; rotate the key (R)" in text
        assert "!2" in text


async def test_read_only_disables_modifying_actions(workspace: TuiWorkspace) -> None:
    app = make_devices_app(workspace, connection=FakeConnection(workspace, read_only=True))
    async with run_app(app) as pilot:
        footer = screen_text(app).splitlines()[-1]
        assert "New" not in footer
        assert "Export" not in footer
        assert "Certs" in footer
        await pilot.press("n", "e", "E", "R", "I")
        await wait_for_workers(pilot)
        assert app.screen.id == "devices"


async def test_create_form_warns_about_algorithm(workspace: TuiWorkspace) -> None:
    app = make_devices_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        await open_form(pilot, "n")
        fill_field(app, "encryption", EncryptionAlgorithm.AES256_ECB_ZERO_BYTE_PAD)
        await assert_visible(pilot, "ECB leaks patterns")
        fill_field(app, "encryption", EncryptionAlgorithm.AES128_CTR_NO_PAD)
        await wait_until(pilot, lambda: "patterns" not in screen_text(app))


async def test_create_form_submits_request_and_selects_device(workspace: TuiWorkspace) -> None:
    app = make_devices_app(workspace)
    async with run_app(app) as pilot:
        await open_form(pilot, "n")
        fill_field(app, "name", "door-lock")
        fill_field(app, "description", "in the door")
        fill_field(app, "signing", SigningAlgorithm.ED25519)
        fill_field(app, "purpose", KeyPurpose.PACKAGE)
        select_values(app, "use", DEVELOPER)
        select_values(app, "approve", OWNER, ADMINISTRATOR)
        fill_field(app, "approvals", "2")
        fill_field(app, "link", "12h")
        fill_field(app, "retention", "2w")
        await submit_form(pilot)
        assert workspace.faults.calls_of("create_device") == [
            (
                DeviceRequest(
                    name="door-lock",
                    description="in the door",
                    encryption_keys=(EncryptionKeyRequest(algorithm=EncryptionAlgorithm.AES256_CBC_PKCS7_PAD),),
                    signing_keys=(SigningKeyRequest(algorithm=SigningAlgorithm.ED25519),),
                    purpose=KeyPurpose.PACKAGE,
                    use=(DEVELOPER,),
                    approve=(OWNER, ADMINISTRATOR),
                    approvals_required=2,
                    link_ttl_seconds=12 * 3600,
                    retention_seconds=14 * 86400,
                ),
            )
        ]
        await assert_visible(pilot, "door-lock  version 1 of 1", "Created door-lock")


async def test_create_form_drops_incompatible_key(workspace: TuiWorkspace) -> None:
    app = make_devices_app(workspace)
    async with run_app(app) as pilot:
        await open_form(pilot, "n")
        fill_field(app, "signing", SigningAlgorithm.ECC_NIST_P256)
        await pilot.pause()
        fill_field(app, "signing_key", "local:gateway-signing")
        fill_field(app, "signing", SigningAlgorithm.RSA_4096)
        await assert_visible(pilot, "a new key (RSA_4096)")


async def test_key_creation_shows_progress(workspace: TuiWorkspace) -> None:
    workspace.faults.hold["create_device"] = asyncio.Event()
    app = make_devices_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        await open_form(pilot, "n")
        fill_field(app, "name", "slow")
        await pilot.press("ctrl+s")
        await assert_visible(pilot, "▸ Creating the configuration and its keys…")
        workspace.faults.hold["create_device"].set()
        await wait_for_workers(pilot)
        assert app.screen.id == "devices"


async def test_create_form_without_subject_list_accepts_names(workspace: TuiWorkspace) -> None:
    await workspace.add_rule(OWNER, "RESOURCE_TYPE:DEVICE_CONFIG", Action.CREATE)
    await workspace.add_subject("USER:dana")
    await workspace.add_subject("GROUP:devs")
    app = make_devices_app(workspace, "owner")
    async with run_app(app) as pilot:
        await open_form(pilot, "n")
        fill_field(app, "name", "door")
        fill_field(app, "use", "dana GROUP:devs")
        fill_field(app, "approve", "no body!")
        await pilot.press("ctrl+s")
        await assert_visible(pilot, "Invalid subject 'body!'")
        fill_field(app, "approve", "")
        await submit_form(pilot)
        request = workspace.faults.calls_of("create_device")[0][0]
        assert isinstance(request, DeviceRequest)
        assert request.use == ("USER:dana", "GROUP:devs")


async def test_edit_form_shows_changes_and_saves_version(workspace: TuiWorkspace) -> None:
    await workspace.add_user("USER:second", Action.APPROVE)
    app = make_devices_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        await open_form(pilot, "e")
        await assert_visible(pilot, "Existing tasks keep version 2")
        await assert_visible(pilot, "No changes.")
        fill_field(app, "link", "90m")
        fill_field(app, "approvals", "2")
        await assert_visible(pilot, "approvals: 1 → 2", "link time: 1d → 1h 30m")
        await submit_form(pilot)
        wanted = DeviceUpdate(config="gw", approvals_required=2, link_ttl_seconds=5400)
        assert workspace.faults.calls_of("update_device") == [(wanted,)]
        await assert_visible(pilot, "Saved gateway version 3")


async def test_edit_form_without_changes_saves_nothing(workspace: TuiWorkspace) -> None:
    app = make_devices_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        await open_form(pilot, "e")
        await submit_form(pilot)
        await assert_visible(pilot, "No changes.")
        assert not workspace.faults.calls


async def test_edit_form_keeps_unchanged_long_duration(workspace: TuiWorkspace) -> None:
    await workspace.add_user("USER:second", Action.APPROVE)
    span = DeviceUpdate(config="gw", link_ttl_seconds=86400 + 3600 + 60)
    await workspace.execute(ADMINISTRATOR, workspace.engine.devices.update(ADMINISTRATOR, span))
    app = make_devices_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        await open_form(pilot, "e")
        fill_field(app, "approvals", "2")
        await submit_form(pilot)
        assert workspace.faults.calls_of("update_device") == [(DeviceUpdate(config="gw", approvals_required=2),)]


async def test_detail_shows_all_keys_with_their_names(workspace: TuiWorkspace) -> None:
    await workspace.create_device(
        "aaa",
        encryption_keys=(
            EncryptionKeyRequest(algorithm=EncryptionAlgorithm.AES256_CBC_PKCS7_PAD, name="new"),
            EncryptionKeyRequest(
                algorithm=EncryptionAlgorithm.AES128_CTR_NO_PAD, name="old", description="for old doors"
            ),
        ),
        use=(DEVELOPER,),
        approve=(OWNER,),
    )
    async with run_app(make_devices_app(workspace), size=(160, 60)) as pilot:
        await assert_visible(pilot, "local:aaa-encryption version 1", "encryption (if named)")
        await assert_visible(pilot, "local:aaa-encryption-2 version 1", "name", "old", "for old doors")


async def test_certificate_export_keeps_existing_file(workspace: TuiWorkspace, tmp_path: Path) -> None:
    (tmp_path / "gateway-signing-v1.pem").write_text("somebody else's")
    app = make_devices_app(workspace, "developer", tmp_path)
    async with run_app(app) as pilot:
        await open_form(pilot, "d")
        await submit_form(pilot)
        await wait_until(pilot, (tmp_path / "gateway-signing-v1 (2).pem").exists)
        await assert_visible(pilot, "(2).pem")
    assert (tmp_path / "gateway-signing-v1.pem").read_text() == "somebody else's"
    assert "BEGIN CERTIFICATE" in (tmp_path / "gateway-signing-v1 (2).pem").read_text()


async def test_key_export_requires_typed_name(workspace: TuiWorkspace, tmp_path: Path) -> None:
    app = make_devices_app(workspace, "administrator", tmp_path)
    async with run_app(app, size=(80, 24)) as pilot:
        await open_form(pilot, "E")
        await assert_visible(pilot, "(mode 0600)")
        await pilot.press("ctrl+s")
        await assert_visible(pilot, "This cannot be undone.", "Type gateway to confirm")
        type_text(app, "gate")
        await pilot.press("enter")
        assert not workspace.faults.calls
        await confirm_by_typing(pilot, "way")
        path = tmp_path / "gateway-v1.key"
        assert workspace.faults.calls_of("export_device_key") == [("gw", path, True)]
        assert path.exists()
        await assert_visible(pilot, "mode 0600")


async def test_key_export_escape_exports_nothing(workspace: TuiWorkspace, tmp_path: Path) -> None:
    app = make_devices_app(workspace, "administrator", tmp_path)
    async with run_app(app, size=(80, 24)) as pilot:
        form = await open_form(pilot, "E")
        await pilot.press("ctrl+s")
        await assert_visible(pilot, "Type gateway to confirm")
        await pilot.press("escape")
        await wait_until(pilot, lambda: app.screen is form)
        assert not workspace.faults.calls


async def test_key_export_error_is_shown_in_form(workspace: TuiWorkspace, tmp_path: Path) -> None:
    # The engine's answer if another program creates the file in the meantime.
    workspace.faults.fail["export_device_key"] = StorageError("There is such a file already.", "Choose another name.")
    app = make_devices_app(workspace, "administrator", tmp_path)
    async with run_app(app, size=(80, 24)) as pilot:
        await open_form(pilot, "E")
        await pilot.press("ctrl+s")
        await assert_visible(pilot, "Type gateway to confirm")
        await confirm_by_typing(pilot, "gateway")
        await assert_visible(pilot, "✗ There is such a file already.", "→ Choose another name.")


async def test_key_rotation_lists_affected_configurations(workspace: TuiWorkspace) -> None:
    workspace.faults.hold["rotate_key"] = asyncio.Event()
    await workspace.create_device(
        "door",
        signing=SigningAlgorithm.ECC_NIST_P256,
        signing_key="local:gateway-signing",
        use=(DEVELOPER,),
        approve=(OWNER,),
    )
    app = make_devices_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        await pilot.press("R")
        await assert_visible(pilot, "Choose the key to rotate", "local:gateway-signing  door, gateway")
        await pilot.press("1")
        await assert_visible(pilot, "Type local:gateway-signing to confirm")
        type_text(app, "local:gateway-signing")
        await pilot.press("enter")
        await assert_visible(pilot, "▸ Creating the next version of the key…")
        workspace.faults.hold["rotate_key"].set()
        await wait_for_workers(pilot)
        assert workspace.faults.calls_of("rotate_key") == [("local:gateway-signing",)]
        assert "▸ Making" not in screen_text(app)


async def test_hostile_text_is_escaped(workspace: TuiWorkspace) -> None:
    await workspace.store_device(device(version=3, name=HOSTILE, description=HOSTILE, warnings=(HOSTILE,)))
    app = make_devices_app(workspace)
    async with run_app(app) as pilot:
        await assert_visible(pilot, "fw[/oops] [@click=app.quit]x[/] \\x1b]2;PWNED\\x07 \\u202e")
        await open_form(pilot, "e")
        await pilot.press("escape", "E")
        await assert_visible(pilot, "Export the symmetric key of fw[/oops]")
        assert "\x1b" not in screen_text(app)
        assert "\u202e" not in screen_text(app)


async def test_filter_matches_key_name(workspace: TuiWorkspace) -> None:
    app = make_devices_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        await pilot.press("slash")
        await wait_until(pilot, lambda: isinstance(app.focused, Input))
        type_text(app, "sensor-sig")
        await pilot.press("enter")
        await assert_visible(pilot, "1 of 2")
        assert "gateway " not in screen_text(app)
        await pilot.press("escape")
        await assert_visible(pilot, "gateway")


async def test_filter_finds_everything_that_rows_show(workspace: TuiWorkspace) -> None:
    await workspace.execute(
        ADMINISTRATOR,
        workspace.engine.devices.update(ADMINISTRATOR, DeviceUpdate(config="gateway", retention_seconds=42 * 86400)),
    )
    app = make_devices_app(workspace)
    async with run_app(app, size=(160, 40)) as pilot:
        app.screen.query_one(FilterBar).apply("42d")
        await assert_visible(pilot, "1 of 2", "gateway")


async def test_empty_list_shows_next_step(empty_workspace: TuiWorkspace) -> None:
    unit_of_work = empty_workspace.engine.repository.begin()
    for config_id in ("gw", "sensor"):
        unit_of_work.delete(DEVICES, config_id)
    await unit_of_work.commit()
    for profile_name, words in (("administrator", "Press n to create one"), ("developer", "Ask an administrator")):
        app = make_devices_app(empty_workspace, profile_name)
        async with run_app(app, size=(80, 24)) as pilot:
            await assert_visible(pilot, words)


async def test_external_change_updates_list_and_keeps_cursor(workspace: TuiWorkspace) -> None:
    app = make_devices_app(workspace)
    async with run_app(app) as pilot:
        await pilot.press("down")
        await workspace.create_device("aaa", use=(DEVELOPER,), approve=(OWNER,))
        await assert_visible(pilot, "aaa", "sensor  version 1 of 1")


async def test_profile_switch_hides_key_details(workspace: TuiWorkspace) -> None:
    app = make_devices_app(workspace)
    async with run_app(app) as pilot:
        await assert_visible(pilot, "fingerprint")
        app.switch_profile(next(each for each in app.session.profiles if each.name == "developer"))
        await wait_until(pilot, lambda: app.state.identity == DEVELOPER and bool(app.state.rights))
        await wait_for_workers(pilot)
        assert "fingerprint" not in screen_text(app)
