"""Actions of the device configurations screen: forms, confirmations, and requests to the engine."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from textual.content import Content

from sealyard.client.capabilities import Capabilities
from sealyard.client.downloads.files import safe_file_name, write_unique
from sealyard.client.protocol import Client
from sealyard.model.access import Action, ResourceType, is_allowed, resource_type_uri
from sealyard.model.device_configs import DeviceConfig
from sealyard.model.errors import KeyProviderError, NotFoundError, UsageError
from sealyard.model.safe_text import escape_text
from sealyard_tui.dialogs.confirm import TypedConfirmDialog
from sealyard_tui.dialogs.fields import Answers, TextField, path_field
from sealyard_tui.dialogs.form import FormDialog, FormDraft
from sealyard_tui.dialogs.pick import PickDialog
from sealyard_tui.screens.base import BaseScreen
from sealyard_tui.screens.devices.format import DeviceContext, format_changes, list_keys
from sealyard_tui.screens.devices.forms import (
    build_certificate_file_name,
    build_create_fields,
    build_device_request,
    build_device_update,
    build_update_fields,
)
from sealyard_tui.screens.devices.key_choices import KeyChoices
from sealyard_tui.session.pending_changes import Change
from sealyard_tui.widgets.path_parsing import resolve_path

T = TypeVar("T")

NOTIFICATION_SECONDS = 15
"""Duration in seconds of notifications that contain a path, long enough to copy the path by hand."""


class DeviceActions:
    """Actions on device configurations and their keys. Their forms keep unsubmitted input."""

    def __init__(
        self,
        screen: BaseScreen,
        *,
        devices: Callable[[], Sequence[DeviceConfig]],
        context: Callable[[], DeviceContext],
        load_capabilities: Callable[[], Awaitable[Capabilities]],
        show_device: Callable[[str], None],
    ) -> None:
        """``devices`` and ``context`` return the data loaded by the screen.

        ``show_device`` moves the cursor to the configuration with the given id.
        """
        self._screen = screen
        self._get_devices = devices
        self._get_context = context
        self._load_capabilities = load_capabilities
        self._show_device = show_device
        self._drafts: defaultdict[str, FormDraft] = defaultdict(FormDraft)

    # ---- create

    async def create(self) -> None:
        context = self._get_context()
        keys = KeyChoices(context)
        form = FormDialog(
            "New device configuration",
            build_create_fields(await self._load_capabilities(), context, keys),
            self._submit_device,
            draft=self._drafts["new"],
            submit_label="Create",
            busy_label="Creating the configuration and its keys",
            notes=lambda _: keys.format_errors(),
        )
        self._screen.app.push_screen(form)
        # Without permission, the request would be rejected, and every rejection is recorded in the audit log.
        if is_allowed(context.permissions, Action.CREATE, resource_type_uri(ResourceType.KEY)):
            self._screen.run_background(self._load_provider_keys(keys, form), group="provider-keys", exclusive=True)

    async def _load_provider_keys(self, keys: KeyChoices, form: FormDialog) -> None:
        """Add the keys of tokens and key services to the open form. They can take seconds to answer."""
        try:
            keys.providers = await (await self._screen.client()).provider_keys()
        except NotFoundError:  # an older server
            return
        except KeyProviderError as error:
            keys.error = error
        if form.is_attached:
            form.update_choices()

    async def _submit_device(self, answers: Answers) -> bool:
        request = build_device_request(answers)
        device = await self._make_change(
            f"New device configuration {request.name}", lambda client: client.create_device(request)
        )
        self._reload_and_show(device.id, f"Created {device.name}")
        return True

    # ---- update

    async def create_version(self, device: DeviceConfig) -> None:
        form = FormDialog(
            f"{escape_text(device.name)}: version {device.version + 1}",
            build_update_fields(device, (await self._load_capabilities()).formats),
            partial(self._submit_update, device),
            draft=self._drafts[f"{device.id}/{device.version}"],
            about=f"Existing tasks keep version {device.version}; new tasks use the new version.",
            submit_label="Save",
            notes=partial(self._preview_changes, device),
        )
        self._screen.app.push_screen(form)

    def _preview_changes(self, device: DeviceConfig, answers: Answers) -> Content:
        try:
            changes = format_changes(device, build_device_update(device, answers), self._get_context())
        except UsageError:
            return Content("")
        if not changes:
            return Content.styled("No changes.", "$text-muted")
        return Content.styled("Changes:\n" + "\n".join(f"  {each}" for each in changes), "$accent")

    async def _submit_update(self, device: DeviceConfig, answers: Answers) -> bool:
        update = build_device_update(device, answers)
        if not format_changes(device, update, self._get_context()):
            raise UsageError("No changes.", "Change a field or cancel.")
        version = await self._make_change(
            f"Version {device.version + 1} of {device.name}", lambda client: client.update_device(update)
        )
        self._reload_and_show(version.id, f"Saved {version.name} version {version.version}")
        return True

    # ---- certificates

    def export_certificates(self, device: DeviceConfig) -> None:
        form = FormDialog(
            f"Certificates of {escape_text(device.name)}",
            (path_field("folder", "Folder", self._get_default_folder()),),
            partial(self._write_certificates, device),
            draft=self._drafts["certificates"],
            about="Writes the signing certificates with their chains as PEM files; existing files are kept.",
            submit_label="Export",
            busy_label="Reading the certificates",
        )
        self._screen.app.push_screen(form)

    async def _write_certificates(self, device: DeviceConfig, answers: Answers) -> bool:
        folder = resolve_path(answers.texts["folder"], Path.cwd())
        certificates = await (await self._screen.client()).device_certificates(device.id, device.version)
        paths = [
            await asyncio.to_thread(
                write_unique,
                folder,
                build_certificate_file_name(certificate.label),
                certificate.pem.encode(),
            )
            for certificate in certificates
        ]
        text = "\n".join(f"✓ {escape_text(str(each))}" for each in paths)
        self._screen.notify(text, title="Certificates", timeout=NOTIFICATION_SECONDS, markup=False)
        return True

    # ---- export

    def export_key(self, device: DeviceConfig) -> None:
        key = device.encryption
        name = safe_file_name(f"{device.name}-v{key.version}.key", device.id)
        form = FormDialog(
            f"Export the symmetric key of {escape_text(device.name)}",
            (
                path_field(
                    "file",
                    "New file",
                    self._get_default_folder() / name,
                ),
            ),
            partial(self._submit_export, device),
            draft=self._drafts[f"export/{device.id}"],
            about=(
                f"{key.uri} version {key.version}, for provisioning devices: raw bytes in a file that only you can"
                " read (mode 0600). Anyone with the key can decrypt packages made with it. The export is audited."
            ),
            submit_label="Continue",
            busy_label="Writing the key",
        )
        self._screen.app.push_screen(form)

    async def _submit_export(self, device: DeviceConfig, answers: Answers) -> bool:
        path = resolve_path(answers.texts["file"], Path.cwd())
        about = f"The secret key {device.encryption.uri} will be exported to {path}."
        consequence = "This cannot be undone. Anyone with the key can decrypt every package made with it."
        if not await self._confirm_by_typing("Export the key", about, consequence, device.name, "Export"):
            return False
        exported_path = await self._make_change(
            f"Export of the key of {device.name}",
            lambda client: client.export_device_key(device.id, path, confirmed=True),
        )
        text = f"! {escape_text(str(exported_path))} (mode 0600): transfer it securely, then delete it."
        self._screen.notify(text, title="Key exported", severity="warning", timeout=NOTIFICATION_SECONDS, markup=False)
        return True

    # ---- rotate

    async def rotate(self, device: DeviceConfig) -> None:
        uris = tuple(dict.fromkeys(each.uri for each in reversed(list_keys(device))))
        uri = await self._pick_key("Choose the key to rotate", uris)
        if uri is None:
            return
        device_names = self._format_users(uri)
        about = (
            f"Creates a new version of {uri} and of every device configuration that uses it: {device_names}.\n"
            "Existing tasks keep their version; existing signatures stay valid."
        )
        dialog = TypedConfirmDialog(
            "Rotate a key",
            _escape_lines(about),
            uri,
            consequence=(
                "This cannot be undone. Install the new certificate or symmetric key on the devices before sending them"
                " packages made with it."
            ),
            submit_label="Rotate",
            action=lambda: self._submit_rotation(uri),
        )
        dialog.busy_label = "Creating the next version of the key"
        self._screen.app.push_screen(dialog)

    async def _submit_rotation(self, uri: str) -> bool:
        key = await self._make_change(f"Rotation of {uri}", lambda client: client.rotate_key(uri))
        self._reload_and_show("", f"Rotated {key.uri} to version {key.current.version}")
        return True

    # ---- renew certificates

    async def import_certificate(self, device: DeviceConfig) -> None:
        uris = tuple(dict.fromkeys(each.uri for each in device.signing_keys))
        uri = uris[0] if len(uris) == 1 else await self._pick_key("Choose the key of the certificate", uris)
        if uri is None:
            return
        form = FormDialog(
            f"Certificate of {uri}",
            (
                TextField(
                    name="file",
                    label="Certificate file",
                    required=True,
                    hint="with its issuers in any order (PEM, DER or PKCS#7); ~ stands for your home folder",
                ),
            ),
            partial(self._submit_certificate, uri),
            draft=self._drafts[f"certificate/{uri}"],
            about=(
                f"Creates a new version of {uri} with the same private key, and of every device configuration that"
                f" uses it: {escape_text(self._format_users(uri))}. Existing tasks keep their version and certificate."
            ),
            submit_label="Import",
            busy_label="Importing the certificate",
        )
        self._screen.app.push_screen(form)

    async def _submit_certificate(self, uri: str, answers: Answers) -> bool:
        path = resolve_path(answers.texts["file"], Path.cwd())
        key = await self._make_change(f"Certificate of {uri}", lambda client: client.import_certificate(uri, path))
        self._reload_and_show("", f"Imported the certificate into {key.uri} version {key.current.version}")
        return True

    # ---- helpers

    async def _pick_key(self, heading: str, uris: Sequence[str]) -> str | None:
        choices = [(uri, f"{uri}  {self._format_users(uri)}") for uri in uris]
        return await self._screen.app.push_screen_wait(PickDialog(heading, choices))

    def _format_users(self, uri: str) -> str:
        names = (each.name for each in self._get_devices() if uri in (key.uri for key in list_keys(each)))
        return ", ".join(names)

    # ---- helpers

    async def _confirm_by_typing(
        self, heading: str, about: str, consequence: str, confirm_text: str, confirm_label: str
    ) -> bool:
        is_confirmed = await self._screen.app.push_screen_wait(
            TypedConfirmDialog(
                heading, _escape_lines(about), confirm_text, consequence=consequence, submit_label=confirm_label
            )
        )
        return bool(is_confirmed)

    async def _make_change(self, label: str, call: Callable[[Client], Awaitable[T]]) -> T:
        return await self._screen.app.changes.run(Change(label=label), call)

    def _reload_and_show(self, config_id: str, message: str) -> None:
        """Reload the screen in the background, so that a lost connection does not keep the dialog open."""

        async def reload() -> None:
            await self._screen.load()
            if config_id:
                self._show_device(config_id)
            self._screen.flash(message)

        self._screen.run_background(reload(), group="reload")

    def _get_default_folder(self) -> Path:
        return self._screen.app.download_manager.folder or Path.cwd()


def _escape_lines(text: str) -> str:
    return "\n".join(escape_text(line) for line in text.split("\n"))
