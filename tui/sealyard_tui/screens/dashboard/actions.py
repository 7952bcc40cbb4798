"""The task actions of the dashboard, and the conditions under which each is available."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from sealyard.client.protocol import Client
from sealyard.model.access import Action, device_resource
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import SealyardError, ServerUnreachableError
from sealyard.model.formatting import format_count
from sealyard.model.results import state_at
from sealyard.model.tasks import Result, ResultState, Task, TaskStatus
from sealyard_tui.action_keys import action_keys, insert_keys
from sealyard_tui.dialogs.confirm import ConfirmDialog
from sealyard_tui.dialogs.pick import PickDialog
from sealyard_tui.dialogs.reason import ReasonDialog
from sealyard_tui.dialogs.text import TextDialog
from sealyard_tui.formatting import shorten_name
from sealyard_tui.screens.base import BaseScreen
from sealyard_tui.screens.dashboard.task_row import TaskRow
from sealyard_tui.session.hints import error_text
from sealyard_tui.session.pending_changes import Change, ChangeCancelledError
from sealyard_tui.session.state import SessionState
from sealyard_tui.terminal.file_manager import open_in_file_manager
from sealyard_tui.widgets.virtual_table import VirtualTable

MAX_TITLE_WIDTH = 30
"""Width of a task's name in a question, in cells."""
_WITHDRAWABLE = (TaskStatus.CREATED, TaskStatus.WAITING, TaskStatus.APPROVED)


class _TaskChange(NamedTuple):
    """A change of one or more tasks.

    ``name``: the name of the action. ``noun`` and ``outcome``: words for messages, such as "Withdrawal", "withdrawn".
    """

    name: str
    noun: str
    outcome: str
    request: Callable[[Client, TaskRow], Awaitable[object]]

    @property
    def hint(self) -> str:
        return f"Press {{key[dashboard.{self.name}]}} to repeat it."


Failure = tuple[TaskRow, SealyardError]


