"""Tells a person what concerns them, wherever they are in the application: a notice, the bell, the desktop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

from textual.app import App

from sealyard.client.downloads.events import DownloadResult, VerifiedBy
from sealyard.model.errors import ResultExpiredError, ResultGoneError
from sealyard.model.events import TaskChanged
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import ResultState, TaskKind, TaskStatus
from sealyard_tui.session.messages import EngineUpdate
from sealyard_tui.session.state import SessionState

BATCH_SECONDS = 1.0
"""What happens to one's tasks within it, as at a start, is told in one notice: each covers what one reads."""

APPROVAL_NOTICE_INTERVAL = timedelta(seconds=10)
"""Between two words about what waits for approval, however many tasks come."""


class NotificationKind(Enum):
    """To a task: what is told of one, with its name before it, and what of several, with their number."""

    DOWNLOADED = ("✓ came down and was checked", "✓ {} came down and were checked.")
    DONE = ("✓ is done", "✓ {} done.")
    FAILED = ("✗ failed: the dashboard says why", "✗ {} failed: the dashboard says why.")
    CANCELLED = ("– was cancelled: the dashboard says why", "– {} cancelled: the dashboard says why.")
    EXPIRED = (
        "! its link has expired: e on the dashboard renews it while the file is kept",
        "! {} expired: e on the dashboard renews the link.",
    )
    GONE = ("∅ its file is gone: only a new package helps", "∅ {} gone: only a new package helps.")
    DOWNLOAD_FAILED = ("! did not come down", "! {} did not come down: L on the dashboard says why.")

    @property
    def good(self) -> bool:
        return self in (NotificationKind.DOWNLOADED, NotificationKind.DONE)

    @property
    def singular(self) -> str:
        return self.value[0]

    def plural(self, count: int) -> str:
        return self.value[1].format(count)


_ENDED = {
    TaskStatus.DONE: NotificationKind.DONE,
    TaskStatus.FAILED: NotificationKind.FAILED,
    TaskStatus.CANCELLED: NotificationKind.CANCELLED,
}
_RESULT = {ResultState.EXPIRED: NotificationKind.EXPIRED, ResultState.GONE: NotificationKind.GONE}
_MISSED = {ResultExpiredError.code: NotificationKind.EXPIRED, ResultGoneError.code: NotificationKind.GONE}


class Notifier:
    """Of each change once; what the person did a moment ago on the screen is not told again."""

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
        self._told: dict[str, NotificationKind] = {}
        self._waiting: tuple[str, int] = ("", 0)
        self._quiet_until = datetime.min.replace(tzinfo=UTC)
        self._gathered: dict[str, tuple[NotificationKind, str, DownloadResult | None]] = {}
        """By task: what happened, its name, and how its download ended."""

    def on_engine_update(self, news: EngineUpdate) -> None:
        for event in news.tasks.values():
            if event.created_by == self._state().identity:
                self._hear(event)

    def _hear(self, event: TaskChanged) -> None:
        happened = _RESULT.get(event.result_state) if event.result_state is not None else None
        happened = happened or _ENDED.get(event.status)
        if happened is None or self._told.get(event.task_id) is happened or self._will_download(event):
            return
        self._told[event.task_id] = happened
        self._gather(event.task_id, happened, event.name)

    def on_state_changed(self, standing: SessionState) -> None:
        """Says once that more waits for this person's approval than before; what comes thick is told together."""
        if not standing.roles:
            return
        identity, known = self._waiting
        more = standing.awaiting_my_approval - known if identity == standing.identity else 0
        now = self._now()
        if more > 0 and now < self._quiet_until:
            return
        self._waiting = (standing.identity, standing.awaiting_my_approval)
        if more > 0:
            self._quiet_until = now + APPROVAL_NOTICE_INTERVAL
            words = "A task waits" if more == 1 else f"{more} tasks wait"
            self._app.notify(f"{words} for your approval: 3 shows the queue.", markup=False)
            self._alert(f"{words} for your approval")

    def on_download_result(self, outcome: DownloadResult) -> None:
        happened = _happened(outcome)
        if self._told.get(outcome.task_id) is not happened:
            self._gather(outcome.task_id, happened, outcome.name, outcome)

    def reset(self) -> None:
        """Somebody else looks now: it is none of their business."""
        self._gathered.clear()
        self._app.clear_notifications()

    def _gather(
        self, task_id: str, happened: NotificationKind, name: str, outcome: DownloadResult | None = None
    ) -> None:
        if not self._gathered:
            self._app.set_timer(BATCH_SECONDS, self._tell)
        self._gathered[task_id] = (happened, escape_text(name or task_id, 40), outcome)

    def _tell(self) -> None:
        gathered = list(self._gathered.values())
        self._gathered.clear()
        if len(gathered) == 1:
            self._tell_one(*gathered[0])
            return
        counts = Counter(happened for happened, _, _ in gathered)
        lines = [each.plural(counts[each]) for each in NotificationKind if counts[each]]
        if lines:
            self._say("\n".join(lines), good=all(each.good for each in counts))

    def _tell_one(self, happened: NotificationKind, name: str, outcome: DownloadResult | None) -> None:
        if outcome is not None and outcome.downloaded is not None:
            found = outcome.downloaded
            words = "signature and digest" if found.checked is VerifiedBy.SIGNATURE else "digest"
            self._app.notify(f"{escape_text(found.path)}\n✓ {words} checked", title=f"{name} came down", markup=False)
        elif outcome is not None and outcome.error is not None and happened is NotificationKind.DOWNLOAD_FAILED:
            again = f" Trying again in {outcome.retry_in:g} s." if outcome.retry_in is not None else ""
            self._say(escape_text(f"{outcome.error.message}{again}"), good=False, title=f"{name} did not come down")
        else:
            self._say(f"{name} {happened.singular}", good=happened.good)

    def _say(self, text: str, *, good: bool, title: str = "") -> None:
        self._app.notify(text, title=title, severity="information" if good else "warning", markup=False)
        self._alert(title or text.replace("\n", " "))

    def _will_download(self, event: TaskChanged) -> bool:
        """Its arrival will be told."""
        done = event.status is TaskStatus.DONE and event.result_state is ResultState.AVAILABLE
        return done and event.kind is not TaskKind.SIGNING and self._is_download_automatic()


def _happened(outcome: DownloadResult) -> NotificationKind:
    if outcome.error is None:
        return NotificationKind.DOWNLOADED
    return _MISSED.get(outcome.error.code, NotificationKind.DOWNLOAD_FAILED)
