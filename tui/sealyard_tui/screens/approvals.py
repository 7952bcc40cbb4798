"""The approvals place: what waits for a decision, all that must be seen before it, and the decision itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime
from typing import ClassVar

import msgspec
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.timer import Timer

from sealyard.client.protocol import Client
from sealyard.model.access import Action
from sealyard.model.errors import NotFoundError, SealyardError
from sealyard.model.requests import TaskFilter
from sealyard.model.tasks import Task, TaskStatus
from sealyard_tui.editor import page_text
from sealyard_tui.messages import News
from sealyard_tui.screens.approvals_deciding import Deciding
from sealyard_tui.screens.approvals_pane import ReviewPane
from sealyard_tui.screens.approvals_review import copies, metadata_text
from sealyard_tui.screens.approvals_row import COLUMNS, OVER, READING, cells, hindered, why_empty
from sealyard_tui.screens.dialog import PickDialog, TextDialog
from sealyard_tui.shown import task_title
from sealyard_tui.standing import Standing
from sealyard_tui.widgets.big_table import BigTable, Cell
from sealyard_tui.widgets.filter_bar import FilterBar

PAGE = 200
LONGEST_PAGE = 1000
MOST_SINGLE_READS = 20
"""Changed tasks beyond which the list is read anew instead of each of them."""

PAUSE = 0.3
"""Seconds between two reads of what changed, however many events come."""

REST = 0.05
"""Seconds that the cursor rests on a row before its review is read."""

MINE, ALL = "mine", "all"


class Approvals(Deciding):
    PLACE = "approvals"
    CSS_PATH = "approvals.tcss"
    HELP = (
        "What waits for a decision of yours, and by `a` all that waits, with the reason where you may not decide. "
        "The review shows all that is released: files with their digests, metadata, keys, and what changed since the "
        "last approved package of the same configuration.\n"
        "Enter reads the review alone on the screen; from the list . and , scroll it. Approving is typed, for it "
        "cannot be undone once the quorum is complete; rejecting wants a reason."
    )

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("A,ctrl+a", "approve", "Approve", id="approvals.approve", tooltip="Release it; asked again, by typing"),
        Binding("x", "reject", "Reject", id="approvals.reject", tooltip="Refuse it, with a reason"),
        Binding("a", "toggle_all", "Mine/all", id="approvals.all", tooltip="What waits for me, or all that waits"),
        Binding("n,right_square_bracket", "next(1)", "Next", id="approvals.next", tooltip="The next task", show=False),
        Binding("N,left_square_bracket", "next(-1)", "Previous", id="approvals.previous", show=False),
        Binding("full_stop,shift+down", "scroll_review(1)", "Review down", id="approvals.review_down", show=False),
        Binding("comma,shift+up", "scroll_review(-1)", "Review up", id="approvals.review_up", show=False),
        Binding("y", "copy_digest", "Digest", id="approvals.copy_digest", tooltip="Copy the approval digest"),
        Binding("c", "copy", "Copy …", id="approvals.copy", tooltip="Choose what to copy", show=False),
        Binding("e", "pager", "Metadata", id="approvals.pager", tooltip="The metadata in the pager", show=False),
        Binding("J", "json", "JSON", id="approvals.json", tooltip="The whole task as JSON", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._all = False
        self._next: str | None = None
        """Where the list goes on; None at the end."""
        self._reading_on = False
        self._changed: set[str] = set()
        self._anew = False
        self._shown: TaskFilter | None = None
        """What the list was read for."""
        self._reading_changed = False
        self._rest: Timer | None = None

    # ---- the frame

    def compose_place(self) -> ComposeResult:
        self._all = self.remembered.sort == ALL
        yield FilterBar(self.remembered.filter, hint="a word of the name, the id or a file")
        with Vertical(id="list", classes="pane"):
            yield BigTable[Task](
                COLUMNS, self._cells, key=lambda task: task.id, empty=READING, markable=True, id="queue"
            )
        yield ReviewPane()

    def on_mount(self) -> None:
        self.sealyard.standing_changed.subscribe(self, self._rights_changed)
        self.set_focus(self.table)

    @property
    def table(self) -> BigTable[Task]:
        return self.query_one("#queue", BigTable)

    @property
    def review(self) -> ReviewPane:
        return self.query_one(ReviewPane)

    def _cells(self, task: Task) -> tuple[Cell, ...]:
        return cells(task, self.standing, self.now())

    # ---- reading

    async def load(self) -> None:
        """As many as are there already, and at least a page; the cursor stays on its task."""
        client = await self.client()
        filters = self._filters()
        wanted = max(PAGE, len(self.table))
        tasks: list[Task] = []
        after: str | None = None
        while len(tasks) < wanted:
            page = await client.tasks(filters, after=after, limit=min(LONGEST_PAGE, wanted - len(tasks)))
            tasks += page.tasks
            after = page.next
            if after is None:
                break
        found = {each.id for each in tasks}
        before = self.table.rows if filters == self._shown else []
        overdue = await self._still_there(client, (each for each in before if each.id not in found))
        if filters != self._filters() or client is not await self.client():
            return
        self._next = after
        self._shown = filters
        self.table.replace(sorted([*tasks, *overdue], key=_age, reverse=True))
        self._say_how_many()
        await self._read_review()

    def _filters(self) -> TaskFilter:
        text = self.query_one(FilterBar).text
        if self._all:
            return TaskFilter(status=TaskStatus.WAITING, text=text)
        return TaskFilter(waiting_for_me=True, text=text)

    async def _still_there(self, client: Client, gone: Iterable[Task]) -> list[Task]:
        """Of those that no longer wait for this person, the ones whose period is over: the engine cancels them."""
        over = [each for each in gone if hindered(each, self.standing, self.now()) == OVER]
        read = [await _read(client, each.id) for each in over[:MOST_SINGLE_READS]]
        return [each for each in read if each is not None and self._belongs(each)]

    def _belongs(self, task: Task) -> bool:
        """Whether a task that was read alone stands in the list."""
        reason = hindered(task, self.standing, self.now())
        return (
            task.status is TaskStatus.WAITING
            and (self._all or reason in ("", OVER))
            and TaskFilter(text=self.query_one(FilterBar).text).matches(task)
        )

    async def _read_on(self) -> None:
        try:
            client = await self.client()
            filters = self._filters()
            page = await client.tasks(filters, after=self._next, limit=LONGEST_PAGE)
            if filters != self._filters() or client is not await self.client():
                return
            self._next = page.next
            self.table.extend(page.tasks)
            self._say_how_many()
        finally:
            self._reading_on = False

    @on(BigTable.NearEnd)
    def _near_end(self) -> None:
        if self._next is not None and not self._reading_on:
            self._reading_on = True
            self.attempt(self._read_on(), group="read-on")

    async def take(self, news: News) -> None:
        """What waits no more goes at once; the others that changed are read, a few times a second at most."""
        self._anew = self._anew or news.gap or bool(news.resources)
        for task_id, change in news.tasks.items():
            if change.status is TaskStatus.WAITING:
                self._changed.add(task_id)
            else:
                self._changed.discard(task_id)
                self._waits_no_more(task_id, change.status)
        if (self._changed or self._anew) and not self._reading_changed:
            await self._read_changed()

    def _waits_no_more(self, task_id: str, status: TaskStatus) -> None:
        looked_at = self.table.cursor_row
        if looked_at is not None and looked_at.id == task_id and task_id not in self.decided_here:
            self.flash(f"{task_title(looked_at)} is {status} now", warning=True)
        self._drop(task_id)

    def _drop(self, task_id: str) -> None:
        if task_id in self.table:
            self.table.drop(task_id)
            self._say_how_many()

    async def _read_changed(self) -> None:
        self._reading_changed = True
        try:
            while self._changed or self._anew:
                changed, self._changed = self._changed, set()
                anew, self._anew = self._anew, False
                if anew or len(changed) > MOST_SINGLE_READS:
                    await self.load()
                else:
                    for task_id in changed:
                        await self._read_one(task_id)
                await asyncio.sleep(PAUSE)
        finally:
            self._reading_changed = False

    async def _read_one(self, task_id: str) -> None:
        client = await self.client()
        task = await _read(client, task_id)
        if client is not await self.client():
            return
        if task is None or not self._belongs(task):
            self._drop(task_id)
            return
        self._put(task)
        if task_id == self.table.cursor_key:
            await self._read_review()

    def _put(self, task: Task) -> None:
        """In its place by age; what is older than all that was read so far comes with its page."""
        rows = self.table.rows
        if task.id in self.table:
            self.table.renew(task)
        elif self._next is None or not rows or _age(task) > _age(rows[-1]):
            self.table.replace(sorted([*rows, task], key=_age, reverse=True))
            self._say_how_many()

    def tick(self, now: datetime) -> None:
        self.table.refresh()
        self.review.tick(now)
        self._say_how_many()
        self.refresh_bindings()

    def forget(self) -> None:
        self.table.clear_marks()
        self.table.replace(())
        self.table.say_when_empty(READING)
        self.review.clear()
        self._next = None
        self._shown = None
        self._changed.clear()
        self.remove_class("-reading")

    def _rights_changed(self, _: Standing) -> None:
        self.table.refresh()
        self._say_how_many()

    # ---- what is said about the list

    def _say_how_many(self) -> None:
        count = f"{len(self.table):,}{'+' if self._next is not None else ''}"
        what = "waiting, yours or not" if self._all else "waiting for you"
        marked = f", {len(self.table.marked)} marked" if self.table.marked else ""
        pane = self.query_one("#list")
        pane.border_title = Content(f"{count} {what}{marked}")
        pane.border_subtitle = Content(self.freshness())
        self.query_one(FilterBar).show_count(len(self.table), more=self._next is not None)
        filtered = bool(self.query_one(FilterBar).text)
        self.table.say_when_empty(why_empty(self.standing, everything=self._all, filtered=filtered))

    # ---- the review

    @on(BigTable.Highlighted)
    def _moved(self) -> None:
        self.refresh_bindings()
        if self._rest is not None:
            self._rest.stop()
        self._rest = self.set_timer(REST, self._rested)

    def _rested(self) -> None:
        self.attempt(self._read_review(), group="review")

    async def _read_review(self) -> None:
        client = await self.client()
        task_id = self.table.cursor_key
        if task_id is None:
            self.review.clear()
            self.remove_class("-reading")
            self.refresh_bindings()
            return
        try:
            seen = await client.decidable(task_id)
        except NotFoundError:
            self._drop(task_id)
            return
        if task_id == self.table.cursor_key:
            self.review.show(seen, self.now())
            self.refresh_bindings()

    @on(BigTable.Chosen)
    def _chosen(self) -> None:
        self.add_class("-reading")
        self.set_focus(self.review)

    @on(BigTable.MarksChanged)
    def _marked(self) -> None:
        self._say_how_many()
        self.refresh_bindings()

    @on(FilterBar.Changed)
    def _filtered(self, event: FilterBar.Changed) -> None:
        self.remember(filter=event.text)
        self.reload()

    # ---- keys

    def action_back(self) -> None:
        """The review first, then as everywhere."""
        if self.has_class("-reading"):
            self.remove_class("-reading")
            self.set_focus(self.table)
            return
        if self.review.has_focus:
            self.set_focus(self.table)
            return
        super().action_back()

    def action_toggle_all(self) -> None:
        self._all = not self._all
        self.remember(sort=ALL if self._all else MINE)
        self.table.clear_marks()
        self.reload()

    def action_next(self, by: int) -> None:
        self.table.action_move(by)

    def action_scroll_review(self, pages: int) -> None:
        self.review.half_page(pages)

    def action_copy_digest(self) -> None:
        if (task := self.table.cursor_row) is not None:
            self._copy(task.approval_digest, "The approval digest")

    def action_copy(self) -> None:
        task = self.table.cursor_row
        if task is None:
            return
        texts = copies(task)
        choices = [(what, f"{what}: {text}") for what, text in texts.items()]

        def picked(what: str | None) -> None:
            if what is not None:
                self._copy(texts[what], what)

        self.app.push_screen(PickDialog("Copy", choices), picked)

    def _copy(self, text: str, what: str) -> None:
        self.app.copy_to_clipboard(text)
        self.flash(f"{what} copied.")

    def action_json(self) -> None:
        if (task := self.table.cursor_row) is not None:
            text = msgspec.json.format(msgspec.json.encode(task), indent=2).decode()
            self.app.push_screen(TextDialog(f"JSON of {task_title(task)}", text, suffix=".json"))

    def action_pager(self) -> None:
        seen = self.review.seen
        if seen is None or not seen.metadata:
            self.flash("There is no metadata to show.", warning=True)
            return
        if len(seen.metadata) == 1:
            self._page(0)
            return
        choices = [(str(index), name) for index, (name, _) in enumerate(seen.metadata)]
        self.app.push_screen(PickDialog("Metadata", choices), self._picked_metadata)

    def _picked_metadata(self, index: str | None) -> None:
        if index is not None:
            self._page(int(index))

    def _page(self, index: int) -> None:
        seen = self.review.seen
        if seen is None or index >= len(seen.metadata):
            return
        try:
            page_text(self.sealyard, metadata_text(seen, index))
        except SealyardError as error:
            self.sealyard.show_error(error)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("approve", "reject"):
            return self._may_decide()
        return super().check_action(action, parameters)

    def _may_decide(self) -> bool | None:
        """Hidden where one never may, greyed where this task is not to be decided."""
        if not self.standing.writable or not any(action is Action.APPROVE for _, action in self.standing.rights):
            return False
        chosen = self.table.chosen_rows
        return True if any(not hindered(each, self.standing, self.now()) for each in chosen) else None


async def _read(client: Client, task_id: str) -> Task | None:
    try:
        return await client.task(task_id)
    except NotFoundError:
        return None


def _age(task: Task) -> tuple[datetime, str]:
    return (task.created_at, task.id)
