"""The actions of the upload screen: uploading files and submitting tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from sealyard.client.capabilities import signs_digest
from sealyard.model.device_configs import DeviceConfig
from sealyard.model.errors import SealyardError, ServerUnreachableError
from sealyard.model.tasks import Task
from sealyard_tui.action_keys import action_keys
from sealyard_tui.dialogs.confirm import ConfirmDialog
from sealyard_tui.screens.base import BaseScreen
from sealyard_tui.screens.upload.form_model import UploadForm
from sealyard_tui.screens.upload.format import format_summary
from sealyard_tui.screens.upload.upload_queue import UploadQueue
from sealyard_tui.session.pending_changes import Change

SHUTDOWN_TIMEOUT = 2.0
"""Maximum time in seconds for discarding uploads on exit. The engine removes any remaining uploads later."""


class Submission(NamedTuple):
    """A task submission that the user must confirm.

    ``device``: the device configuration. ``warnings``: warnings from checking the files against its container format.
    """

    device: DeviceConfig
    warnings: tuple[str, ...]


class UploadActions:
    """Actions that upload files and submit tasks for the current identity. Each identity has its own form."""

    def __init__(
        self,
        screen: BaseScreen,
        *,
        on_form_changed: Callable[[UploadForm], None],
        on_submitting_changed: Callable[[], None],
        on_submitted: Callable[[UploadForm, Task], None],
    ) -> None:
        """``on_form_changed`` is called after an upload or a removal has changed a form.

        ``on_submitting_changed`` is called when a submission starts or ends, and ``on_submitted`` after a task has been
        created.
        """
        self._screen = screen
        self._on_form_changed = on_form_changed
        self._on_submitting_changed = on_submitting_changed
        self._on_submitted = on_submitted
        self._identity = ""
        self._forms: dict[str, UploadForm] = {}
        self._queues: dict[str, UploadQueue] = {}

    def switch_identity(self, identity: str) -> None:
        """Switch to the form of ``identity``. The forms of other identities are kept."""
        self._identity = identity

    async def close(self) -> None:
        """Cancel running uploads and discard the uploaded files. Gives up after :data:`SHUTDOWN_TIMEOUT` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SHUTDOWN_TIMEOUT):
                for queue in self._queues.values():
                    await queue.close()

    @property
    def form(self) -> UploadForm:
        """The form of the current identity."""
        return self._forms.setdefault(self._identity, UploadForm())

    @property
    def has_unsaved_form(self) -> bool:
        return not all(form.is_empty for form in self._forms.values())

    # ---- files

    def upload(self, keys: list[str]) -> None:
        """Start uploading the files of the current form with the given ``keys``."""
        if keys:
            self._screen.run_guarded(self._start_uploads(self._identity, keys), group="upload")

    def retry_failed(self) -> None:
        """Retry the uploads that failed because the server was unreachable."""
        entries = (entry for entry in self.form.entries if isinstance(entry.error, ServerUnreachableError))
        self.upload([entry.key for entry in entries])

    async def _start_uploads(self, identity: str, keys: list[str]) -> None:
        queue = self._queues.get(identity)
        if queue is None:
            client = await self._screen.client()
            new_queue = UploadQueue(client, self._forms[identity], self._on_form_changed)
            queue = self._queues.setdefault(identity, new_queue)
        for key in keys:
            queue.start(key)

    def remove(self, keys: list[str]) -> None:
        """Remove files from the current form and discard their uploads."""
        queue = self._queues.get(self._identity)
        if queue is None:
            self.form.remove(keys)
            self._on_form_changed(self.form)
        else:
            queue.remove(keys)

    # ---- the task

    def submit(self, submission: Submission) -> None:
        """Ask the user to confirm the submission, and create the task if confirmed."""
        self._screen.run_opening(self._confirm(submission, self._queues[self._identity]))

    async def _confirm(self, submission: Submission, queue: UploadQueue) -> None:
        device, warnings = submission
        modified_files = await queue.find_modified_files()
        question = format_summary(queue.form, device, warnings, modified_files)

        signs_digests = signs_digest(device.signing.algorithm)
        keys = action_keys(self._screen.app)
        dialog = ConfirmDialog(
            "Submit?",
            question,
            yes=f"Submit ({keys['dialog.yes']})",
            no=f"Back ({keys['dialog.no']})",
            action=lambda: self._submit(queue, signs_digests=signs_digests),
        )
        self._screen.app.push_screen(dialog)

    async def _submit(self, queue: UploadQueue, *, signs_digests: bool) -> bool:
        form = queue.form
        snapshot = form.take_snapshot()
        form.is_submitting = True
        self._on_submitting_changed()
        try:
            # A repeated request has the same client token, and therefore returns the same task.
            task = await self._screen.app.changes.run(
                Change(label="New task"), lambda _: queue.submit(signs_digests=signs_digests)
            )
        finally:
            form.is_submitting = False
            self._on_submitting_changed()
        form.clear_submitted(snapshot)
        self._on_submitted(form, task)
        for proposal in snapshot.proposals:
            # Dismissing fails if the files of the proposal have changed; the watch folder then proposes them again.
            with suppress(SealyardError):
                await self._screen.app.watch_folder.dismiss(proposal)
        return True
