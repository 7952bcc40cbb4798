"""Notifications about the user's tasks: toasts on every screen, the terminal bell, and desktop notifications."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, NamedTuple

from textual.app import App

from sealyard.client.downloads.events import DownloadResult, VerifiedBy
from sealyard.model.errors import ResultExpiredError, ResultGoneError
from sealyard.model.events import TaskChanged
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import DetailedStatus, ResultState, TaskKind, TaskStatus
from sealyard_tui.action_keys import action_keys, insert_keys
from sealyard_tui.formatting import shorten_middle
from sealyard_tui.session.messages import EngineUpdate
from sealyard_tui.session.state import SessionState

BATCH_SECONDS = 1.0
"""Changes within this many seconds are combined, because each notification covers part of the screen."""

MAX_NAME_LENGTH = 40
MAX_REASON_LENGTH = 160
"""Maximum length of the reason of a rejection in a notification, in characters."""

APPROVAL_NOTIFICATION_INTERVAL = timedelta(seconds=10)
"""Minimum time between two notifications about pending approvals."""


class NotificationKind(Enum):
    """A kind of notification, with two texts: one for a single task and its name, and one for several tasks."""

    DOWNLOADED = ("✓ Downloaded and verified: {name}", "✓ {count} downloaded and verified.")
    ON_DISK = ("✓ Already on disk and verified: {name}", "✓ {count} already on disk and verified.")
    DONE = ("✓ Done: {name}", "✓ {count} done.")
    FAILED = (
        "✗ Failed: {name}. See the dashboard for the reason.",
        "✗ {count} failed: see the dashboard for the reason.",
    )
    REJECTED = ("✗ Rejected: {name}", "✗ {count} rejected: see the dashboard for the reason.")
    CANCELLED = (
        "– Cancelled: {name}. See the dashboard for the reason.",
        "– {count} cancelled: see the dashboard for the reason.",
    )
    EXPIRED = (
        "! Link expired: {name}. Press {key[dashboard.renew]} on the dashboard to renew it.",
        "! {count} expired: press {key[dashboard.renew]} on the dashboard to renew the link.",
    )
    GONE = ("∅ File removed: {name}. Create a new package.", "∅ {count} removed: create a new package for each.")
    DOWNLOAD_FAILED = (
        "! Download failed: {name}",
        "! {count} not downloaded: press {key[dashboard.downloads]} on the dashboard for the reason.",
    )

    @property
    def is_success(self) -> bool:
        return self in (NotificationKind.DOWNLOADED, NotificationKind.ON_DISK, NotificationKind.DONE)

    def singular(self, name: str, keys: Mapping[str, str]) -> str:
        template: str = self.value[0]
        return template.format(name=name, key=keys)

    def plural(self, count: int, keys: Mapping[str, str]) -> str:
        template: str = self.value[1]
        return template.format(count=count, key=keys)


_FINAL_KINDS = {
    DetailedStatus.DONE: NotificationKind.DONE,
    DetailedStatus.FAILED: NotificationKind.FAILED,
    DetailedStatus.REJECTED: NotificationKind.REJECTED,
    DetailedStatus.CANCELLED: NotificationKind.CANCELLED,
}
"""A task that was withdrawn is missing, because its requester has withdrawn it."""

_RESULT_KINDS = {ResultState.EXPIRED: NotificationKind.EXPIRED, ResultState.GONE: NotificationKind.GONE}
_DOWNLOAD_ERROR_KINDS = {ResultExpiredError.code: NotificationKind.EXPIRED, ResultGoneError.code: NotificationKind.GONE}


class _Notification(NamedTuple):
    """A queued notification. ``name`` and ``detail`` are safe text."""

    kind: NotificationKind
    name: str
    result: DownloadResult | None
    detail: str


class Notifier:
    """Notifier that informs the user, without repetitions, of finished tasks, downloads and pending approvals."""

    def __init__(
        self,
        app: App[Any],
        *,
        state: Callable[[], SessionState],
        now: Callable[[], datetime],
        alert: Callable[[str], None],
        is_download_automatic: Callable[[], bool],
    ) -> None:
        self._app = app
        self._state = state
        self._now = now
        self._alert = alert
        self._is_download_automatic = is_download_automatic
        self._reported: dict[str, NotificationKind] = {}
        self._last_pending: tuple[str, int] = ("", 0)
        self._reported_clock = False
        self._reported_key_failures: tuple[str, ...] = ()
        self._quiet_until = datetime.min.replace(tzinfo=UTC)
        self._batch: dict[str, _Notification] = {}
        """The queued notifications by task id."""

    def on_engine_update(self, update: EngineUpdate) -> None:
        for event in update.tasks.values():
            if event.created_by == self._state().identity:
                self._report_change(event)

    def _report_change(self, event: TaskChanged) -> None:
        kind = _RESULT_KINDS.get(event.result_state) if event.result_state is not None else None
        kind = kind or _FINAL_KINDS.get(event.detailed_status or DetailedStatus(event.status))
        if kind is None or self._reported.get(event.task_id) is kind or self._will_download(event):
            return
        self._reported[event.task_id] = kind
        reason = event.decision.reason if kind is NotificationKind.REJECTED and event.decision is not None else ""
        self._queue(event.task_id, kind, event.name, detail=escape_text(reason, MAX_REASON_LENGTH))

    def expect_cancellation(self, task_ids: Iterable[str]) -> None:
        """Do not notify the user of the cancellation of these tasks, because the user is cancelling them."""
        self._reported.update(dict.fromkeys(task_ids, NotificationKind.CANCELLED))

    def on_state_changed(self, state: SessionState) -> None:
        """Notify the user of new tasks awaiting their approval, and administrators of the clock and of failing keys."""
        if not state.roles:
            return
        self._report_clock(state)
        self._report_key_failures(state)
        self._report_pending_approvals(state)

    def _report_clock(self, state: SessionState) -> None:
        is_new = state.can_confirm_clock and bool(state.clock_warning) and not self._reported_clock
        self._reported_clock = bool(state.clock_warning)
        if is_new:
            self._notify(escape_text(state.clock_warning), is_success=False, title="System clock")

    def _report_key_failures(self, state: SessionState) -> None:
        """Notify administrators of each key or key provider that has failed its check, and when all work again."""
        failures = (*state.provider_failures, *state.key_failures) if state.is_administrator else ()
        new_failures = [failure for failure in failures if failure not in self._reported_key_failures]
        have_recovered = bool(self._reported_key_failures) and not failures
        self._reported_key_failures = failures
        if new_failures:
            text = "\n".join(escape_text(failure) for failure in new_failures)
            self._notify(text, is_success=False, title="Key check failed")
        elif have_recovered and state.is_administrator:
            self._notify("All keys work again.", is_success=True, title="Key check")

    def _report_pending_approvals(self, state: SessionState) -> None:
        """Notify the user of new tasks awaiting their approval; changes in quick succession are combined."""
        identity, previous_count = self._last_pending
        new_tasks = state.awaiting_my_approval - previous_count if identity == state.identity else 0
        now = self._now()
        if new_tasks > 0 and now < self._quiet_until:
            return
        self._last_pending = (state.identity, state.awaiting_my_approval)
        if new_tasks > 0:
            self._quiet_until = now + APPROVAL_NOTIFICATION_INTERVAL
            subject = "1 task is waiting" if new_tasks == 1 else f"{new_tasks} tasks are waiting"
            hint = insert_keys(self._app, "Press {key[app.approvals]} to open the queue.")
            self._app.notify(f"{subject} for your approval. {hint}", markup=False)
            self._alert(f"{subject} for your approval")

    def on_download_result(self, result: DownloadResult) -> None:
        kind = _kind_of(result)
        if self._reported.get(result.task_id) is not kind:
            self._queue(result.task_id, kind, result.name, result=result)

    def reset(self) -> None:
        """Discard queued and visible notifications, because they concern the previous identity."""
        self._batch.clear()
        self._reported_clock = False
        self._reported_key_failures = ()
        self._app.clear_notifications()

    def _queue(
        self,
        task_id: str,
        kind: NotificationKind,
        name: str,
        *,
        result: DownloadResult | None = None,
        detail: str = "",
    ) -> None:
        if not self._batch:
            self._app.set_timer(BATCH_SECONDS, self._notify_batch)
        short_name = shorten_middle(escape_text(name or task_id), MAX_NAME_LENGTH)
        self._batch[task_id] = _Notification(kind, short_name, result, detail)

    def _notify_batch(self) -> None:
        batch = list(self._batch.values())
        self._batch.clear()
        if len(batch) == 1:
            self._notify_single(batch[0])
            return
        keys = action_keys(self._app)
        counts = Counter(each.kind for each in batch)
        lines = [kind.plural(counts[kind], keys) for kind in NotificationKind if counts[kind]]
        if lines:
            self._notify("\n".join(lines), is_success=all(kind.is_success for kind in counts))

    def _notify_single(self, notification: _Notification) -> None:
        kind, name, result, detail = notification
        if result is not None and result.downloaded is not None:
            file = result.downloaded
            proof = "signature and digest" if file.checked is VerifiedBy.SIGNATURE else "digest"
            warnings = (f"! {escape_text(warning)}" for warning in file.warnings)
            text = "\n".join((escape_text(file.path), f"✓ {proof} verified", *warnings))
            title = f"Already on disk: {name}" if file.was_on_disk else f"Downloaded {name}"
            self._app.notify(text, title=title, markup=False)
        elif result is not None and result.error is not None and kind is NotificationKind.DOWNLOAD_FAILED:
            retry_text = f" Retrying in {result.retry_in:g} s." if result.retry_in is not None else ""
            self._notify(
                escape_text(f"{result.error.message}{retry_text}"), is_success=False, title=f"Download of {name} failed"
            )
        else:
            text = kind.singular(name, action_keys(self._app))
            self._notify(f"{text}\n{detail}" if detail else text, is_success=kind.is_success)

    def _notify(self, text: str, *, is_success: bool, title: str = "") -> None:
        self._app.notify(text, title=title, severity="information" if is_success else "warning", markup=False)
        self._alert(title or text.replace("\n", " "))

    def _will_download(self, event: TaskChanged) -> bool:
        """Return whether the result will be downloaded automatically; the user is then notified of the download."""
        has_result = event.status is TaskStatus.DONE and event.result_state is ResultState.AVAILABLE
        return has_result and event.kind is not TaskKind.SIGNING and self._is_download_automatic()


def _kind_of(result: DownloadResult) -> NotificationKind:
    if result.error is None:
        was_on_disk = result.downloaded is not None and result.downloaded.was_on_disk
        return NotificationKind.ON_DISK if was_on_disk else NotificationKind.DOWNLOADED
    return _DOWNLOAD_ERROR_KINDS.get(result.error.code, NotificationKind.DOWNLOAD_FAILED)
