"""Device configurations: all of a version is seen, and each act is there for who may do it, with what it means."""

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
from sealyard.model.requests import DeviceRequest, DeviceUpdate
from sealyard_tui.app import SealyardApp
from tests.tui.connection import FakeConnection
from tests.tui.form_helpers import fill_field, open_form, select_values, submit_form, type_text
from tests.tui.pilot_helpers import assert_visible, make_app, run_app, screen_text, wait_for_workers, wait_until
from tests.tui.task_factories import device
from tests.tui.workspace import ADMINISTRATOR, DEVELOPER, OWNER, TuiWorkspace

HOSTILE = "fw[/oops] [@click=app.quit]x[/] \x1b]2;PWNED\x07 \u202e"


def the_app(
    workspace: TuiWorkspace, who: str = "administrator", downloads: Path | None = None, **settings: Any
) -> SealyardApp:
    app = make_app(workspace, who, start_screen="devices", **settings)
    app.download_manager.folder = downloads
    return app


async def typed(pilot: Pilot[None], word: str) -> None:
    type_text(pilot.app, word)
    await pilot.press("enter")
    await wait_for_workers(pilot)


async def test_a_list_says_name_version_algorithms_and_warnings_at_80_columns(workspace: TuiWorkspace) -> None:
    app = the_app(workspace)
    async with run_app(app, size=(80, 24)):
        seen = screen_text(app)
        for words in ("gateway", "AES256_CBC_PKCS7_PAD", "ECC_NIST_P256", "!1", "sensor"):
            assert words in seen


async def test_a_wide_list_says_quorum_format_and_terms_beside_the_detail(workspace: TuiWorkspace) -> None:
    app = the_app(workspace)
    async with run_app(app, size=(120, 60)):
        seen = screen_text(app)
        for words in ("APPROVALS", "FORMAT", "LINK", "KEPT", "local:gateway-signing version 1", "may approve"):
            assert words in seen
        assert re.search(rf"may use +{DEVELOPER} \(Dana Developer\)", seen)
        assert "This cipher is not authenticated" in seen


async def test_enter_opens_the_detail_and_esc_closes_it(workspace: TuiWorkspace) -> None:
    app = the_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        assert "link time" not in screen_text(app)
        await pilot.press("enter")
        await assert_visible(pilot, "gateway  version 2 of 2", "link time")
        await pilot.press("escape")
        await wait_until(pilot, lambda: "link time" not in screen_text(app))


async def test_older_versions_are_stepped_through_and_said_to_be_older(workspace: TuiWorkspace) -> None:
    app = the_app(workspace)
    async with run_app(app) as pilot:
        await pilot.press("left_square_bracket")
        await assert_visible(pilot, "version 1 of 2", "newest version: 2")
        await pilot.press("left_square_bracket")
        await pilot.press("right_square_bracket")
        await assert_visible(pilot, "version 2 of 2")


async def test_who_may_not_see_keys_and_rules_sees_the_rest_and_is_not_refused(workspace: TuiWorkspace) -> None:
    app = the_app(workspace, "developer")
    async with run_app(app) as pilot:
        seen = screen_text(app)
        assert "local:gateway-signing version 1" in seen
        assert "your permissions  USE" in seen
        assert "fingerprint" not in seen
        for key in ("n", "e", "E", "R"):
            await pilot.press(key)
        await wait_for_workers(pilot)
        assert app.screen.id == "devices"
        assert not workspace.faults.calls
        assert await workspace.audit_entries(AuditAction.REFUSED) == []


async def test_a_certificate_that_ends_soon_is_a_warning_in_words(empty_workspace: TuiWorkspace) -> None:
    (key,) = [key for key in empty_workspace.shelf.infos.values() if key.uri == "local:gateway-signing"]
    assert key.current.certificate_expires_at is not None
    empty_workspace.clock.move_to(key.current.certificate_expires_at - timedelta(days=3))
    app = the_app(empty_workspace)
    async with run_app(app):
        seen = screen_text(app)
        assert "in 3d; rotate the key (R)" in seen
        assert "!2" in seen


async def test_read_only_hides_all_that_changes_something(workspace: TuiWorkspace) -> None:
    app = the_app(workspace, connection=FakeConnection(workspace, read_only=True))
    async with run_app(app) as pilot:
        footer = screen_text(app).splitlines()[-1]
        assert "New" not in footer
        assert "Export" not in footer
        assert "Certs" in footer
        await pilot.press("n", "e", "E", "R")
        await wait_for_workers(pilot)
        assert app.screen.id == "devices"


