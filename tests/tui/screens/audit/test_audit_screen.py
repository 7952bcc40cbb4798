"""The audit place: newest first however long the log is, narrowed in place, and alive while it reads."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from sealyard.model.access import Action
from sealyard.model.audit import GENESIS_HASH, AuditAction, AuditEntry
from sealyard.model.errors import StorageError
from sealyard.model.requests import AuditPage
from sealyard_tui.app import SealyardApp
from sealyard_tui.screens.audit.entry_format import entry_hash, entry_json
from sealyard_tui.screens.audit.screen import AuditScreen
from sealyard_tui.widgets.filter_bar import FilterBar
from sealyard_tui.widgets.virtual_table import VirtualTable
from tests.tui.pilot_helpers import assert_visible, make_app, run_app, screen_text, wait_for_workers, wait_until
from tests.tui.workspace import DEVELOPER, NOW, OWNER, TuiWorkspace

HOSTILE = "fw[/oops].bin [@click=app.quit]x[/] \x1b]2;PWNED\x07 \u202egnp"


def audit_app(workspace: TuiWorkspace, who: str = "auditor") -> SealyardApp:
    return make_app(workspace, who, start_screen="audit")


def place(app: SealyardApp) -> AuditScreen:
    screen = next(each for each in app.screen_stack if isinstance(each, AuditScreen))
    assert isinstance(screen, AuditScreen)
    return screen


def table(app: SealyardApp) -> VirtualTable[AuditEntry]:
    return place(app).table


async def heard_reads(app: SealyardApp) -> list[int | None]:
    """From now on, below which entry each read of the log goes on."""
    below: list[int | None] = []
    client = await app.session.client()
    read = client.audit

    async def heard(*args: Any, **more: Any) -> AuditPage:
        below.append(more.get("below"))
        return await read(*args, **more)

    client.audit = heard  # type: ignore[method-assign]
    return below


async def filtered(pilot: Pilot[None], app: SealyardApp, line: str) -> None:
    """As if ``line`` was pasted into the filter."""
    await pilot.press("slash")
    app.screen.query_one(FilterBar).query_one(Input).value = line
    await wait_until(pilot, lambda: place(app)._loader.filter_text == line)


def log_size(workspace: TuiWorkspace) -> int:
    size, _ = workspace.engine.audit.sizes()
    return size


async def record(
    workspace: TuiWorkspace,
    change: AuditAction = AuditAction.CREATED,
    message: str = "new",
    *,
    author: str = DEVELOPER,
    resource: str = "TASK:t-new",
    new_value: dict[str, Any] | None = None,
) -> None:
    """Add an audit entry without an event."""
    unit_of_work = workspace.engine.repository.begin()
    unit_of_work.audit(author, change, resource, message, new_value)
    await unit_of_work.commit()


async def notify(workspace: TuiWorkspace) -> None:
    """Publish an event without an audit entry."""
    unit_of_work = workspace.engine.repository.begin()
    unit_of_work.notify("KEY:local:x")
    await unit_of_work.commit()


# ---- the list


async def test_the_newest_is_first_and_unsealed_entries_are_marked(workspace: TuiWorkspace) -> None:
    await record(workspace)
    await record(workspace)
    app = audit_app(workspace)
    async with run_app(app):
        newest = log_size(workspace) - 1
        assert [entry.seq for entry in table(app).rows] == list(range(newest, -1, -1))
        seen = screen_text(app)
        assert f"◌ {newest}" in seen
        assert f"◌ {newest - 2}" not in seen
        assert "2 not checkpointed" in seen


async def test_the_first_page_is_there_at_once_and_more_comes_as_one_goes_down(workspace: TuiWorkspace) -> None:
    await workspace.add_audit_entries(5000 - log_size(workspace))
    app = audit_app(workspace)
    async with run_app(app) as pilot:
        assert len(table(app)) == 100
        await assert_visible(pilot, "100 of 5,000 entries")
        for _ in range(4):
            await pilot.press("pagedown")
        await wait_until(pilot, lambda: len(table(app)) == 200)


async def test_the_end_is_read_in_the_background_while_the_count_grows(workspace: TuiWorkspace) -> None:
    await workspace.add_audit_entries(5000 - log_size(workspace))
    app = audit_app(workspace)
    async with run_app(app) as pilot:
        gate = workspace.faults.hold["audit"] = asyncio.Event()
        await pilot.press("G")
        await wait_until(pilot, lambda: "loading older entries" in screen_text(app))
        gate.set()
        await wait_until(pilot, lambda: len(table(app)) == 5000)
        await wait_until(pilot, lambda: table(app).cursor_key == "0")
        await assert_visible(pilot, "5,000 entries")


async def test_each_older_page_is_read_once(workspace: TuiWorkspace) -> None:
    await workspace.add_audit_entries(5000 - log_size(workspace))
    app = audit_app(workspace)
    async with run_app(app) as pilot:
        below = await heard_reads(app)
        await pilot.press("pagedown", "pagedown", "G", "G")
        await wait_until(pilot, lambda: table(app).cursor_key == "0")
        assert len(below) == len(set(below))


async def test_escape_stops_reading_on(workspace: TuiWorkspace) -> None:
    await workspace.add_audit_entries(5000 - log_size(workspace))
    app = audit_app(workspace)
    async with run_app(app) as pilot:
        gate = workspace.faults.hold["audit"] = asyncio.Event()
        await pilot.press("G", "escape")
        gate.set()
        await wait_for_workers(pilot)
        assert len(table(app)) < 5000
        assert "reading older" not in screen_text(app)


async def test_whoever_moves_on_is_not_taken_to_the_end(workspace: TuiWorkspace) -> None:
    await workspace.add_audit_entries(3000 - log_size(workspace))
    app = audit_app(workspace)
    async with run_app(app) as pilot:
        gate = workspace.faults.hold["audit"] = asyncio.Event()
        await pilot.press("G", "g")
        gate.set()
        await wait_until(pilot, lambda: len(table(app)) == 3000)
        await wait_for_workers(pilot)
        assert table(app).cursor_key == "2999"


async def test_new_entries_come_on_top_and_the_cursor_stays_on_its_row(workspace: TuiWorkspace) -> None:
    app = audit_app(workspace)
    async with run_app(app) as pilot:
        await pilot.press("j", "j")
        before = table(app).cursor_key
        newest = str(log_size(workspace))
        await record(workspace)
        await notify(workspace)
        await wait_until(pilot, lambda: newest in table(app))
        assert str(table(app).rows[0].seq) == newest
        assert table(app).cursor_key == before


async def test_what_no_event_tells_of_is_found_too(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, "auditor", start_screen="audit", refresh_interval=0.2)
    async with run_app(app) as pilot:
        await record(workspace, AuditAction.REFUSED, "not told")
        await wait_until(pilot, lambda: "not told" in screen_text(app))


async def test_many_events_lead_to_few_reads_of_what_is_new(
    workspace: TuiWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sealyard_tui.screens.audit.entry_loader.READ_INTERVAL", 0.25)
    app = audit_app(workspace)
    async with run_app(app) as pilot:
        reads = await heard_reads(app)
        await workspace.add_audit_entries(300, notify=300)
        await wait_until(pilot, lambda: len(table(app)) == log_size(workspace))
        assert len(reads) <= 12


async def test_a_new_entry_that_does_not_match_the_filter_stays_out(workspace: TuiWorkspace) -> None:
    app = audit_app(workspace)
    async with run_app(app) as pilot:
        await filtered(pilot, app, "author:owner")
        first = log_size(workspace)
        await record(workspace, message="by the developer")
        await record(workspace, message="by the owner", author=OWNER)
        await notify(workspace)
        await wait_until(pilot, lambda: str(first + 1) in table(app))
        assert str(first) not in table(app)


# ---- the filter


async def test_the_filter_narrows_in_place_with_the_count_and_escape_clears_it(workspace: TuiWorkspace) -> None:
    app = audit_app(workspace)
    async with run_app(app) as pilot:
        await filtered(pilot, app, "author:owner change:approved")
        assert {entry.author for entry in table(app).rows} == {OWNER}
        await assert_visible(pilot, f"10 of {log_size(workspace)}")
        await pilot.press("enter", "escape")
        await wait_until(pilot, lambda: len(table(app)) == log_size(workspace))


async def test_a_filter_that_is_not_understood_is_said_beside_it_and_the_list_stays(workspace: TuiWorkspace) -> None:
    app = audit_app(workspace)
    async with run_app(app) as pilot:
        await pilot.press("slash", *"since:soon")
        await wait_until(pilot, lambda: "✗ soon: use 2h" in screen_text(app))
        assert len(table(app)) == log_size(workspace)
        assert not app.screen.is_modal


async def test_t_and_w_narrow_to_what_is_under_the_cursor(workspace: TuiWorkspace) -> None:
    app = audit_app(workspace)
    async with run_app(app) as pilot:
        entry = table(app).cursor_row
        assert entry is not None
        await pilot.press("t")
        await wait_until(pilot, lambda: len(table(app)) == 6)
        assert {each.resource for each in table(app).rows} == {entry.resource}
        await pilot.press("w")
        await wait_until(pilot, lambda: len(table(app)) == 3)
        assert {each.author for each in table(app).rows} == {DEVELOPER}
        await assert_visible(pilot, f"resource:{entry.resource} author:{DEVELOPER}")


async def test_the_form_writes_the_filter_line(workspace: TuiWorkspace) -> None:
    app = audit_app(workspace)
    async with run_app(app) as pilot:
        await pilot.press("f", *"se-1", "tab", *"task", "tab", "tab", *"developer", "ctrl+s")
        await wait_until(pilot, lambda: place(app)._loader.filter_text == "type:task author:developer se-1")
        assert {each.change for each in table(app).rows} == {AuditAction.DOWNLOADED}


async def test_the_form_says_what_is_wrong_and_keeps_what_was_typed(workspace: TuiWorkspace) -> None:
    app = audit_app(workspace)
    async with run_app(app) as pilot:
        await pilot.press("f", *["tab"] * 6, *"never", "ctrl+s")
        await wait_until(pilot, lambda: "never: use 2h" in screen_text(app))
        await pilot.press("escape", "f")
        await wait_until(pilot, lambda: "never" in screen_text(app))
        await pilot.press("ctrl+r", "ctrl+s")
        await wait_until(pilot, lambda: not app.screen.is_modal)


async def test_a_filter_without_a_match_says_what_to_do(workspace: TuiWorkspace) -> None:
    app = audit_app(workspace)
    async with run_app(app) as pilot:
        await filtered(pilot, app, "nothing-like-this")
        await assert_visible(pilot, "No entries match the filter. Press esc")


# ---- one entry


async def test_the_detail_is_beside_the_list_where_there_is_room(workspace: TuiWorkspace) -> None:
    app = audit_app(workspace)
    async with run_app(app) as pilot:
        await pilot.press("j", "j")
        await wait_until(pilot, lambda: '"message": "signing key used"' in screen_text(app))
        await assert_visible(pilot, "KEY_USED")


async def test_the_detail_opens_over_the_list_at_80_columns_and_escape_closes_it(workspace: TuiWorkspace) -> None:
    app = audit_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        assert '"newValue"' not in screen_text(app)
        await pilot.press("enter")
        await wait_until(pilot, lambda: '"newValue"' in screen_text(app))
        await pilot.press("escape")
        await wait_until(pilot, lambda: '"newValue"' not in screen_text(app))
        assert table(app).has_focus


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_hostile_text_is_shown_harmless(workspace: TuiWorkspace, size: tuple[int, int]) -> None:
    await record(
        workspace, message=HOSTILE, resource=f"TASK:{HOSTILE}", author=f"USER:{HOSTILE}", new_value={HOSTILE: [HOSTILE]}
    )
    app = audit_app(workspace)
    async with run_app(app, size=size) as pilot:
        await pilot.press("enter")
        await wait_until(pilot, lambda: "\\u202egnp" in screen_text(app))
        await pilot.press("escape", "c", "escape", "J")
        await wait_until(pilot, lambda: app.screen.is_modal and "[@click=app.quit]x[/]" in screen_text(app))
        assert all(char.isprintable() or char == "\n" for char in screen_text(app))


async def test_one_key_copies_number_and_hash_and_another_asks_what(workspace: TuiWorkspace) -> None:
    app = audit_app(workspace)
    async with run_app(app) as pilot:
        entry = (await workspace.audit_entries())[-1]
        await pilot.press("y")
        assert app.clipboard == f"{entry.seq} {entry_hash(entry)}"
        await assert_visible(pilot, "Copied")
        await pilot.press("c", "2")
        await wait_until(pilot, lambda: app.clipboard == entry.resource)


def test_the_json_of_an_entry_reads_back_as_it_was() -> None:
    entry = AuditEntry(
        seq=0,
        timestamp=NOW,
        author=DEVELOPER,
        change=AuditAction.CREATED,
        resource="TASK:t-new",
        message=f"{HOSTILE}\x7f\U000e0001\\x41",
        new_value=None,
        code="",
        previous=GENESIS_HASH,
    )
    text = entry_json(entry)
    assert all(char.isprintable() or char == "\n" for char in text)
    assert msgspec.json.decode(text, type=AuditEntry) == entry


# ---- who may


async def test_whoever_may_not_see_the_log_is_told_whom_to_ask_and_nothing_is_recorded(workspace: TuiWorkspace) -> None:
    app = audit_app(workspace, "developer")
    asked: list[object] = []
    async with run_app(app) as pilot:
        client = await app.session.client()
        client.audit = lambda *args, **more: asked.append(args)  # type: ignore[method-assign,assignment]
        await pilot.press("r")
        await wait_for_workers(pilot)
        seen = screen_text(app)
        assert "You do not have permission to view the audit log." in seen
        assert "grant USER:developer VIEW on the audit log" in " ".join(seen.split())
        assert "sealyard acl" not in seen
        assert not app.screen.is_modal
        assert not asked
        assert "Verify" not in seen


async def test_the_log_opens_as_soon_as_the_right_is_given(workspace: TuiWorkspace) -> None:
    app = audit_app(workspace, "developer")
    async with run_app(app) as pilot:
        await workspace.add_rule(DEVELOPER, "RESOURCE_TYPE:AUDIT_LOG", Action.VIEW)
        await wait_until(pilot, lambda: len(table(app)) == log_size(workspace))
        assert "do not have permission to view" not in screen_text(app)


async def test_what_one_person_saw_is_gone_for_the_next(workspace: TuiWorkspace) -> None:
    app = audit_app(workspace)
    async with run_app(app) as pilot:
        assert len(table(app)) == log_size(workspace)
        await pilot.press("f2")
        await wait_until(pilot, lambda: "do not have permission to view" in screen_text(app))
        assert len(table(app)) == 0


async def test_a_log_that_cannot_be_read_is_told_once_and_the_application_goes_on(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, "auditor", start_screen="audit", refresh_interval=0.2)
    async with run_app(app) as pilot:
        workspace.faults.fail["audit"] = StorageError("The disk fails.", "Look at it.")
        await record(workspace)
        await wait_until(pilot, lambda: "The disk fails." in screen_text(app))
        await pilot.press("escape")
        await pilot.pause(0.5)
        assert not app.screen.is_modal
        del workspace.faults.fail["audit"]
        await pilot.press("r")
        await wait_until(pilot, lambda: len(table(app)) == log_size(workspace))
