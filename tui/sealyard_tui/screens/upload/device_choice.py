"""The device configurations that the user may choose in the upload form."""

from __future__ import annotations

from collections.abc import Callable

from textual.content import Content

from sealyard.client.capabilities import signs_digest
from sealyard.client.protocol import Client
from sealyard.model.access import Action, device_resource
from sealyard.model.device_configs import DeviceConfig
from sealyard.model.tasks import TaskKind
from sealyard_tui.dialogs.pick import PickDialog
from sealyard_tui.screens.base import BaseScreen
from sealyard_tui.screens.upload.form_model import UploadForm
from sealyard_tui.screens.upload.format import format_device_choice, format_encryption_key, format_terms


class DeviceChoice:
    """The loaded device configurations, from which one can be selected in each form."""

    def __init__(self, screen: BaseScreen) -> None:
        self._screen = screen
        self._devices: dict[str, DeviceConfig] = {}
        self._is_loaded = False

    async def load(self, client: Client) -> None:
        self._devices = {device.id: device for device in await client.devices()}
        self._is_loaded = True

    def reset(self) -> None:
        self._devices = {}
        self._is_loaded = False

    @property
    def usable(self) -> list[DeviceConfig]:
        """The configurations for which the user has USE permission."""
        is_allowed = self._screen.state.is_allowed
        return [device for device in self._devices.values() if is_allowed(Action.USE, device_resource(device.id))]

    def get_selected(self, form: UploadForm) -> DeviceConfig | None:
        """Return the configuration selected in ``form``; None if none is selected or the user may not use it."""
        return next((device for device in self.usable if device.id == form.device), None)

    def preselect_single(self, form: UploadForm) -> None:
        """Select the only usable configuration, if there is exactly one and ``form`` has no configuration yet."""
        if not form.device and len(self.usable) == 1:
            form.device = self.usable[0].id

    def needs_signing_input(self, form: UploadForm) -> bool:
        """Return whether the user can choose between hashing the file and using its content as the digest to sign."""
        device = self.get_selected(form)
        return form.kind is TaskKind.SIGNING and device is not None and signs_digest(device.signing.algorithm)

    def offers_encryption_keys(self, form: UploadForm) -> bool:
        """Return whether the user can choose the encryption key of the task."""
        device = self.get_selected(form)
        return device is not None and form.offers_encryption_keys(device)

    def pick_device(self, form: UploadForm, on_change: Callable[[], None]) -> None:
        """Let the user choose a configuration for ``form``. ``on_change`` is called after a choice."""
        choices = [(each.id, format_device_choice(each)) for each in self.usable]
        if not choices:
            text = "No device configuration available. Ask an administrator for USE permission."
            self._screen.flash(text, warning=True)
            return

        def set_device(device: str | None) -> None:
            if device is not None:
                form.device, form.encryption_key = device, ""
                on_change()

        self._screen.app.push_screen(PickDialog("Choose a device configuration", choices, form.device), set_device)

    def pick_encryption_key(self, form: UploadForm, on_change: Callable[[], None]) -> None:
        """Let the user choose an encryption key for ``form``. ``on_change`` is called after a choice."""
        device = self.get_selected(form)
        if device is None:
            return

        def set_key(uri: str | None) -> None:
            if uri is not None:
                form.encryption_key = uri
                on_change()

        choices = [(key.uri, format_encryption_key(key)) for key in device.encryption_keys]
        current_uri = form.encryption_key or device.encryption.uri
        self._screen.app.push_screen(PickDialog("Choose an encryption key", choices, current_uri), set_key)

    def format_terms_line(self, form: UploadForm) -> Content:
        """Return a line with the terms of the selected configuration, or the reason why none can be selected.

        The line is empty if no configuration has been selected yet.
        """
        if (device := self.get_selected(form)) is not None:
            return format_terms(device, form.get_encryption_key(device))
        if self._is_loaded and not self.usable:
            return Content.styled(
                "✗ No device configuration available. Ask an administrator for USE permission.", "$warning"
            )
        return Content("")
