"""Actions on device configurations and keys: forms, confirmations, and requests."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

from textual.content import Content

from sealyard.client.capabilities import Capabilities
from sealyard.client.downloads.files import safe_file_name, write_unique
from sealyard.model.device_configs import DeviceConfig
from sealyard.model.errors import UsageError
from sealyard.model.safe_text import escape_text
from sealyard_tui.dialogs.confirm import TypedConfirmDialog
from sealyard_tui.dialogs.fields import Answers, path_field
from sealyard_tui.dialogs.form import FormDialog, FormDraft
from sealyard_tui.dialogs.pick import PickDialog
from sealyard_tui.screens.base import BaseScreen
from sealyard_tui.screens.devices.format import DeviceContext, format_changes, keys_of
from sealyard_tui.screens.devices.forms import (
    certificate_name,
    create_fields,
    to_device_request,
    to_device_update,
    update_fields,
)
from sealyard_tui.widgets.path_parsing import resolve_path

NOTICE_SECONDS = 15
"""Long enough to read a path, and to type it elsewhere."""


class DeviceActions:
    """Changes to device configurations and their keys. Forms keep what was typed until it is submitted."""

    def __init__(
        self,
        screen: BaseScreen,
        *,
        devices: Callable[[], Sequence[DeviceConfig]],
        context: Callable[[], DeviceContext],
        load_capabilities: Callable[[], Awaitable[Capabilities]],
        show_device: Callable[[str], None],
        show_busy: Callable[[str], None],
    ) -> None:
        """``show_device`` puts the cursor on a configuration; ``show_busy`` shows what is in progress, "" nothing."""
        self._screen = screen
        self._devices = devices
        self._context = context
        self._load_capabilities = load_capabilities
        self._show_device = show_device
        self._show_busy = show_busy
        self._drafts: defaultdict[str, FormDraft] = defaultdict(FormDraft)

    # ---- create

    async def create(self) -> None:
        form = FormDialog(
            "New device configuration",
            create_fields(await self._load_capabilities(), self._context()),
            self._created,
            draft=self._drafts["new"],
            submit_label="Create",
            busy_label="Creating the configuration and its keys",
        )
        self._screen.app.push_screen(form)

    async def _created(self, answers: Answers) -> bool:
        created = await (await self._screen.client()).create_device(to_device_request(answers))
        await self._screen.load()
        self._show_device(created.id)
        self._screen.flash(f"Created {created.name}")
        return True

    # ---- update

    async def next_version(self, device: DeviceConfig) -> None:
        form = FormDialog(
            f"{escape_text(device.name)}: version {device.version + 1}",
            update_fields(device, (await self._load_capabilities()).formats),
            partial(self._updated, device),
            draft=self._drafts[f"{device.id}/{device.version}"],
            about=f"Existing tasks keep version {device.version}; new tasks use the new version.",
            submit_label="Save",
            notes=partial(self._preview_changes, device),
        )
        self._screen.app.push_screen(form)

    def _preview_changes(self, device: DeviceConfig, answers: Answers) -> Content:
        try:
            found = format_changes(device, to_device_update(device, answers), self._context())
        except UsageError:
            return Content("")
        if not found:
            return Content.styled("No changes.", "$text-muted")
        return Content.styled("Changes:\n" + "\n".join(f"  {each}" for each in found), "$accent")

    async def _updated(self, device: DeviceConfig, answers: Answers) -> bool:
        asked = to_device_update(device, answers)
        if not format_changes(device, asked, self._context()):
            raise UsageError("No changes.", "Change a field or cancel.")
        created = await (await self._screen.client()).update_device(asked)
        await self._screen.load()
        self._screen.flash(f"Saved {created.name} version {created.version}")
        return True

    # ---- certificates

    def certificates(self, device: DeviceConfig) -> None:
        form = FormDialog(
            f"Certificates of {escape_text(device.name)}",
            (path_field("folder", "Folder", self._default_folder()),),
            partial(self._write_certificates, device),
            draft=self._drafts["certificates"],
            about="Writes the signing certificates as PEM files for verifying packages; existing files are kept.",
            submit_label="Export",
        )
        self._screen.app.push_screen(form)

    async def _write_certificates(self, device: DeviceConfig, answers: Answers) -> bool:
        folder = resolve_path(answers.texts["folder"], Path.cwd())
        found = await (await self._screen.client()).device_certificates(device.id, device.version)
        written = [
            await asyncio.to_thread(write_unique, folder, certificate_name(each.label), each.certificate.encode())
            for each in found
        ]
        text = "\n".join(f"✓ {escape_text(str(each))}" for each in written)
        self._screen.notify(text, title="Certificates", timeout=NOTICE_SECONDS, markup=False)
        return True

    # ---- export

    def export(self, device: DeviceConfig) -> None:
        key = device.encryption
        name = safe_file_name(f"{device.name}-v{key.version}.key", device.id)
        form = FormDialog(
            f"Export the symmetric key of {escape_text(device.name)}",
            (
                path_field(
                    "file",
                    "New file",
                    self._default_folder() / name,
                ),
            ),
            partial(self._exported, device),
            draft=self._drafts[f"export/{device.id}"],
            about=(
                f"{key.uri} version {key.version}, for provisioning devices: raw bytes in a file that only you can"
                " read (mode 0600). Anyone with the key can decrypt packages made with it. The export is audited."
            ),
            submit_label="Continue",
            busy_label="Writing the key",
        )
        self._screen.app.push_screen(form)

    async def _exported(self, device: DeviceConfig, answers: Answers) -> bool:
        path = resolve_path(answers.texts["file"], Path.cwd())
        about = (
            f"The secret key {device.encryption.uri} will be exported to {path}.\n"
            "This cannot be undone. Anyone with the key can decrypt every package made with it."
        )
        if not await self._confirm_by_typing("Export the key", about, device.name, "Export"):
            return False
        written = await (await self._screen.client()).export_device_key(device.id, path, confirmed=True)
        text = f"! {escape_text(str(written))} (mode 0600): transfer it securely, then delete it."
        self._screen.notify(text, title="Key exported", severity="warning", timeout=NOTICE_SECONDS, markup=False)
        return True

    # ---- rotate

    async def rotate(self, device: DeviceConfig) -> None:
        uris = dict.fromkeys(each.uri for each in reversed(keys_of(device)))
        choices = [(uri, f"{uri}  {self._used_by(uri)}") for uri in uris]
        uri = await self._screen.app.push_screen_wait(PickDialog("Choose the key to rotate", choices))
        if uri is None:
            return
        about = (
            f"Creates a new version of {uri} and of every device configuration that uses it: {self._used_by(uri)}.\n"
            "Existing tasks keep their version; existing signatures stay valid.\n"
            "Install the new certificate or symmetric key on the devices before sending them packages made with it."
        )
        if await self._confirm_by_typing("Rotate a key", about, uri, "Rotate"):
            await self._rotate(uri)

    async def _rotate(self, uri: str) -> None:
        self._show_busy(f"▸ Creating the next version of {uri}…")
        try:
            key = await (await self._screen.client()).rotate_key(uri)
        finally:
            self._show_busy("")
        await self._screen.load()
        self._screen.flash(f"Rotated {key.uri} to version {key.current.version}")

    def _used_by(self, uri: str) -> str:
        using = (each.name for each in self._devices() if uri in (key.uri for key in keys_of(each)))
        return ", ".join(using)

    # ---- helpers

    async def _confirm_by_typing(self, heading: str, about: str, word: str, act: str) -> bool:
        words = "\n".join(escape_text(line) for line in about.split("\n"))
        typed = await self._screen.app.push_screen_wait(TypedConfirmDialog(heading, words, word, act=act))
        return bool(typed)

    def _default_folder(self) -> Path:
        return self._screen.app.download_manager.folder or Path.cwd()
