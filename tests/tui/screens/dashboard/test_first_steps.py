"""Tests of the guide through the first steps on the dashboard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from sealyard.model.access import Action
from sealyard.model.algorithms import EncryptionAlgorithm, SigningAlgorithm
from sealyard.model.requests import DeviceRequest, EncryptionKeyRequest, SigningKeyRequest
from sealyard_tui.app import SealyardApp
from sealyard_tui.screens.dashboard.first_steps import FirstStepsPane
from sealyard_tui.session.messages import ConnectionMode
from tests.support.clock import FakeClock
from tests.tui.connection import FakeConnection
from tests.tui.pilot_helpers import (
    assert_visible,
    make_app,
    run_app,
    screen_text,
    wait_for_workers,
    wait_idle,
    wait_until,
)
from tests.tui.workspace import ADMINISTRATOR, DEVELOPER, NOW, OWNER, FakeIds, TuiWorkspace, make_repeatable


@pytest.fixture
async def new_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[TuiWorkspace]:
    """A workspace as it is after its creation, with nothing but its administrator."""
    workspace = TuiWorkspace(tmp_path / "new", FakeIds("t"), clock=FakeClock(NOW))
    make_repeatable(workspace.ids, monkeypatch)
    await workspace.create()
    await workspace.open()
    yield workspace
    await workspace.close()


def steps_of(app: SealyardApp) -> FirstStepsPane:
    return app.screen.query_one(FirstStepsPane)


async def test_new_workspace_guides_through_steps(new_workspace: TuiWorkspace) -> None:
    app = make_app(new_workspace, "administrator")
    administrator = new_workspace.client(ADMINISTRATOR)
    async with run_app(app, size=(80, 24)) as pilot:
        await assert_visible(pilot, "▸ 1. Add people: a developer and a product owner  press 6, then n")
        await administrator.add_subject(DEVELOPER, "Dana Developer")
        await administrator.add_subject(OWNER, "Olga Owner")
        await assert_visible(pilot, "✓ 1. Add people", "▸ 2. Create a device configuration  press 5, then n")
        await administrator.create_device(
            DeviceRequest(
                name="gateway",
                encryption_keys=(EncryptionKeyRequest(algorithm=EncryptionAlgorithm.AES256_CBC_PKCS7_PAD),),
                signing_keys=(SigningKeyRequest(algorithm=SigningAlgorithm.ED25519),),
                use=(DEVELOPER,),
                approve=(OWNER,),
            )
        )
        await assert_visible(pilot, "✓ 2. Create", "▸ 3. Upload firmware and request a package  press P to act as Dana")
        task = await new_workspace.add_task("t-first")
        await assert_visible(pilot, "First steps  ✓ people  ✓ device  ✓ upload  ▸ approve")
        await new_workspace.complete(task)
        await wait_until(pilot, lambda: not steps_of(app).display)


async def test_next_step_names_key_for_user(empty_workspace: TuiWorkspace) -> None:
    app = make_app(empty_workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        await assert_visible(pilot, "▸ 3. Upload firmware and request a package  press 2")
        await empty_workspace.add_task("t-first")
        await pilot.press("f2")
        await wait_until(pilot, lambda: app.state.identity == OWNER)
        await assert_visible(pilot, "▸ approve  (press 3)")


async def test_guide_on_server_names_next_user(empty_workspace: TuiWorkspace) -> None:
    connection = FakeConnection(empty_workspace, mode=ConnectionMode.SERVER, host="seal.example")
    app = make_app(empty_workspace, "administrator", connection=connection)
    async with run_app(app, size=(80, 24)) as pilot:
        await assert_visible(pilot, "▸ 3. Upload firmware and request a package  Dana Developer does this")


async def test_first_steps_load_one_at_a_time(new_workspace: TuiWorkspace) -> None:
    app = make_app(new_workspace, "administrator")
    administrator, faults = new_workspace.client(ADMINISTRATOR), new_workspace.faults
    async with run_app(app) as pilot:
        await assert_visible(pilot, "▸ 1. Add people")
        old_count = faults.counts["devices"]
        faults.hold_answers["devices"] = old_answer = asyncio.Event()
        for running in (1, 2, 3):
            app.set_state(msgspec.structs.replace(app.state, running=running))
        await wait_until(pilot, lambda: faults.counts["devices"] == old_count + 1)
        del faults.hold_answers["devices"]
        await administrator.add_subject(DEVELOPER)
        await wait_idle()
        assert faults.counts["devices"] == old_count + 1
        old_answer.set()
        await assert_visible(pilot, "✓ 1. Add people", "▸ 2. Create a device")


async def test_answer_for_previous_user_is_ignored(new_workspace: TuiWorkspace) -> None:
    app = make_app(new_workspace, "administrator")
    await new_workspace.client(ADMINISTRATOR).add_subject(DEVELOPER)
    faults = new_workspace.faults
    async with run_app(app) as pilot:
        await assert_visible(pilot, "▸ 2. Create a device configuration  press 5, then n")
        old_count = faults.counts["devices"]
        faults.hold_answers["devices"] = old_answer = asyncio.Event()
        app.set_state(msgspec.structs.replace(app.state, running=1))
        await wait_until(pilot, lambda: faults.counts["devices"] == old_count + 1)
        del faults.hold_answers["devices"]
        app.switch_profile(next(profile for profile in app.session.profiles if profile.name == "developer"))
        await assert_visible(pilot, "▸ 1. Add people: a developer and a product owner  ask an administrator")
        old_answer.set()
        await wait_for_workers(pilot)
        assert "ask an administrator" in screen_text(app)


async def test_hidden_guide_stays_hidden_until_shown(empty_workspace: TuiWorkspace) -> None:
    app = make_app(empty_workspace)
    async with run_app(app) as pilot:
        await assert_visible(pilot, "First steps  H hides this")
        await pilot.press("H")
        await wait_until(pilot, lambda: not steps_of(app).display)
        await pilot.press("r")
        await wait_for_workers(pilot)
        assert "First steps" not in screen_text(app)
        await pilot.press("H")
        await assert_visible(pilot, "First steps")


async def test_established_workspace_loads_no_steps(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, "administrator")
    async with run_app(app):
        assert steps_of(app).is_finished
        assert not steps_of(app).display
        assert workspace.faults.counts["access"] == 0


async def test_hostile_name_in_guide_is_escaped(empty_workspace: TuiWorkspace) -> None:
    await empty_workspace.client(ADMINISTRATOR).add_subject("USER:aa", "[b]{key[app.quit]}\x1b[2J")
    await empty_workspace.add_rule("USER:aa", "DEVICE_CONFIG:gw", Action.USE)
    app = make_app(empty_workspace, "administrator")
    async with run_app(app) as pilot:
        await assert_visible(pilot, r"to act as [b]{key[app.quit]}\x1b[2J")
