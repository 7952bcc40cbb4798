"""The device configurations that the user may choose in the upload form."""

from __future__ import annotations

from textual.content import Content

from sealyard.client.capabilities import signs_digest
from sealyard.client.protocol import Client
from sealyard.model.access import Action, device_resource
from sealyard.model.device_configs import DeviceConfig
from sealyard.model.tasks import TaskKind
from sealyard_tui.screens.base import BaseScreen
from sealyard_tui.screens.upload.form_model import UploadForm
from sealyard_tui.screens.upload.format import format_terms


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

    def format_terms_line(self, form: UploadForm) -> Content:
        """Return a line with the terms of the selected configuration, or the reason why none can be selected.

        The line is empty if no configuration has been selected yet.
        """
        if (device := self.get_selected(form)) is not None:
            return format_terms(device)
        if self._is_loaded and not self.usable:
            return Content.styled(
                "✗ No device configuration available. Ask an administrator for USE permission.", "$warning"
            )
        return Content("")
