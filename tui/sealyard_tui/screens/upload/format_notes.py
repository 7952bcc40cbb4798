"""What the container format says of the files in the form, before anything is asked for."""

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
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import TaskKind
from sealyard_tui.app_base import BaseApp
from sealyard_tui.screens.upload.form_model import FileRole, UploadForm
from sealyard_tui.session.hints import error_text


class _CheckInput(FrozenStruct, frozen=True, kw_only=True):
    """All that the answer hangs on; ``firmware`` and ``metadata``: names and sizes in bytes."""

    kind: TaskKind
    device: DeviceConfig
    firmware: tuple[tuple[str, int], ...]
    metadata: tuple[tuple[str, int], ...]
    hash_file: bool


class FormatNotes(Static):
    """Hidden while there is nothing to say. Asks anew only when what the answer hangs on is another."""

    app = getters.app(BaseApp)

    class Judged(Message):
        """``warnings`` and ``refusal`` are others now."""

    def __init__(self) -> None:
        super().__init__(id="notes", markup=False)
        self.warnings: tuple[str, ...] = ()
        self.refusal: SealyardError | None = None
        self._asked: _CheckInput | None = None

    def update_for(self, form: UploadForm, device: DeviceConfig | None) -> None:
        question = _check_input(form, device) if device is not None else None
        if question == self._asked:
            return
        self._asked = question
        asking = self.app.guard(self._run_check(question))
        self.run_worker(asking, group="judge", exclusive=True, exit_on_error=False)

    async def _run_check(self, question: _CheckInput | None) -> None:
        """Off the loop: the first time, the formats are loaded."""
        self.warnings, self.refusal = (), None
        try:
            if question is not None:
                self.warnings = await asyncio.to_thread(_check, question)
        except SealyardError as error:
            self.refusal = error
        self._show()
        self.post_message(self.Judged())

    def _show(self) -> None:
        lines = [Content.styled(f"! {escape_text(each)}", "$warning") for each in self.warnings[:1]]
        if more := len(self.warnings[1:]):
            lines.append(Content.styled(f"! and {more} more of this kind", "$warning"))
        if self.refusal is not None:
            words = f"✗ {error_text(self.refusal)}"
            lines = [Content.styled(escape_text(words), "$error")]
        self.update(Content("\n").join(lines))
        self.set_class(bool(lines), "-shown")
        self.set_class(self.refusal is not None, "-refused")


def _check_input(form: UploadForm, device: DeviceConfig) -> _CheckInput | None:
    """None while no file's size is known."""

    def sizes(part: FileRole) -> tuple[tuple[str, int], ...]:
        return tuple((each.path.name, each.size) for each in form.of(part) if each.size)

    firmware = sizes(FileRole.FIRMWARE)
    if not firmware:
        return None
    return _CheckInput(
        kind=form.kind, device=device, firmware=firmware, metadata=sizes(FileRole.METADATA), hash_file=form.hash_file
    )


def _check(question: _CheckInput) -> tuple[str, ...]:
    if question.kind is TaskKind.PACKAGING:
        return check_package(question.device, question.firmware, question.metadata)
    algorithm = question.device.signing.algorithm
    if question.kind is TaskKind.SIGNING and not (signs_digest(algorithm) and question.hash_file):
        _, size = question.firmware[0]
        check_message(algorithm, size)
    return ()
