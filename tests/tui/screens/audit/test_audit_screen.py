"""Tests of the audit screen: loading, filter, detail and permissions."""

from __future__ import annotations

import asyncio
from typing import Any
from zoneinfo import ZoneInfo

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
from sealyard_tui.screens.dashboard.screen import DashboardScreen
from sealyard_tui.screens.dashboard.task_pane import TaskPane
from sealyard_tui.widgets.filter_bar import FilterBar
from sealyard_tui.widgets.virtual_table import VirtualTable
from tests.tui.pilot_helpers import assert_visible, make_app, run_app, screen_text, wait_for_workers, wait_until
from tests.tui.workspace import AUDITOR, DEVELOPER, NOW, OWNER, TuiWorkspace

HOSTILE = "fw[/oops].bin [@click=app.quit]x[/] \x1b]2;PWNED\x07 \u202egnp"


def make_audit_app(workspace: TuiWorkspace, profile_name: str = "auditor") -> SealyardApp:
    return make_app(workspace, profile_name, start_screen="audit")


def audit_screen(app: SealyardApp) -> AuditScreen:
    screen = next(each for each in app.screen_stack if isinstance(each, AuditScreen))
    assert isinstance(screen, AuditScreen)
    return screen


def audit_table(app: SealyardApp) -> VirtualTable[AuditEntry]:
    return audit_screen(app).table


async def record_reads(app: SealyardApp) -> list[int | None]:
    """Record the ``below`` argument of all reads of the log from now on."""
    below: list[int | None] = []
    client = await app.session.client()
    read = client.audit

    async def read_and_record(*args: Any, **more: Any) -> AuditPage:
        below.append(more.get("below"))
        return await read(*args, **more)

    client.audit = read_and_record  # type: ignore[method-assign]
    return below


async def apply_filter(pilot: Pilot[None], app: SealyardApp, line: str) -> None:
    """Set the filter line, and wait until it is applied."""
    await pilot.press("slash")
    app.screen.query_one(FilterBar).query_one(Input).value = line
    await wait_until(pilot, lambda: audit_screen(app)._loader.filter_text == line)


def log_size(workspace: TuiWorkspace) -> int:
    size, _ = workspace.engine.audit.sizes()
    return size


