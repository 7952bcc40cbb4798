"""The widget that checks the files in the form: limits of the format, invalid metadata, and repeated content."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import cast

import msgspec
from textual import getters
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from sealyard.client.capabilities import check_message, check_package, signs_digest
from sealyard.model.base import FrozenStruct
from sealyard.model.device_configs import DeviceConfig
from sealyard.model.errors import SealyardError
from sealyard.model.formatting import format_count
from sealyard.model.package_checks import duplicate_warnings, repetition_warning
from sealyard.model.requests import TaskFilter
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import InputFile, TaskKind, TaskStatus
from sealyard_tui.action_keys import action_keys
from sealyard_tui.app_base import BaseApp
from sealyard_tui.screens.base import BaseScreen
from sealyard_tui.screens.upload.form_model import FileRole, UploadForm
from sealyard_tui.session.hints import error_text


class _CheckInput(FrozenStruct, frozen=True, kw_only=True):
    """The input of a check. ``firmware`` and ``metadata``: the name and the size in bytes of each file.

    ``inputs`` and ``metadata_inputs``: the uploaded files. ``syntax_warnings``: about the metadata.
    """

    kind: TaskKind
    device: DeviceConfig
    inputs: tuple[InputFile, ...]
    metadata_inputs: tuple[InputFile, ...]
    syntax_warnings: tuple[str, ...]
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
                self._show()
                self.warnings = (*await self._find_repetition(check_input), *self.warnings)
        except SealyardError as error:
            self.error = error
        self._show()
        self.post_message(self.ResultChanged())

    async def _find_repetition(self, check_input: _CheckInput) -> tuple[str, ...]:
        """Return a warning if the package repeats the last released one. A failed request is not reported."""
        if check_input.kind is not TaskKind.PACKAGING or len(check_input.inputs) < len(check_input.firmware):
            return ()
        device = check_input.device
        filters = TaskFilter(config=device.id, status=TaskStatus.DONE, kind=TaskKind.PACKAGING)
        with suppress(SealyardError):
            client = await cast(BaseScreen, self.screen).client()
            page = await client.tasks(filters, limit=1)
            if page.tasks:
                package = msgspec.structs.replace(
                    page.tasks[0],
                    inputs=check_input.inputs,
                    metadata=check_input.metadata_inputs,
                    format=device.format,
                    encryption_key=device.encryption,
                    signing_key=device.signing,
                )
                return tuple(filter(None, [repetition_warning(page.tasks[0], package)]))
        return ()

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

    def list_uploads(role: FileRole) -> tuple[InputFile, ...]:
        return tuple(each.file for each in form.get_files(role) if each.file is not None)

    firmware = list_sizes(FileRole.FIRMWARE)
    if not firmware:
        return None
    return _CheckInput(
        kind=form.kind,
        device=device,
        firmware=firmware,
        metadata=list_sizes(FileRole.METADATA),
        inputs=list_uploads(FileRole.FIRMWARE),
        metadata_inputs=list_uploads(FileRole.METADATA),
        syntax_warnings=tuple(each.warning for each in form.entries if each.warning),
        hash_file=form.hash_file,
    )


def _check(check_input: _CheckInput) -> tuple[str, ...]:
    if check_input.kind is TaskKind.PACKAGING:
        format_warnings = check_package(check_input.device, check_input.firmware, check_input.metadata)
        duplicates = duplicate_warnings((*check_input.inputs, *check_input.metadata_inputs))
        return (*check_input.syntax_warnings, *duplicates, *format_warnings)
    algorithm = check_input.device.signing.algorithm
    if check_input.kind is TaskKind.SIGNING and not (signs_digest(algorithm) and check_input.hash_file):
        _, size = check_input.firmware[0]
        check_message(algorithm, size)
    return ()
