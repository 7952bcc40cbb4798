"""Tests of the keys of tokens and key services in the form for new device configurations, and in the detail pane."""

from __future__ import annotations

import pytest
from textual.pilot import Pilot

from sealyard.model.algorithms import EncryptionAlgorithm, KeyType, SigningAlgorithm
from sealyard.model.backend_keys import ListedKey, ProviderKeys
from sealyard.model.device_configs import DeviceConfig
from sealyard.model.errors import KeyProviderUnavailableError
from sealyard.model.keys import KeyCapabilities
from sealyard.model.requests import KeyRegistration
from sealyard_tui.app import SealyardApp
from sealyard_tui.dialogs.fields import ChoiceLine
from sealyard_tui.dialogs.form import FormDialog
from sealyard_tui.screens.devices.screen import DevicesScreen
from tests.tui.form_helpers import field_row, fill_field, open_form, submit_form
from tests.tui.pilot_helpers import assert_visible, make_app, run_app, screen_text, wait_for_workers
from tests.tui.workspace import ADMINISTRATOR, TuiWorkspace

SIGNING_KEY = "vault:transit/gateway-sign"
WRAPPING_KEY = "vault:transit/wrap"
ERROR = KeyProviderUnavailableError("The token seal was removed.", "Insert it.")


@pytest.fixture(autouse=True)
def _add_providers(workspace: TuiWorkspace) -> None:
    workspace.shelf.provider_keys = (
        ProviderKeys(
            section="bao",
            scheme="vault",
            key_prefix="vault:transit/",
            keys=(
                ListedKey(name="transit/gateway-sign", kind=KeyType.EC_P256),
                ListedKey(name="transit/wrap", kind=KeyType.AES_256),
            ),
        ),
        ProviderKeys(section="seal", scheme="pkcs11", key_prefix="pkcs11:token=seal;object=", error=ERROR.to_info()),
    )
    workspace.shelf.capabilities["transit/gateway-sign"] = KeyCapabilities(
        algorithms=(SigningAlgorithm.ECC_NIST_P256,), max_message_bytes=4096, signatures_per_second=100
    )


def list_choices(app: SealyardApp, name: str) -> dict[str, str]:
    control = field_row(app, name).control
    assert isinstance(control, ChoiceLine)
    return dict(control.choices)


async def open_create_form(pilot: Pilot[None]) -> FormDialog:
    form = await open_form(pilot, "n")
    await wait_for_workers(pilot)
    return form


async def create_device(pilot: Pilot[None], app: SealyardApp, **values: str) -> DeviceConfig:
    await open_create_form(pilot)
    for name, value in {"name": "tokens", "encryption": EncryptionAlgorithm.AES256_CBC_PKCS7_PAD, **values}.items():
        fill_field(app, name, value)
        await pilot.pause()
    await submit_form(pilot)
    assert isinstance(app.screen, DevicesScreen), screen_text(app)
    return next(device for device in app.screen.devices if device.name == "tokens")


async def test_form_offers_the_keys_of_providers(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, "administrator", start_screen="devices")
    async with run_app(app) as pilot:
        form = await open_create_form(pilot)
        choices = list_choices(app, "signing_key")
        assert next(iter(choices.items())) == ("", "a new key (EC_P256)")
        assert choices[SIGNING_KEY] == f"{SIGNING_KEY} (EC_P256, to be registered)"
        assert choices["new-in:bao"] == "a new key in bao (vault)"
        assert choices["new-in:seal"] == "a new key in seal (pkcs11), which does not work"
        assert WRAPPING_KEY not in choices
        await assert_visible(pilot, "! seal: The token seal was removed. Insert it.")
        fill_field(app, "signing_key", "new-in:seal")
        await assert_visible(pilot, "✗ The token seal was removed. Insert it.")
        fill_field(app, "encryption", EncryptionAlgorithm.AES256_CBC_PKCS7_PAD)
        await pilot.pause()
        assert f"wrapped-by:{WRAPPING_KEY}" in list_choices(app, "encryption_key")
        assert form.answers.texts["encryption_key"] == ""


@pytest.mark.parametrize(
    ("choice", "uri"), [(SIGNING_KEY, SIGNING_KEY), ("new-in:bao", "vault:transit/tokens-signing")]
)
async def test_form_registers_or_generates_a_key(workspace: TuiWorkspace, choice: str, uri: str) -> None:
    app = make_app(workspace, "administrator", start_screen="devices")
    async with run_app(app) as pilot:
        device = await create_device(pilot, app, signing_key=choice)
    assert (device.signing.uri, device.encryption.uri) == (uri, "local:tokens-encryption")


async def test_detail_shows_the_limits_of_keys(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, "administrator", start_screen="devices")
    async with run_app(app, size=(160, 60)) as pilot:
        device = await create_device(pilot, app, signing_key=SIGNING_KEY, encryption_key=f"wrapped-by:{WRAPPING_KEY}")
        assert isinstance(app.screen, DevicesScreen)
        app.screen.show_device(device.id)
        await assert_visible(
            pilot,
            f"wrapped by {WRAPPING_KEY} version 1",
            "messages of at most 4.0 KiB (4,096 bytes)",
            "at most 100 signatures per second",
            "cannot be rotated",
        )


async def test_error_of_a_provider_is_shown_in_the_form(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, "administrator", start_screen="devices")
    async with run_app(app) as pilot:
        await open_create_form(pilot)
        for name, value in {"name": "tokens", "signing_key": "new-in:seal"}.items():
            fill_field(app, name, value)
        await submit_form(pilot)
        assert isinstance(app.screen, FormDialog)
        await assert_visible(pilot, "The token seal was removed.")
    assert not [device for device in workspace.engine.devices.list_configs(ADMINISTRATOR) if device.name == "tokens"]


async def test_note_shows_the_limits_of_a_registered_key(workspace: TuiWorkspace) -> None:
    await workspace.execute(
        ADMINISTRATOR,
        workspace.engine.external_keys.register(ADMINISTRATOR, KeyRegistration(uri=SIGNING_KEY)),
    )
    app = make_app(workspace, "administrator", start_screen="devices")
    async with run_app(app) as pilot:
        await open_create_form(pilot)
        fill_field(app, "signing_key", SIGNING_KEY)
        await assert_visible(pilot, "at most 100 signatures per second")