async def add_entry(
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


async def publish_event(workspace: TuiWorkspace) -> None:
    """Publish an event without an audit entry."""
    unit_of_work = workspace.engine.repository.begin()
    unit_of_work.notify("KEY:local:x")
    await unit_of_work.commit()


# ---- list


async def test_newest_first_with_entries_without_checkpoint_marked(workspace: TuiWorkspace) -> None:
    await add_entry(workspace)
    await add_entry(workspace)
    app = make_audit_app(workspace)
    async with run_app(app):
        newest = log_size(workspace) - 1
        assert [entry.seq for entry in audit_table(app).rows] == list(range(newest, -1, -1))
        text = screen_text(app)
        assert f"◌ {newest}" in text
        assert f"◌ {newest - 2}" not in text
        assert "2 not checkpointed" in text


async def test_scrolling_down_loads_next_page(workspace: TuiWorkspace) -> None:
    await workspace.add_audit_entries(5000 - log_size(workspace))
    app = make_audit_app(workspace)
    async with run_app(app) as pilot:
        assert len(audit_table(app)) == 100
        await assert_visible(pilot, "100 of 5,000 entries")
        for _ in range(4):
            await pilot.press("pagedown")
        await wait_until(pilot, lambda: len(audit_table(app)) == 200)


async def test_end_key_loads_all_entries_in_background(workspace: TuiWorkspace) -> None:
    await workspace.add_audit_entries(5000 - log_size(workspace))
    app = make_audit_app(workspace)
    async with run_app(app) as pilot:
        gate = workspace.faults.hold["audit"] = asyncio.Event()
        await pilot.press("G")
        await wait_until(pilot, lambda: "loading older entries" in screen_text(app))
        gate.set()
        await wait_until(pilot, lambda: len(audit_table(app)) == 5000)
        await wait_until(pilot, lambda: audit_table(app).cursor_key == "0")
        await assert_visible(pilot, "5,000 entries")


async def test_older_pages_are_read_once(workspace: TuiWorkspace) -> None:
    await workspace.add_audit_entries(5000 - log_size(workspace))
    app = make_audit_app(workspace)
    async with run_app(app) as pilot:
        below = await record_reads(app)
        await pilot.press("pagedown", "pagedown", "G", "G")
        await wait_until(pilot, lambda: audit_table(app).cursor_key == "0")
        assert len(below) == len(set(below))


async def test_escape_stops_loading(workspace: TuiWorkspace) -> None:
    await workspace.add_audit_entries(5000 - log_size(workspace))
    app = make_audit_app(workspace)
    async with run_app(app) as pilot:
        gate = workspace.faults.hold["audit"] = asyncio.Event()
        await pilot.press("G", "escape")
        gate.set()
        await wait_for_workers(pilot)
        assert len(audit_table(app)) < 5000
        assert "reading older" not in screen_text(app)


async def test_cursor_move_cancels_jump_to_end(workspace: TuiWorkspace) -> None:
    await workspace.add_audit_entries(3000 - log_size(workspace))
    app = make_audit_app(workspace)
    async with run_app(app) as pilot:
        gate = workspace.faults.hold["audit"] = asyncio.Event()
        await pilot.press("G", "g")
        gate.set()
        await wait_until(pilot, lambda: len(audit_table(app)) == 3000)
        await wait_for_workers(pilot)
        assert audit_table(app).cursor_key == "2999"


async def test_new_entry_is_first_and_cursor_stays(workspace: TuiWorkspace) -> None:
    app = make_audit_app(workspace)
    async with run_app(app) as pilot:
        await pilot.press("j", "j")
        before = audit_table(app).cursor_key
        newest = str(log_size(workspace))
        await add_entry(workspace)
        await publish_event(workspace)
        await wait_until(pilot, lambda: newest in audit_table(app))
        assert str(audit_table(app).rows[0].seq) == newest
        assert audit_table(app).cursor_key == before


async def test_entry_without_event_is_found_by_refresh(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, "auditor", start_screen="audit", refresh_interval=0.2)
    async with run_app(app) as pilot:
        await add_entry(workspace, AuditAction.REFUSED, "without event")
        await wait_until(pilot, lambda: "without event" in screen_text(app))


async def test_event_burst_causes_few_reads(workspace: TuiWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sealyard_tui.screens.audit.entry_loader.READ_INTERVAL", 0.25)
    app = make_audit_app(workspace)
    async with run_app(app) as pilot:
        reads = await record_reads(app)
        await workspace.add_audit_entries(300, notify=300)
        await wait_until(pilot, lambda: len(audit_table(app)) == log_size(workspace))
        assert len(reads) <= 12


async def test_new_entry_respects_filter(workspace: TuiWorkspace) -> None:
    app = make_audit_app(workspace)
    async with run_app(app) as pilot:
        await apply_filter(pilot, app, "author:owner")
        first = log_size(workspace)
        await add_entry(workspace, message="by the developer")
        await add_entry(workspace, message="by the owner", author=OWNER)
        await publish_event(workspace)
        await wait_until(pilot, lambda: str(first + 1) in audit_table(app))
        assert str(first) not in audit_table(app)


# ---- filter


async def test_filter_shows_count_until_escape(workspace: TuiWorkspace) -> None:
    app = make_audit_app(workspace)
    async with run_app(app) as pilot:
        await apply_filter(pilot, app, "author:owner change:approved")
        assert {entry.author for entry in audit_table(app).rows} == {OWNER}
        await assert_visible(pilot, f"10 of {log_size(workspace)}")
        await pilot.press("enter", "escape")
        await wait_until(pilot, lambda: len(audit_table(app)) == log_size(workspace))


async def test_invalid_filter_shows_error_and_no_entries(workspace: TuiWorkspace) -> None:
    app = make_audit_app(workspace)
    async with run_app(app) as pilot:
        await pilot.press("slash", *"since:soon")
        await wait_until(pilot, lambda: "✗ soon: use 2h" in screen_text(app))
        await wait_until(pilot, lambda: "The filter is invalid, see above." in screen_text(app))
        assert len(audit_table(app)) == 0
        assert not app.screen.is_modal
        await pilot.press("escape")
        await wait_until(pilot, lambda: len(audit_table(app)) == log_size(workspace))


async def test_t_and_w_filter_by_selected_entry(workspace: TuiWorkspace) -> None:
    app = make_audit_app(workspace)
    async with run_app(app) as pilot:
        entry = audit_table(app).cursor_row
        assert entry is not None
        await pilot.press("t")
        await wait_until(pilot, lambda: len(audit_table(app)) == 6)
        assert {each.resource for each in audit_table(app).rows} == {entry.resource}
        await pilot.press("w")
        await wait_until(pilot, lambda: len(audit_table(app)) == 3)
        assert {each.author for each in audit_table(app).rows} == {DEVELOPER}
        await assert_visible(pilot, f"resource:{entry.resource} author:{DEVELOPER}")


async def test_filter_form_writes_filter_line(workspace: TuiWorkspace) -> None:
    app = make_audit_app(workspace)
    async with run_app(app) as pilot:
        await pilot.press("f", *"se-1", "tab", *"task", "tab", "tab", *"developer", "ctrl+s")
        await wait_until(pilot, lambda: audit_screen(app)._loader.filter_text == "type:task author:developer se-1")
        assert {each.change for each in audit_table(app).rows} == {AuditAction.DOWNLOADED}


async def test_filter_form_shows_error_and_keeps_draft(workspace: TuiWorkspace) -> None:
    app = make_audit_app(workspace)
    async with run_app(app) as pilot:
        await pilot.press("f", *["tab"] * 6, *"never", "ctrl+s")
        await wait_until(pilot, lambda: "never: use 2h" in screen_text(app))
        await pilot.press("escape", "f")
        await wait_until(pilot, lambda: "never" in screen_text(app))
        await pilot.press("ctrl+r", "ctrl+s")
        await wait_until(pilot, lambda: not app.screen.is_modal)


async def test_filter_without_match_shows_hint(workspace: TuiWorkspace) -> None:
    app = make_audit_app(workspace)
    async with run_app(app) as pilot:
        await apply_filter(pilot, app, "nothing-like-this")
        await assert_visible(pilot, "No entries match the filter.", "Press esc")


# ---- entry detail


async def test_wide_terminal_shows_detail_beside_list(workspace: TuiWorkspace) -> None:
    app = make_audit_app(workspace)
    async with run_app(app) as pilot:
        await pilot.press("j", "j")
        await wait_until(pilot, lambda: '"message": "signing key used"' in screen_text(app))
        await assert_visible(pilot, "KEY_USED")


async def test_detail_at_80_columns_replaces_list(workspace: TuiWorkspace) -> None:
    app = make_audit_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        assert '"newValue"' not in screen_text(app)
        await pilot.press("enter")
        await wait_until(pilot, lambda: '"newValue"' in screen_text(app))
        await pilot.press("escape")
        await wait_until(pilot, lambda: '"newValue"' not in screen_text(app))
        assert audit_table(app).has_focus


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_hostile_text_is_escaped(workspace: TuiWorkspace, size: tuple[int, int]) -> None:
    await add_entry(
        workspace, message=HOSTILE, resource=f"TASK:{HOSTILE}", author=f"USER:{HOSTILE}", new_value={HOSTILE: [HOSTILE]}
    )
    app = make_audit_app(workspace)
    async with run_app(app, size=size) as pilot:
        await pilot.press("enter")
        await wait_until(pilot, lambda: "\\u202egnp" in screen_text(app))
        await pilot.press("escape", "c", "escape", "J")
        await wait_until(pilot, lambda: app.screen.is_modal and "[@click=app.quit]x[/]" in screen_text(app))
        assert all(char.isprintable() or char == "\n" for char in screen_text(app))


async def test_copy_keys_copy_hash_or_chosen_field(workspace: TuiWorkspace) -> None:
    app = make_audit_app(workspace)
    async with run_app(app) as pilot:
        entry = (await workspace.audit_entries())[-1]
        await pilot.press("y")
        assert app.clipboard == entry_hash(entry)
        await assert_visible(pilot, "Copied")
        await pilot.press("c", "2")
        await wait_until(pilot, lambda: app.clipboard == f"{entry.seq} {entry_hash(entry)}")
        await pilot.press("c", "3")
        await wait_until(pilot, lambda: app.clipboard == entry.resource)


def test_entry_json_decodes_to_same_entry() -> None:
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


# ---- text that nothing contains exactly


async def test_filter_finds_text_that_only_rows_show(workspace: TuiWorkspace) -> None:
    app = make_audit_app(workspace)
    async with run_app(app, size=(160, 40)) as pilot:
        await apply_filter(pilot, app, "Olga approved")
        assert {(entry.author, entry.change) for entry in audit_table(app).rows} == {(OWNER, AuditAction.APPROVED)}
        newest = max(entry.seq for entry in audit_table(app).rows)
        await apply_filter(pilot, app, f"{NOW:%Y-%m-%d}")
        assert audit_table(app).rows[0].seq > newest
        assert "similar" not in screen_text(app)


async def test_filter_lists_similar_entries_until_one_matches(workspace: TuiWorkspace) -> None:
    app = make_audit_app(workspace)
    async with run_app(app) as pilot:
        await apply_filter(pilot, app, "aproved")
        rows = list(audit_table(app).rows)
        assert rows[0].change is AuditAction.APPROVED
        assert [entry.seq for entry in rows] == sorted((entry.seq for entry in rows), reverse=True)
        await assert_visible(pilot, f"no exact match, {len(rows)} similar")
        await add_entry(workspace, message="aproved")
        await wait_until(pilot, lambda: [entry.message for entry in audit_table(app).rows] == ["aproved"])
        await wait_until(pilot, lambda: "similar" not in screen_text(app))


async def test_filter_without_similar_entry_shows_hint(workspace: TuiWorkspace) -> None:
    app = make_audit_app(workspace)
    async with run_app(app) as pilot:
        await apply_filter(pilot, app, "type:TASK zzzzzz")
        await assert_visible(pilot, "No entries match the filter.")


# ---- permissions


async def test_missing_permission_shows_contact_without_reading(workspace: TuiWorkspace) -> None:
    app = make_audit_app(workspace, "developer")
    reads: list[object] = []
    async with run_app(app) as pilot:
        client = await app.session.client()
        client.audit = lambda *args, **more: reads.append(args)  # type: ignore[method-assign,assignment]
        await pilot.press("r")
        await wait_for_workers(pilot)
        text = screen_text(app)
        assert "You do not have permission to view the audit log." in text
        assert "grant USER:developer VIEW on the audit log" in " ".join(text.split())
        assert "sealyard acl" not in text
        assert not app.screen.is_modal
        assert not reads
        assert "Verify" not in text


async def test_granted_permission_loads_log(workspace: TuiWorkspace) -> None:
    app = make_audit_app(workspace, "developer")
    async with run_app(app) as pilot:
        await workspace.add_rule(DEVELOPER, "RESOURCE_TYPE:AUDIT_LOG", Action.VIEW)
        await wait_until(pilot, lambda: len(audit_table(app)) == log_size(workspace))
        assert "do not have permission to view" not in screen_text(app)


async def test_profile_switch_clears_entries(workspace: TuiWorkspace) -> None:
    app = make_audit_app(workspace)
    async with run_app(app) as pilot:
        assert len(audit_table(app)) == log_size(workspace)
        await pilot.press("f2")
        await wait_until(pilot, lambda: "do not have permission to view" in screen_text(app))
        assert len(audit_table(app)) == 0


async def test_read_error_is_shown_once(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, "auditor", start_screen="audit", refresh_interval=0.2)
    async with run_app(app) as pilot:
        workspace.faults.fail["audit"] = StorageError("The disk fails.", "Look at it.")
        await add_entry(workspace)
        await wait_until(pilot, lambda: "The disk fails." in screen_text(app))
        await pilot.press("escape")
        await pilot.pause(0.5)
        assert not app.screen.is_modal
        del workspace.faults.fail["audit"]
        await pilot.press("r")
        await wait_until(pilot, lambda: len(audit_table(app)) == log_size(workspace))


async def test_times_are_in_the_time_zone_of_the_settings(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, "auditor", start_screen="audit", time_zone="Asia/Tokyo")
    async with run_app(app) as pilot:
        await assert_visible(pilot, "TIME (JST)", " JST", f"{NOW.astimezone(ZoneInfo('Asia/Tokyo')):%Y-%m-%d %H:%M}")


async def test_detail_shows_old_and_new_values(workspace: TuiWorkspace) -> None:
    await workspace.set_policy(approval_timeout=3600)
    await workspace.set_policy(approval_timeout=7200)
    app = make_audit_app(workspace)
    async with run_app(app, size=(120, 60)) as pilot:
        await assert_visible(pilot, "approvalTimeout: 3600 → 7200")


async def test_task_of_an_entry_opens_on_the_dashboard(workspace: TuiWorkspace) -> None:
    task = await workspace.add_task("t-audited")
    await workspace.add_rule(AUDITOR, f"DEVICE_CONFIG:{task.config_id}", Action.VIEW)
    app = make_audit_app(workspace)
    async with run_app(app) as pilot:
        await apply_filter(pilot, app, "resource:TASK:t-audited")
        await pilot.press("enter", "escape", "T")
        await wait_until(pilot, lambda: isinstance(app.screen, DashboardScreen))
        await wait_until(pilot, lambda: app.screen.query_one(TaskPane).task_id == "t-audited")


async def test_hidden_task_and_other_entries_open_nothing(workspace: TuiWorkspace) -> None:
    await workspace.add_task("t-hidden")
    app = make_audit_app(workspace)
    async with run_app(app) as pilot:
        await apply_filter(pilot, app, "resource:TASK:t-hidden")
        await pilot.press("enter", "escape")
        size = log_size(workspace)
        await pilot.press("T")
        await assert_visible(pilot, "You do not have permission to view task t-hidden")
        assert log_size(workspace) == size
        await apply_filter(pilot, app, "type:SUBJECT")
        await pilot.press("enter", "escape", "T")
        await assert_visible(pilot, "is not about a task")
        assert isinstance(app.screen, AuditScreen)