async def test_creating_shows_the_caveats_of_what_is_chosen(workspace: TuiWorkspace) -> None:
    app = the_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        await open_form(pilot, "n")
        fill_field(app, "encryption", EncryptionAlgorithm.AES256_ECB_ZERO_BYTE_PAD)
        await assert_visible(pilot, "ECB leaks patterns")
        fill_field(app, "encryption", EncryptionAlgorithm.AES128_CTR_NO_PAD)
        await wait_until(pilot, lambda: "patterns" not in screen_text(app))


async def test_a_new_configuration_is_what_was_answered_and_is_looked_at(workspace: TuiWorkspace) -> None:
    app = the_app(workspace)
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
                    encryption=EncryptionAlgorithm.AES256_CBC_PKCS7_PAD,
                    signing=SigningAlgorithm.ED25519,
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


async def test_only_keys_that_fit_the_algorithm_are_offered(workspace: TuiWorkspace) -> None:
    app = the_app(workspace)
    async with run_app(app) as pilot:
        await open_form(pilot, "n")
        fill_field(app, "signing", SigningAlgorithm.ECC_NIST_P256)
        await pilot.pause()
        fill_field(app, "signing_key", "local:gateway-signing")
        fill_field(app, "signing", SigningAlgorithm.RSA_4096)
        await assert_visible(pilot, "a new key (RSA_4096)")


async def test_making_keys_takes_time_and_the_screen_says_so(workspace: TuiWorkspace) -> None:
    workspace.faults.hold["create_device"] = asyncio.Event()
    app = the_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        await open_form(pilot, "n")
        fill_field(app, "name", "slow")
        await pilot.press("ctrl+s")
        await assert_visible(pilot, "▸ Creating the configuration and its keys…")
        workspace.faults.hold["create_device"].set()
        await wait_for_workers(pilot)
        assert app.screen.id == "devices"


async def test_a_product_owner_without_the_list_of_people_writes_their_names(workspace: TuiWorkspace) -> None:
    await workspace.add_rule(OWNER, "RESOURCE_TYPE:DEVICE_CONFIG", Action.CREATE)
    await workspace.add_subject("USER:dana")
    await workspace.add_subject("GROUP:devs")
    app = the_app(workspace, "owner")
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


async def test_a_new_version_says_what_changes_and_that_tasks_keep_theirs(workspace: TuiWorkspace) -> None:
    await workspace.add_user("USER:second", Action.APPROVE)
    app = the_app(workspace)
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


async def test_a_version_without_a_change_is_not_made(workspace: TuiWorkspace) -> None:
    app = the_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        await open_form(pilot, "e")
        await submit_form(pilot)
        await assert_visible(pilot, "No changes.")
        assert not workspace.faults.calls


async def test_a_span_of_more_than_two_units_stays_as_it_was(workspace: TuiWorkspace) -> None:
    await workspace.add_user("USER:second", Action.APPROVE)
    span = DeviceUpdate(config="gw", link_ttl_seconds=86400 + 3600 + 60)
    await workspace.execute(ADMINISTRATOR, workspace.engine.devices.update(ADMINISTRATOR, span))
    app = the_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        await open_form(pilot, "e")
        fill_field(app, "approvals", "2")
        await submit_form(pilot)
        assert workspace.faults.calls_of("update_device") == [(DeviceUpdate(config="gw", approvals_required=2),)]


async def test_certificates_are_written_beside_what_is_there_and_told_where(
    workspace: TuiWorkspace, tmp_path: Path
) -> None:
    (tmp_path / "gateway-signing-v1.pem").write_text("somebody else's")
    app = the_app(workspace, "developer", tmp_path)
    async with run_app(app) as pilot:
        await open_form(pilot, "d")
        await submit_form(pilot)
        await wait_until(pilot, (tmp_path / "gateway-signing-v1 (2).pem").exists)
        await assert_visible(pilot, "(2).pem")
    assert (tmp_path / "gateway-signing-v1.pem").read_text() == "somebody else's"
    assert "BEGIN CERTIFICATE" in (tmp_path / "gateway-signing-v1 (2).pem").read_text()


async def test_the_key_leaves_only_after_its_name_was_typed(workspace: TuiWorkspace, tmp_path: Path) -> None:
    app = the_app(workspace, "administrator", tmp_path)
    async with run_app(app, size=(80, 24)) as pilot:
        await open_form(pilot, "E")
        await assert_visible(pilot, "(mode 0600)")
        await pilot.press("ctrl+s")
        await assert_visible(pilot, "This cannot be undone.", "Type gateway to confirm")
        type_text(app, "gate")
        await pilot.press("enter")
        assert not workspace.faults.calls
        await typed(pilot, "way")
        path = tmp_path / "gateway-v1.key"
        assert workspace.faults.calls_of("export_device_key") == [("gw", path, True)]
        assert path.exists()
        await assert_visible(pilot, "mode 0600")


