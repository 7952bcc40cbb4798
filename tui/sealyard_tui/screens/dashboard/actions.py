"""Actions on tasks, and the conditions for each."""

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
from sealyard.model.tasks import Result, ResultState, Task, TaskStatus
from sealyard_tui.dialogs.confirm import ConfirmDialog
from sealyard_tui.dialogs.pick import PickDialog
from sealyard_tui.dialogs.reason import ReasonDialog
from sealyard_tui.dialogs.retry import Attempt, ask_and_retry
from sealyard_tui.dialogs.text import TextDialog
from sealyard_tui.screens.base import BaseScreen
from sealyard_tui.screens.dashboard.task_row import TaskRow
from sealyard_tui.session.hints import action_keys, error_text
from sealyard_tui.session.state import SessionState
from sealyard_tui.terminal.file_manager import open_in_file_manager
from sealyard_tui.widgets.virtual_table import VirtualTable

_WITHDRAWABLE = (TaskStatus.CREATED, TaskStatus.WAITING, TaskStatus.APPROVED)

TaskCall = Callable[[Client, TaskRow], Awaitable[object]]
Failure = tuple[TaskRow, SealyardError]


class AvailableActions(FrozenStruct, frozen=True, kw_only=True):
    """The actions that one user can apply to one task."""

    withdraw: bool = False
    cancel: bool = False
    download: bool = False
    renew: bool = False
    """Whether the link has expired and can be renewed."""
    folder: bool = False


def available_actions(
    row: TaskRow | None, state: SessionState, artifact: ResultState | None, *, on_disk: bool
) -> AvailableActions:
    """Return the actions on a task. ``artifact`` is the current state of its file, None if there is none."""
    if row is None:
        return AvailableActions()
    mine = row.creator == state.identity
    stops = mine or state.is_allowed(Action.APPROVE, device_resource(row.config_id))
    return AvailableActions(
        withdraw=mine and row.status in _WITHDRAWABLE,
        cancel=stops and not row.status.is_final,
        download=artifact is not None,
        renew=artifact is ResultState.EXPIRED,
        folder=on_disk,
    )


def artifact_state(result: Result | None, now: datetime) -> ResultState | None:
    """Return the current state of the file of a result; None if there is no file."""
    if result is None or result.signature is not None:
        return None
    return state_at(result, now)


