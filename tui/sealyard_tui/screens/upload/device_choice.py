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
    """Loads the configurations and finds the one that a form uses."""

    def __init__(self, screen: BaseScreen) -> None:
        self._screen = screen
        self._devices: dict[str, DeviceConfig] = {}
        self._loaded = False

    async def load(self, client: Client) -> None:
        self._devices = {device.id: device for device in await client.devices()}
        self._loaded = True

    def reset(self) -> None:
        self._devices = {}
        self._loaded = False

    @property
    def usable(self) -> list[DeviceConfig]:
        """The configurations on which the user has USE."""
        is_allowed = self._screen.state.is_allowed
        return [device for device in self._devices.values() if is_allowed(Action.USE, device_resource(device.id))]

    def of(self, form: UploadForm) -> DeviceConfig | None:
        """Return the configuration of the form, None if there is none that can be used."""
        return next((device for device in self.usable if device.id == form.device), None)

    def preselect_single(self, form: UploadForm) -> None:
        """Choose the configuration if there is only one."""
        if not form.device and len(self.usable) == 1:
            form.device = self.usable[0].id

    def needs_signing_input(self, form: UploadForm) -> bool:
        """Return whether the form has to say if the file is hashed or is the digest itself."""
        device = self.of(form)
        return form.kind is TaskKind.SIGNING and device is not None and signs_digest(device.signing.algorithm)

    def terms(self, form: UploadForm) -> Content:
        """Return what the configuration means for the task, or why none can be chosen."""
        if (device := self.of(form)) is not None:
            return format_terms(device)
        if self._loaded and not self.usable:
            return Content.styled(
                "✗ No device configuration available. Ask an administrator for USE permission.", "$warning"
            )
        return Content("")