async def test_going_back_from_the_typed_confirmation_exports_nothing(workspace: TuiWorkspace, tmp_path: Path) -> None:
    app = the_app(workspace, "administrator", tmp_path)
    async with run_app(app, size=(80, 24)) as pilot:
        form = await open_form(pilot, "E")
        await pilot.press("ctrl+s")
        await assert_visible(pilot, "Type gateway to confirm")
        await pilot.press("escape")
        await wait_until(pilot, lambda: app.screen is form)
        assert not workspace.faults.calls


async def test_a_refusal_of_the_export_is_told_and_the_application_lives(
    workspace: TuiWorkspace, tmp_path: Path
) -> None:
    # The engine's answer if another program creates the file in the meantime.
    workspace.faults.fail["export_device_key"] = StorageError("There is such a file already.", "Choose another name.")
    app = the_app(workspace, "administrator", tmp_path)
    async with run_app(app, size=(80, 24)) as pilot:
        await open_form(pilot, "E")
        await pilot.press("ctrl+s")
        await assert_visible(pilot, "Type gateway to confirm")
        await typed(pilot, "gateway")
        await assert_visible(pilot, "✗ There is such a file already.", "→ Choose another name.")


async def test_rotating_names_every_configuration_that_follows(workspace: TuiWorkspace) -> None:
    workspace.faults.hold["rotate_key"] = asyncio.Event()
    await workspace.create_device(
        "door",
        signing=SigningAlgorithm.ECC_NIST_P256,
        signing_key="local:gateway-signing",
        use=(DEVELOPER,),
        approve=(OWNER,),
    )
    app = the_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        await pilot.press("R")
        await assert_visible(pilot, "Choose the key to rotate", "local:gateway-signing  door, gateway")
        await pilot.press("1")
        await assert_visible(pilot, "Type local:gateway-signing to confirm")
        type_text(app, "local:gateway-signing")
        await pilot.press("enter")
        await assert_visible(pilot, "▸ Creating the next version of local:gateway-signing…")
        workspace.faults.hold["rotate_key"].set()
        await wait_for_workers(pilot)
        assert workspace.faults.calls_of("rotate_key") == [("local:gateway-signing",)]
        assert "▸ Making" not in screen_text(app)


async def test_foreign_text_is_shown_harmless(workspace: TuiWorkspace) -> None:
    await workspace.store_device(device(version=3, name=HOSTILE, description=HOSTILE, warnings=(HOSTILE,)))
    app = the_app(workspace)
    async with run_app(app) as pilot:
        await assert_visible(pilot, "fw[/oops] [@click=app.quit]x[/] \\x1b]2;PWNED\\x07 \\u202e")
        await open_form(pilot, "e")
        await pilot.press("escape", "E")
        await assert_visible(pilot, "Export the symmetric key of fw[/oops]")
        assert "\x1b" not in screen_text(app)
        assert "\u202e" not in screen_text(app)


async def test_the_filter_narrows_by_name_algorithm_and_key(workspace: TuiWorkspace) -> None:
    app = the_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        await pilot.press("slash")
        await wait_until(pilot, lambda: isinstance(app.focused, Input))
        type_text(app, "sensor-sig")
        await pilot.press("enter")
        await assert_visible(pilot, "1 of 2")
        assert "gateway " not in screen_text(app)
        await pilot.press("escape")
        await assert_visible(pilot, "gateway")


async def test_an_empty_list_says_what_to_do_next(empty_workspace: TuiWorkspace) -> None:
    unit_of_work = empty_workspace.engine.repository.begin()
    for config_id in ("gw", "sensor"):
        unit_of_work.delete(DEVICES, config_id)
    await unit_of_work.commit()
    for who, words in (("administrator", "Press n to create one"), ("developer", "Ask an administrator")):
        app = the_app(empty_workspace, who)
        async with run_app(app, size=(80, 24)) as pilot:
            await assert_visible(pilot, words)


async def test_a_change_elsewhere_is_seen_and_the_cursor_stays(workspace: TuiWorkspace) -> None:
    app = the_app(workspace)
    async with run_app(app) as pilot:
        await pilot.press("down")
        await workspace.create_device("aaa", use=(DEVELOPER,), approve=(OWNER,))
        await assert_visible(pilot, "aaa", "sensor  version 1 of 1")


async def test_another_person_sees_nothing_of_the_one_before(workspace: TuiWorkspace) -> None:
    app = the_app(workspace)
    async with run_app(app) as pilot:
        await assert_visible(pilot, "fingerprint")
        app.switch_profile(next(each for each in app.session.profiles if each.name == "developer"))
        await wait_until(pilot, lambda: app.state.identity == DEVELOPER and bool(app.state.rights))
        await wait_for_workers(pilot)
        assert "fingerprint" not in screen_text(app)