class TaskActions:
    """Actions on the marked tasks of the dashboard, else on the one under the cursor."""

    def __init__(self, screen: BaseScreen) -> None:
        self._screen = screen

    @property
    def _table(self) -> VirtualTable[TaskRow]:
        return self._screen.query_one("#rows", VirtualTable)

    def _downloaded_path(self, task_id: str) -> str | None:
        return self._screen.app.download_manager.path(task_id)

    def available_actions(self, row: TaskRow | None) -> AvailableActions:
        screen = self._screen
        artifact = artifact_state(row.result, screen.now()) if row is not None else None
        on_disk = row is not None and self._downloaded_path(row.id) is not None
        return available_actions(row, screen.state, artifact, on_disk=on_disk)

    def _selected_where(self, condition: Callable[[AvailableActions], bool]) -> list[TaskRow]:
        return [row for row in self._table.selected_rows if condition(self.available_actions(row))]

    # ---- withdraw and cancel

    def withdraw(self) -> None:
        rows = self._selected_where(lambda each: each.withdraw)
        if not rows:
            self._screen.flash("You can only withdraw your own tasks before they start.", warning=True)
            return
        ask_and_retry(self._screen.app, self._withdrawal(rows), self._screen.run_guarded)

    def _withdrawal(self, rows: Sequence[TaskRow], *, typed: str = "", failure: str = "") -> Attempt[str | None]:
        """Return the attempt to withdraw tasks. ``typed`` and ``failure``: reason and error of the attempt before."""
        dialog = ReasonDialog(
            "Withdraw",
            f"Reason for withdrawing {_named(rows)}? This cannot be undone.",
            required=True,
            subject=",".join(row.id for row in rows),
            edit=self._screen.app.edit_text,
        )
        dialog.error_text = failure
        if typed:
            dialog.restore(typed)

        async def withdraw(reason: str | None) -> Attempt[str | None] | None:
            assert reason, "the dialog requires a reason"
            failures = await self._apply(rows, lambda client, row: client.withdraw(row.id, reason), "withdrawn")
            lost = [failure for failure in failures if isinstance(failure[1], ServerUnreachableError)]
            self._report([failure for failure in failures if failure not in lost], len(rows), "withdrawn")
            if not lost:
                return None
            return self._withdrawal(
                [row for row, _ in lost], typed=reason, failure=error_text(lost[0][1], action_keys(self._screen.app))
            )

        return Attempt(dialog, withdraw)

    def cancel(self) -> None:
        rows = self._selected_where(lambda each: each.cancel)
        if not rows:
            self._screen.flash(
                "Only the requester or an approver can cancel a task, and only until it has ended.", warning=True
            )
            return

        def decided(sure: bool | None) -> None:
            if sure:
                self._run_on_all(rows, lambda client, row: client.cancel(row.id), "cancelled")

        running = any(row.status is TaskStatus.RUNNING for row in rows)
        more = " A running task ends when its worker has stopped." if running else ""
        question = f"Cancel {_named(rows)}? This cannot be undone.{more}"
        dialog = ConfirmDialog("Cancel", question, yes="Cancel task" if len(rows) == 1 else "Cancel tasks", no="Back")
        self._screen.app.push_screen(dialog, decided)

    # ---- results

    def renew(self) -> None:
        rows = self._selected_where(lambda each: each.renew)
        if not rows:
            self._screen.flash("This link has not expired.", warning=True)
            return
        self._run_on_all(rows, lambda client, row: client.renew(row.id), "renewed")

    def download(self) -> None:
        screen = self._screen
        rows = self._selected_where(lambda each: each.download)
        states = {row.id: artifact_state(row.result, screen.now()) for row in rows}
        ready = [row for row in rows if states[row.id] is ResultState.AVAILABLE]
        if not ready:
            screen.flash(_download_blocked_text(set(states.values())), warning=True)
            return
        for row in ready:
            screen.run_guarded(self._fetch(row), group="fetch")
        screen.flash(f"Downloading {_named(ready)}")

    async def _fetch(self, row: TaskRow) -> None:
        result = await self._screen.app.download_manager.download(row.id, row.title)
        if result.downloaded is not None:
            self._screen.flash(f"Downloaded to {result.downloaded.path}")

    def open_folder(self) -> None:
        row = self._table.cursor_row
        path = self._downloaded_path(row.id) if row is not None else None
        if path is None:
            self._screen.flash("The file is not on disk; press d to download it.", warning=True)
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
            await self._screen.app.push_screen(TextDialog(f"Task {display_name(task)}", text, suffix=".json"))

        self._with_task(show)

    def copy(self) -> None:
        async def offer_values(task: Task) -> None:
            choices = self._copyable_values(task)

            def picked(name: str | None) -> None:
                text = next((text for each, text in choices if each == name), None)
                if name is not None and text is not None:
                    self._copy(name, text)

            shown = [(name, f"{name}  {text}") for name, text in choices]
            await self._screen.app.push_screen(PickDialog("Copy", shown), picked)

        self._with_task(offer_values)

    def copy_id(self) -> None:
        rows = self._table.selected_rows
        if rows:
            self._copy("id" if len(rows) == 1 else f"{len(rows)} ids", "\n".join(row.id for row in rows))

    def _copyable_values(self, task: Task) -> list[tuple[str, str]]:
        result = task.result
        pairs = [
            ("id", task.id),
            ("name", task.name),
            ("SHA-256", result.sha256 if result is not None else None),
            ("path", self._downloaded_path(task.id)),
            ("link", result.link if result is not None else None),
            ("signature", result.signature if result is not None else None),
            *((f"SHA-256 of input {number}", each.sha256) for number, each in enumerate(task.inputs, 1)),
        ]
        return [(name, text) for name, text in pairs if text]

    def _copy(self, name: str, text: str) -> None:
        self._screen.app.copy_to_clipboard(text)
        self._screen.flash(f"Copied the {name}")

    # ---- execution

    def _with_task(self, action: Callable[[Task], Awaitable[None]]) -> None:
        row = self._table.cursor_row
        if row is None:
            return
        task_id = row.id

        async def read_and_run() -> None:
            await action(await (await self._screen.client()).task(task_id))

        self._screen.run_guarded(read_and_run())

    def _run_on_all(self, rows: Sequence[TaskRow], call: TaskCall, done: str) -> None:
        async def apply_and_report() -> None:
            self._report(await self._apply(rows, call, done), len(rows), done)

        self._screen.run_guarded(apply_and_report())

    async def _apply(self, rows: Sequence[TaskRow], call: TaskCall, done: str) -> list[Failure]:
        """Apply the action to each row. Continues after a failure, but stops when the connection is lost and reports
        the remaining rows as failed.
        """
        client = await self._screen.client()
        failures: list[Failure] = []
        for number, row in enumerate(rows):
            try:
                await call(client, row)
            except ServerUnreachableError as error:
                failures += [(each, error) for each in rows[number:]]
                break
            except SealyardError as error:
                failures.append((row, error))
        self._table.clear_marks()
        if count := len(rows) - len(failures):
            self._screen.flash(f"{rows[0].title} {done}" if len(rows) == 1 else f"{format_count(count, 'task')} {done}")
        return failures

    def _report(self, failures: Sequence[Failure], asked: int, done: str) -> None:
        """Show the first failure, with the number of all."""
        if failures:
            others = f"{len(failures)} of {asked} tasks could not be {done}." if asked > 1 else ""
            self._screen.app.show_error(failures[0][1], detail=others)


def display_name(task: Task) -> str:
    return task.name or task.id


def _named(rows: Sequence[TaskRow]) -> str:
    return f"“{rows[0].title}”" if len(rows) == 1 else f"{len(rows)} tasks"


def _download_blocked_text(states: set[ResultState | None]) -> str:
    if ResultState.EXPIRED in states:
        return "The link has expired: press e to renew it, then d to download."
    if ResultState.GONE in states:
        return "The file was removed at the end of its retention period; create a new package (n)."
    return "No file to download."
