"""The task actions of the dashboard, and the conditions under which each is available."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from sealyard.client.protocol import Client
from sealyard.model.access import Action, device_resource
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import SealyardError, ServerUnreachableError
from sealyard.model.formatting import format_count
from sealyard.model.results import state_at
from sealyard.model.tasks import RESUBMITTABLE_STATUSES, Result, ResultState, Task, TaskStatus
from sealyard_tui.action_keys import action_keys, insert_keys
from sealyard_tui.dialogs.confirm import ConfirmDialog
from sealyard_tui.dialogs.pick import PickDialog
from sealyard_tui.dialogs.reason import ReasonDialog
from sealyard_tui.dialogs.retry import Attempt, ask_and_retry
from sealyard_tui.dialogs.text import TextDialog
from sealyard_tui.messages import ResubmitTask
from sealyard_tui.screens.base import BaseScreen
from sealyard_tui.screens.dashboard.task_row import TaskRow
from sealyard_tui.session.hints import error_text
from sealyard_tui.session.state import SessionState
from sealyard_tui.terminal.file_manager import open_in_file_manager
from sealyard_tui.widgets.virtual_table import VirtualTable

_WITHDRAWABLE = (TaskStatus.CREATED, TaskStatus.WAITING, TaskStatus.APPROVED)

TaskRequest = Callable[[Client, TaskRow], Awaitable[object]]
Failure = tuple[TaskRow, SealyardError]


class AvailableActions(FrozenStruct, frozen=True, kw_only=True):
    """Flags that indicate which actions the user can perform on a task."""

    withdraw: bool = False
    cancel: bool = False
    download: bool = False
    renew: bool = False
    """Whether the link has expired and can be renewed."""
    folder: bool = False
    resubmit: bool = False
    """Whether the task ended without a result and can be submitted again."""


def get_available_actions(
    row: TaskRow | None, state: SessionState, artifact: ResultState | None, *, on_disk: bool
) -> AvailableActions:
    """Return the actions available for a task; none if ``row`` is None.

    ``artifact``: the current state of the result file, or None if the task has no result file. ``on_disk``: whether
    the result file has been downloaded.
    """
    if row is None:
        return AvailableActions()
    is_own = row.creator == state.identity
    can_stop = is_own or state.is_allowed(Action.APPROVE, device_resource(row.config_id))
    return AvailableActions(
        withdraw=is_own and row.status in _WITHDRAWABLE,
        cancel=can_stop and not row.status.is_final,
        download=artifact is not None,
        renew=artifact is ResultState.EXPIRED,
        folder=on_disk,
        resubmit=row.status in RESUBMITTABLE_STATUSES,
    )


def get_artifact_state(result: Result | None, now: datetime) -> ResultState | None:
    """Return the current state of the result file, or None if there is no result file."""
    if result is None or result.signature is not None:
        return None
    return state_at(result, now)


class TaskActions:
    """Task actions of the dashboard.

    Most of them act on the marked tasks, or on the task under the cursor if no row is marked. The others always act on
    the task under the cursor.
    """

    def __init__(self, screen: BaseScreen) -> None:
        self._screen = screen

    @property
    def _table(self) -> VirtualTable[TaskRow]:
        return self._screen.query_one("#rows", VirtualTable)

    def _get_downloaded_path(self, task_id: str) -> str | None:
        return self._screen.app.download_manager.path(task_id)

    def get_available_actions(self, row: TaskRow | None) -> AvailableActions:
        screen = self._screen
        artifact = get_artifact_state(row.result, screen.now()) if row is not None else None
        on_disk = row is not None and self._get_downloaded_path(row.id) is not None
        return get_available_actions(row, screen.state, artifact, on_disk=on_disk)

    def _filter_selection(self, condition: Callable[[AvailableActions], bool]) -> list[TaskRow]:
        return [row for row in self._table.selected_rows if condition(self.get_available_actions(row))]

    # ---- withdraw and cancel

    def withdraw(self) -> None:
        rows = self._filter_selection(lambda each: each.withdraw)
        if not rows:
            self._screen.flash("You can only withdraw your own tasks before they start.", warning=True)
            return
        ask_and_retry(self._screen.app, self._create_withdrawal_attempt(rows), self._screen.run_guarded)

    def _create_withdrawal_attempt(
        self, rows: Sequence[TaskRow], *, reason_text: str = "", error_message: str = ""
    ) -> Attempt[str | None]:
        """Return an :class:`Attempt` that asks for a reason and withdraws the tasks.

        ``reason_text`` and ``error_message``: the reason and the error message from the previous attempt, if any.
        """
        dialog = ReasonDialog(
            "Withdraw",
            f"Reason for withdrawing {_format_names(rows)}? This cannot be undone.",
            required=True,
            subject=",".join(row.id for row in rows),
            edit=self._screen.app.edit_text,
        )
        dialog.error_text = error_message
        if reason_text:
            dialog.restore(reason_text)

        async def withdraw(reason: str | None) -> Attempt[str | None] | None:
            assert reason, "the dialog requires a reason"
            failures = await self._apply_to_all(rows, lambda client, row: client.withdraw(row.id, reason), "withdrawn")
            unanswered_failures = [failure for failure in failures if isinstance(failure[1], ServerUnreachableError)]
            self._report(
                [failure for failure in failures if failure not in unanswered_failures], len(rows), "withdrawn"
            )
            if not unanswered_failures:
                return None
            return self._create_withdrawal_attempt(
                [row for row, _ in unanswered_failures],
                reason_text=reason,
                error_message=error_text(
                    unanswered_failures[0][1],
                    action_keys(self._screen.app),
                ),
            )

        return Attempt(dialog, withdraw)

    def cancel(self) -> None:
        rows = self._filter_selection(lambda each: each.cancel)
        if not rows:
            self._screen.flash(
                "Only the requester or an approver can cancel a task, and only until it has ended.", warning=True
            )
            return

        def cancel_if_confirmed(is_confirmed: bool | None) -> None:
            if is_confirmed:
                self._screen.app.notifier.expect_cancellation(row.id for row in rows)
                self._run_on_all(rows, lambda client, row: client.cancel(row.id), "cancelled")

        has_running = any(row.status is TaskStatus.RUNNING for row in rows)
        running_note = " A running task ends when its worker has stopped." if has_running else ""
        question = f"Cancel {_format_names(rows)}? This cannot be undone.{running_note}"
        dialog = ConfirmDialog("Cancel", question, yes="Cancel task" if len(rows) == 1 else "Cancel tasks", no="Back")
        self._screen.app.push_screen(dialog, cancel_if_confirmed)

    def resubmit(self) -> None:
        async def load_into_form(task: Task) -> None:
            self._screen.post_message(ResubmitTask(task))

        self._run_with_task(load_into_form)

    # ---- results

    def renew(self) -> None:
        rows = self._filter_selection(lambda each: each.renew)
        if not rows:
            self._screen.flash("This link has not expired.", warning=True)
            return
        self._run_on_all(rows, lambda client, row: client.renew(row.id), "renewed")

    def download(self) -> None:
        screen = self._screen
        rows = self._filter_selection(lambda each: each.download)
        states = {row.id: get_artifact_state(row.result, screen.now()) for row in rows}
        ready = [row for row in rows if states[row.id] is ResultState.AVAILABLE]
        if not ready:
            screen.flash(insert_keys(screen.app, _explain_no_download(set(states.values()))), warning=True)
            return
        for row in ready:
            screen.run_guarded(self._download(row), group="fetch")
        screen.flash_outcome("Downloading", ready[0].title if len(ready) == 1 else format_count(len(ready), "file"))

    async def _download(self, row: TaskRow) -> None:
        result = await self._screen.app.download_manager.download(row.id, row.title)
        if result.downloaded is not None:
            self._screen.flash(f"Downloaded to {result.downloaded.path}")

    def open_folder(self) -> None:
        row = self._table.cursor_row
        path = self._get_downloaded_path(row.id) if row is not None else None
        if path is None:
            text = "The file is not on disk; press {key[dashboard.download]} to download it."
            self._screen.flash(insert_keys(self._screen.app, text), warning=True)
            return
        self._screen.run_guarded(self._open(Path(path).parent))

    async def _open(self, folder: Path) -> None:
        try:
            await open_in_file_manager(folder)
        except SealyardError as error:
            self._screen.flash(error_text(error, action_keys(self._screen.app)), warning=True)
        else:
            self._screen.flash(f"Opened {folder}")

    # ---- show and copy

    def show_json(self) -> None:
        async def show(task: Task) -> None:
            text = msgspec.json.format(msgspec.json.encode(task), indent=2).decode()
            await self._screen.app.push_screen(TextDialog(f"Task {_format_task_name(task)}", text, suffix=".json"))

        self._run_with_task(show)

    def copy(self) -> None:
        async def open_picker(task: Task) -> None:
            choices = self._list_copyable_values(task)

            def copy_value(name: str | None) -> None:
                text = next((text for each, text in choices if each == name), None)
                if name is not None and text is not None:
                    self._copy(name, text)

            labels = [(name, f"{name}  {text}") for name, text in choices]
            await self._screen.app.push_screen(PickDialog("Copy", labels), copy_value)

        self._run_with_task(open_picker)

    def copy_id(self) -> None:
        rows = self._table.selected_rows
        if rows:
            self._copy("id" if len(rows) == 1 else f"{len(rows)} ids", "\n".join(row.id for row in rows))

    def _list_copyable_values(self, task: Task) -> list[tuple[str, str]]:
        result = task.result
        pairs = [
            ("id", task.id),
            ("name", task.name),
            ("SHA-256", result.sha256 if result is not None else None),
            ("path", self._get_downloaded_path(task.id)),
            ("link", result.link if result is not None else None),
            ("signature", result.signature if result is not None else None),
            *((f"SHA-256 of input {number}", each.sha256) for number, each in enumerate(task.inputs, 1)),
        ]
        return [(name, text) for name, text in pairs if text]

    def _copy(self, name: str, text: str) -> None:
        self._screen.app.copy_to_clipboard(text)
        self._screen.flash(f"Copied the {name}")

    # ---- execution

    def _run_with_task(self, action: Callable[[Task], Awaitable[None]]) -> None:
        row = self._table.cursor_row
        if row is None:
            return
        task_id = row.id

        async def read_and_run() -> None:
            await action(await (await self._screen.client()).task(task_id))

        self._screen.run_guarded(read_and_run())

    def _run_on_all(self, rows: Sequence[TaskRow], request: TaskRequest, outcome: str) -> None:
        async def apply_and_report() -> None:
            self._report(await self._apply_to_all(rows, request, outcome), len(rows), outcome)

        self._screen.run_guarded(apply_and_report())

    async def _apply_to_all(self, rows: Sequence[TaskRow], request: TaskRequest, outcome: str) -> list[Failure]:
        """Send a request for each row and return the failures.

        Continues after a failure, but stops if the connection is lost: the current row and all remaining rows are then
        returned as failures. Finally, clears the marks and shows how many requests succeeded. ``outcome``: a past
        participle for messages, such as "withdrawn".
        """
        client = await self._screen.client()
        failures: list[Failure] = []
        for number, row in enumerate(rows):
            try:
                await request(client, row)
            except ServerUnreachableError as error:
                failures += [(each, error) for each in rows[number:]]
                break
            except SealyardError as error:
                failures.append((row, error))
        self._table.clear_marks()
        if count := len(rows) - len(failures):
            names = rows[0].title if len(rows) == 1 else format_count(count, "task")
            self._screen.flash_outcome(outcome.capitalize(), names)
        return failures

    def _report(self, failures: Sequence[Failure], task_count: int, outcome: str) -> None:
        """Show the first error, if any, and how many tasks failed."""
        if failures:
            detail = f"{len(failures)} of {task_count} tasks could not be {outcome}." if task_count > 1 else ""
            self._screen.app.show_error(failures[0][1], detail=detail)


def _format_task_name(task: Task) -> str:
    return task.name or task.id


def _format_names(rows: Sequence[TaskRow]) -> str:
    return f"“{rows[0].title}”" if len(rows) == 1 else f"{len(rows)} tasks"


def _explain_no_download(states: set[ResultState | None]) -> str:
    """Return why nothing can be downloaded. The text may contain key placeholders for :func:`insert_keys`."""
    if ResultState.EXPIRED in states:
        return (
            "The link has expired: press {key[dashboard.renew]} to renew it, "
            "then {key[dashboard.download]} to download."
        )
    if ResultState.GONE in states:
        return "The file was removed at the end of its retention period; create a new package ({key[dashboard.new]})."
    return "No file to download."
