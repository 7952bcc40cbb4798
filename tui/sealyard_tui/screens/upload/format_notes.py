"""The widget that checks the files in the form against the limits of the container format and of signing tasks."""

from __future__ import annotations

import asyncio

from textual import getters
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from sealyard.client.capabilities import check_message, check_package, signs_digest
from sealyard.model.base import FrozenStruct
from sealyard.model.device_configs import DeviceConfig
from sealyard.model.errors import SealyardError
from sealyard.model.formatting import format_count
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import TaskKind
from sealyard_tui.action_keys import action_keys
from sealyard_tui.app_base import BaseApp
from sealyard_tui.screens.upload.form_model import FileRole, UploadForm
from sealyard_tui.session.hints import error_text


class _CheckInput(FrozenStruct, frozen=True, kw_only=True):
    """The input of a format check. ``firmware`` and ``metadata``: the name and the size in bytes of each file."""

    kind: TaskKind
    device: DeviceConfig
    firmware: tuple[tuple[str, int], ...]
    metadata: tuple[tuple[str, int], ...]
    hash_file: bool


class FormatNotes(Static):
    """Widget that checks the files in the form in the background, and shows warnings or an error.

    It is hidden if there is nothing to show.
    """

    app = getters.app(BaseApp)

    class ResultChanged(Message):
        """Posted after a check has updated :attr:`FormatNotes.warnings` and :attr:`FormatNotes.error`."""

    def __init__(self) -> None:
        super().__init__(id="notes", markup=False)
        self.warnings: tuple[str, ...] = ()
        self.error: SealyardError | None = None
        self._last_input: _CheckInput | None = None

    def check_form(self, form: UploadForm, device: DeviceConfig | None) -> None:
        check_input = _create_check_input(form, device) if device is not None else None
        if check_input == self._last_input:
            return
        self._last_input = check_input
        work = self.app.guard(self._run_check(check_input))
        self.run_worker(work, group="check", exclusive=True, exit_on_error=False)

    async def _run_check(self, check_input: _CheckInput | None) -> None:
        """Run a check in a thread and show its result. The first check imports the container formats, which is slow."""
        self.warnings, self.error = (), None
        try:
            if check_input is not None:
                self.warnings = await asyncio.to_thread(_check, check_input)
        except SealyardError as error:
            self.error = error
        self._show()
        self.post_message(self.ResultChanged())

    def _show(self) -> None:
        lines = [Content.styled(f"! {escape_text(each)}", "$warning") for each in self.warnings[:1]]
        if hidden_count := len(self.warnings[1:]):
            lines.append(Content.styled(f"! and {format_count(hidden_count, 'more warning')}", "$warning"))
        if self.error is not None:
            text = f"✗ {error_text(self.error, action_keys(self.app))}"
            lines = [Content.styled(escape_text(text), "$error")]
        self.update(Content("\n").join(lines))
        self.set_class(bool(lines), "-shown")
        self.set_class(self.error is not None, "-refused")


def _create_check_input(form: UploadForm, device: DeviceConfig) -> _CheckInput | None:
    """Return the input of a format check; None until the size of at least one firmware file is known."""

    def list_sizes(role: FileRole) -> tuple[tuple[str, int], ...]:
        return tuple((each.path.name, each.size) for each in form.get_files(role) if each.size)

    firmware = list_sizes(FileRole.FIRMWARE)
    if not firmware:
        return None
    return _CheckInput(
        kind=form.kind,
        device=device,
        firmware=firmware,
        metadata=list_sizes(FileRole.METADATA),
        hash_file=form.hash_file,
    )


def _check(check_input: _CheckInput) -> tuple[str, ...]:
    if check_input.kind is TaskKind.PACKAGING:
        return check_package(check_input.device, check_input.firmware, check_input.metadata)
    algorithm = check_input.device.signing.algorithm
    if check_input.kind is TaskKind.SIGNING and not (signs_digest(algorithm) and check_input.hash_file):
        _, size = check_input.firmware[0]
        check_message(algorithm, size)
    return ()
