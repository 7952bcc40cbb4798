"""Tells a person what concerns them, wherever they are in the application: a notice, the bell, the desktop."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from sealyard.client.download_events import Checked, Outcome
from sealyard.model.errors import error_from
from sealyard.model.events import TaskChanged
from sealyard.model.safe_text import safe_text
from sealyard.model.tasks import ResultState, TaskKind, TaskStatus
from sealyard_tui.session.messages import News
from sealyard_tui.session.standing import Standing

if TYPE_CHECKING:
    from textual.notifications import SeverityLevel

    from sealyard_tui.app import SealyardApp

GATHER_SECONDS = 1.0

QUIET = timedelta(seconds=10)
"""Between two words about what waits for approval, however many tasks come."""

_ENDED = {
    TaskStatus.DONE: "✓ is done",
    TaskStatus.FAILED: "✗ failed: the dashboard says why",
    TaskStatus.CANCELLED: "– was cancelled: the dashboard says why",
}
_RESULT = {
    ResultState.EXPIRED: "! its link has expired: the dashboard renews it while the file is kept",
    ResultState.GONE: "∅ its file is gone: only a new package helps",
}
_BAD = (TaskStatus.FAILED, TaskStatus.CANCELLED)


class Notices:
    """Of each change once; what the person did a moment ago on the screen is not told again."""

    def __init__(self, app: SealyardApp) -> None:
        self._app = app
        self._told: dict[str, str] = {}
        self._waiting: tuple[str, int] = ("", 0)
        self._quiet_until = datetime.min.replace(tzinfo=UTC)
        self._outcomes: list[Outcome] = []

    def hear(self, news: News) -> None:
        mine = [each for each in news.tasks.values() if each.created_by == self._app.standing.identity]
        for event in mine:
            self._tell(event)

    def stand(self, standing: Standing) -> None:
        """Says once that more waits for this person's approval than before; what comes thick is told together."""
        if not standing.roles:
            return
        identity, known = self._waiting
        more = standing.waiting_for_me - known if identity == standing.identity else 0
        now = self._app.now()
        if more > 0 and now < self._quiet_until:
            return
        self._waiting = (standing.identity, standing.waiting_for_me)
        if more > 0:
            self._quiet_until = now + QUIET
            words = "A task waits" if more == 1 else f"{more} tasks wait"
            self._app.notify(f"{words} for your approval: 3 shows the queue.", markup=False)
            self._app.attract(f"{words} for your approval")

    def downloaded(self, outcome: Outcome) -> None:
        """Those that end close together, as at a start, are told together."""
        if not self._outcomes:
            self._app.set_timer(GATHER_SECONDS, self._tell_outcomes)
        self._outcomes.append(outcome)

    def _tell_outcomes(self) -> None:
        outcomes, self._outcomes = self._outcomes, []
        if len(outcomes) == 1:
            self._tell_outcome(outcomes[0])
            return
        missed = sum(each.downloaded is None for each in outcomes)
        parts = [
            f"✓ {len(outcomes) - missed} came down and were checked." if missed < len(outcomes) else "",
            f"! {missed} did not come down." if missed else "",
            "L on the dashboard lists them.",
        ]
        severity: SeverityLevel = "warning" if missed else "information"
        self._app.notify("\n".join(each for each in parts if each), severity=severity, markup=False)
        if missed:
            self._app.attract(f"{missed} did not come down")

    def _tell_outcome(self, outcome: Outcome) -> None:
        name = safe_text(outcome.name or outcome.task_id, 40)
        if outcome.downloaded is not None:
            found = outcome.downloaded
            words = "signature and digest" if found.checked is Checked.SIGNATURE else "digest"
            self._app.notify(f"{safe_text(found.path)}\n✓ {words} checked", title=f"{name} came down", markup=False)
        elif outcome.error is not None:
            error = error_from(outcome.error)
            again = f" Trying again in {outcome.retry_in:g} s." if outcome.retry_in is not None else ""
            title = f"{name} did not come down"
            self._app.notify(safe_text(f"{error.message}{again}"), title=title, severity="warning", markup=False)
            self._app.attract(title)

    def _tell(self, event: TaskChanged) -> None:
        words = _RESULT.get(event.result_state) if event.result_state is not None else None
        words = words or _ENDED.get(event.status)
        if words is None or self._told.get(event.task_id) == words or self._comes_down(event):
            return
        self._told[event.task_id] = words
        name = safe_text(event.name or event.task_id, 40)
        bad = event.status in _BAD or event.result_state in _RESULT
        self._app.notify(f"{name} {words}", severity="warning" if bad else "information", markup=False)
        self._app.attract(f"{name} {words}")

    def _comes_down(self, event: TaskChanged) -> bool:
        """Its arrival will be told."""
        done = event.status is TaskStatus.DONE and event.result_state is ResultState.AVAILABLE
        return done and event.kind is not TaskKind.SIGNING and self._app.downloads.by_themselves
