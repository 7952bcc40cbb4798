"""Warnings and errors of the container format for the files of the form."""

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
from sealyard_tui.app_base import BaseApp
from sealyard_tui.screens.upload.form_model import FileRole, UploadForm
from sealyard_tui.session.hints import action_keys, error_text


class _CheckInput(FrozenStruct, frozen=True, kw_only=True):
    """Everything that the result depends on; ``firmware`` and ``metadata`` are names and sizes."""

    kind: TaskKind
    device: DeviceConfig
    firmware: tuple[tuple[str, int], ...]
    metadata: tuple[tuple[str, int], ...]
    hash_file: bool


class FormatNotes(Static):
    """Hidden without warnings. Checks again only if the input has changed."""

    app = getters.app(BaseApp)

    class Judged(Message):
        """``warnings`` and ``refusal`` have changed."""

    def __init__(self) -> None:
        super().__init__(id="notes", markup=False)
        self.warnings: tuple[str, ...] = ()
        self.refusal: SealyardError | None = None
        self._asked: _CheckInput | None = None

    def update_for(self, form: UploadForm, device: DeviceConfig | None) -> None:
        check_input = _check_input(form, device) if device is not None else None
        if check_input == self._asked:
            return
        self._asked = check_input
        asking = self.app.guard(self._run_check(check_input))
        self.run_worker(asking, group="judge", exclusive=True, exit_on_error=False)

    async def _run_check(self, check_input: _CheckInput | None) -> None:
        """Check in a thread: container formats are imported by the first check."""
        self.warnings, self.refusal = (), None
        try:
            if check_input is not None:
                self.warnings = await asyncio.to_thread(_check, check_input)
        except SealyardError as error:
            self.refusal = error
        self._show()
        self.post_message(self.Judged())

    def _show(self) -> None:
        lines = [Content.styled(f"! {escape_text(each)}", "$warning") for each in self.warnings[:1]]
        if more := len(self.warnings[1:]):
            lines.append(Content.styled(f"! and {format_count(more, 'more warning')}", "$warning"))
        if self.refusal is not None:
            words = f"✗ {error_text(self.refusal, action_keys(self.app))}"
            lines = [Content.styled(escape_text(words), "$error")]
        self.update(Content("\n").join(lines))
        self.set_class(bool(lines), "-shown")
        self.set_class(self.refusal is not None, "-refused")


def _check_input(form: UploadForm, device: DeviceConfig) -> _CheckInput | None:
    """Return the input of a check; None until the size of a file is known."""

    def sizes(part: FileRole) -> tuple[tuple[str, int], ...]:
        return tuple((each.path.name, each.size) for each in form.of(part) if each.size)

    firmware = sizes(FileRole.FIRMWARE)
    if not firmware:
        return None
    return _CheckInput(
        kind=form.kind, device=device, firmware=firmware, metadata=sizes(FileRole.METADATA), hash_file=form.hash_file
    )


def _check(check_input: _CheckInput) -> tuple[str, ...]:
    if check_input.kind is TaskKind.PACKAGING:
        return check_package(check_input.device, check_input.firmware, check_input.metadata)
    algorithm = check_input.device.signing.algorithm
    if check_input.kind is TaskKind.SIGNING and not (signs_digest(algorithm) and check_input.hash_file):
        _, size = check_input.firmware[0]
        check_message(algorithm, size)
    return ()