class AvailableActions(FrozenStruct, frozen=True, kw_only=True):
    """Flags that indicate which actions the user can perform on a task."""

    withdraw: bool = False
    cancel: bool = False
    download: bool = False
    renew: bool = False
    """Whether the link has expired and can be renewed."""
    folder: bool = False


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

    def explain(self, action: str) -> None:
        """Show why a disabled action is not possible. The actions themselves do so if no task is suitable."""
        methods = {
            "withdraw": self.withdraw,
            "cancel": self.cancel,
            "renew": self.renew,
            "download": self.download,
            "folder": self.open_folder,
        }
        if self._table.cursor_row is not None and action in methods:
            methods[action]()

    # ---- withdraw and cancel

    def withdraw(self) -> None:
        rows = self._filter_selection(lambda each: each.withdraw)
        if not rows:
            self._screen.flash("You can only withdraw your own tasks before they start.", warning=True)
            return
        remaining = list(rows)
        dialog = ReasonDialog(
            "Withdraw",
            f"Reason for withdrawing {_format_names(rows)}?",
            consequence="The task ends. This cannot be undone.",
            required=True,
            subject=",".join(row.id for row in rows),
            edit=self._screen.app.edit_text,
            action=lambda reason: self._apply_in_dialog(
                _TaskChange("withdraw", "Withdrawal", "withdrawn", lambda client, row: client.withdraw(row.id, reason)),
                remaining,
            ),
        )
        self._screen.app.push_screen(dialog)

    def cancel(self) -> None:
        rows = self._filter_selection(lambda each: each.cancel)
        if not rows:
            self._screen.flash(
                "Only the requester or an approver can cancel a task, and only until it has ended.", warning=True
            )
            return
        remaining = list(rows)
        change = _TaskChange("cancel", "Cancellation", "cancelled", lambda client, row: client.cancel(row.id))
        has_running = any(row.status is TaskStatus.RUNNING for row in rows)
        running_note = " A running task ends when its worker has stopped." if has_running else ""
        dialog = ConfirmDialog(
            "Cancel",
            f"Cancel {_format_names(rows)}?",
            consequence=f"This cannot be undone.{running_note}",
            yes="Cancel task" if len(rows) == 1 else "Cancel tasks",
            no="Back",
            action=lambda: self._apply_in_dialog(change, remaining),
        )
        self._screen.app.push_screen(dialog)

    # ---- results

    def renew(self) -> None:
        rows = self._filter_selection(lambda each: each.renew)
        if not rows:
            self._screen.flash("This link has not expired.", warning=True)
            return
        change = _TaskChange("renew", "Renewal of the link", "renewed", lambda client, row: client.renew(row.id))
        self._screen.run_guarded(self._apply_in_background(change, rows), group="renew")

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
        screen.flash(f"Downloading {_format_names(ready)}")

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

        self._screen.run_opening(read_and_run())

    async def _apply_in_dialog(self, change: _TaskChange, remaining: list[TaskRow]) -> bool:
        """Apply ``change`` to the tasks in ``remaining``, and remove those from it for which this succeeds.

        Raises the first error, after which the user can repeat the change for the remaining tasks.
        """
        count = len(remaining)
        failures = await self._apply_to_all(change, remaining)
        if failures:
            remaining[:] = [row for row, _ in failures]
            raise _summarize_failures(change, failures, count)
        return True

    async def _apply_in_background(self, change: _TaskChange, rows: Sequence[TaskRow]) -> None:
        failures = await self._apply_to_all(change, rows)
        if failures:
            row, error = failures[0]
            more = f" and {len(failures) - 1} more" if len(failures) > 1 else ""
            label = f"{change.noun} of {row.title}{more}"
            self._screen.app.notify_failure(Change(label=label, hint=change.hint), error)

    async def _apply_to_all(self, change: _TaskChange, rows: Sequence[TaskRow]) -> list[Failure]:
        """Apply ``change`` to each row, and return the failures.

        Continues after a failure, but stops if the connection is lost or the user cancels: the current row and all
        remaining rows are then returned as failures. Finally, clears the marks and shows how many requests succeeded.
        """
        failures: list[Failure] = []
        for number, row in enumerate(rows):
            try:
                await self._apply(change, row)
            except (ServerUnreachableError, ChangeCancelledError) as error:
                failures += [(each, error) for each in rows[number:]]
                break
            except SealyardError as error:
                failures.append((row, error))
        if count := len(rows) - len(failures):
            self._table.clear_marks()
            self._screen.flash(
                f"{rows[0].title} {change.outcome}"
                if len(rows) == 1
                else f"{format_count(count, 'task')} {change.outcome}"
            )
        return failures

    async def _apply(self, change: _TaskChange, row: TaskRow) -> None:
        description = Change(
            label=f"{change.noun} of {row.title}",
            task_id=row.id,
            is_made=_is_available if change.name == "renew" else _is_cancelled,
            hint=change.hint,
        )
        await self._screen.app.changes.run(description, lambda client: change.request(client, row))


def _is_cancelled(task: Task) -> bool:
    return task.status is TaskStatus.CANCELLED


def _is_available(task: Task) -> bool:
    return task.result is not None and task.result.state is ResultState.AVAILABLE


def _summarize_failures(change: _TaskChange, failures: Sequence[Failure], count: int) -> SealyardError:
    """Return the first error, with the number of failures if there are several tasks."""
    error = failures[0][1]
    if count == 1:
        return error
    text = f"{len(failures)} of {count} tasks could not be {change.outcome}. {error.message}"
    return SealyardError(text, "Submit again to repeat the change for the rest.")


def _format_task_name(task: Task) -> str:
    return task.name or task.id


def _format_names(rows: Sequence[TaskRow]) -> str:
    return f"“{shorten_name(rows[0].title, MAX_TITLE_WIDTH)}”" if len(rows) == 1 else f"{len(rows)} tasks"


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
