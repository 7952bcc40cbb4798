"""Tests of the verification and the export of the audit log."""

from __future__ import annotations

import asyncio
import json
import stat
import threading
from pathlib import Path
from typing import cast

import pytest
from textual.widgets import Input, RadioButton, TextArea

from sealyard.client.embedded import EmbeddedClient
from sealyard.client.protocol import ProgressCallback
from sealyard.model.audit import AuditFilter, AuditReport
from sealyard.model.errors import AuditVerificationError, StorageError
from sealyard_tui.app import SealyardApp
from sealyard_tui.screens.audit.export_dialog import AuditExportDialog
from sealyard_tui.screens.audit.filter_dialog import AuditFilterDialog
from sealyard_tui.screens.audit.screen import AuditScreen
from sealyard_tui.screens.audit.verify_dialog import AuditVerifyDialog
from tests.tui.pilot_helpers import assert_visible, make_app, run_app, screen_text, wait_for_workers, wait_until
from tests.tui.workspace import TuiWorkspace


@pytest.fixture(autouse=True)
def no_drafts() -> None:
    AuditVerifyDialog.draft = AuditExportDialog.draft = ""
    AuditFilterDialog.drafts.clear()


def make_audit_app(workspace: TuiWorkspace, downloads: Path | None = None) -> SealyardApp:
    app = make_app(workspace, "auditor", start_screen="audit")
    app.download_manager.folder = downloads
    return app


def record_checkpoints(workspace: TuiWorkspace, monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """Record the checkpoints that the log is verified against."""
    notes: list[str | None] = []
    verify = EmbeddedClient.verify_audit

    async def verify_and_record(
        self: EmbeddedClient, *, checkpoint: str | None = None, progress: ProgressCallback | None = None
    ) -> AuditReport:
        notes.append(checkpoint)
        return await verify(self, checkpoint=checkpoint, progress=progress)

    monkeypatch.setattr(EmbeddedClient, "verify_audit", verify_and_record)
    return notes


def log_size(workspace: TuiWorkspace) -> int:
    size, _ = workspace.engine.audit.sizes()
    return size


def newest_checkpoint(workspace: TuiWorkspace) -> str:
    notes = (workspace.paths.audit / "checkpoints.txt").read_text()
    return notes[notes.rindex("sealyard/w1\n") :]


# ---- verification


async def test_verification_result_shows_scope_and_root(workspace: TuiWorkspace) -> None:
    await workspace.add_audit_entries(2)
    app = make_audit_app(workspace)
    async with run_app(app, size=(120, 50)) as pilot:
        await pilot.press("V", "enter")
        await wait_until(pilot, lambda: "Audit log verified" in screen_text(app))
        text = screen_text(app)
        for words in (
            f"{log_size(workspace) - 2}, 2 not checkpointed",
            " checked",
            "root",
            "audit key",
            "Not covered",
            "Keep a copy elsewhere",
            "Nothing outside the workspace folder was compared",
        ):
            assert words in text, words
        assert "/srv/yard/audit/checkpoints.txt" in text
        await pilot.press("y")
        assert "Audit log verified" in app.clipboard


async def test_pasted_checkpoint_is_normalized_before_verification(
    workspace: TuiWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = record_checkpoints(workspace, monkeypatch)
    note = newest_checkpoint(workspace)
    app = make_audit_app(workspace)
    async with run_app(app) as pilot:
        await pilot.press("V")
        await wait_until(pilot, lambda: isinstance(app.screen, AuditVerifyDialog))
        app.screen.query_one(TextArea).text = "\n  " + note.replace("\n", "  \n") + "\n\n"
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: "yours among them" in screen_text(app))
        assert "Compared with your checkpoint of size " in screen_text(app)
        assert "Nothing outside" not in screen_text(app)
        assert notes == [note]


async def test_pasted_checkpoint_survives_escape(workspace: TuiWorkspace) -> None:
    app = make_audit_app(workspace)
    async with run_app(app) as pilot:
        await pilot.press("V", "shift+tab", *"abc", "escape", "V")
        await wait_until(pilot, lambda: isinstance(app.screen, AuditVerifyDialog))
        assert app.screen.query_one(TextArea).text == "abc"


async def test_failed_verification_links_to_entry(workspace: TuiWorkspace) -> None:
    await workspace.add_audit_entries(3000)
    workspace.faults.fail["verify_audit"] = AuditVerificationError(
        "Entry 7 is not in canonical form (000.jsonl, line 8).", seq=7
    )
    app = make_audit_app(workspace)
    async with run_app(app) as pilot:
        await pilot.press("V", "enter")
        await wait_until(pilot, lambda: "Entry 7 is not in canonical form" in screen_text(app))
        await assert_visible(pilot, "Press ⏎ to go to entry 7")
        await pilot.press("enter")
        screen = app.screen
        assert isinstance(screen, AuditScreen)
        await wait_until(pilot, lambda: screen.table.cursor_key == "7")


async def test_failed_entry_is_found_despite_filter(workspace: TuiWorkspace) -> None:
    workspace.faults.fail["verify_audit"] = AuditVerificationError("Entry 7 does not follow.", seq=7)
    app = make_audit_app(workspace)
    async with run_app(app) as pilot:
        await pilot.press("slash", *"author:owner", "enter")
        await wait_for_workers(pilot)
        await pilot.press("V", "enter")
        await wait_until(pilot, lambda: "Press ⏎ to go to entry 7" in screen_text(app))
        await pilot.press("enter")
        screen = app.screen
        assert isinstance(screen, AuditScreen)
        await wait_until(pilot, lambda: screen.table.cursor_key == "7")


async def test_escape_cancels_verification_thread(workspace: TuiWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = threading.Event()
    started = threading.Event()

    async def endless(
        _: EmbeddedClient, *, checkpoint: str | None = None, progress: ProgressCallback | None = None
    ) -> AuditReport:
        assert progress is not None

        def work() -> None:
            try:
                while True:
                    progress(1000, 100_000)
                    started.set()
            finally:
                stopped.set()

        await asyncio.to_thread(work)
        raise AssertionError

    monkeypatch.setattr(EmbeddedClient, "verify_audit", endless)
    app = make_audit_app(workspace)
    async with run_app(app) as pilot:
        await pilot.press("V", "enter")
        await wait_until(pilot, started.is_set)
        await wait_until(pilot, lambda: "1%" in screen_text(app))
        await pilot.press("escape")
        await wait_until(pilot, stopped.is_set)
        await wait_until(pilot, lambda: isinstance(app.screen, AuditScreen))


async def test_verification_storage_error_is_shown(workspace: TuiWorkspace) -> None:
    workspace.faults.fail["verify_audit"] = StorageError("The disk fails.", "Look at it.")
    app = make_audit_app(workspace)
    async with run_app(app) as pilot:
        await pilot.press("V", "enter")
        await wait_until(pilot, lambda: "The disk fails." in screen_text(app))
        await pilot.press("escape")
        await wait_until(pilot, lambda: isinstance(app.screen, AuditScreen))


# ---- export


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
async def test_export_writes_complete_private_file(workspace: TuiWorkspace, tmp_path: Path, kind: str) -> None:
    app = make_audit_app(workspace, tmp_path)
    async with run_app(app) as pilot:
        await pilot.press("X")
        if kind == "csv":
            await pilot.press("shift+tab", "down", "enter")
        await wait_until(pilot, lambda: f".{kind}" in app.screen.query_one("#path", Input).value)
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: f"✓ {log_size(workspace)} entries" in screen_text(app))
        path = tmp_path / f"sealyard-audit-{workspace.now.astimezone():%Y-%m-%d}.{kind}"
        header_lines = 1 if kind == "csv" else 0
        assert path.read_text().count("\n") == log_size(workspace) + header_lines
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert list(tmp_path.glob(".*")) == []
        await pilot.press("y")
        assert app.clipboard == str(path)


async def test_filtered_export_contains_only_matching_entries(workspace: TuiWorkspace, tmp_path: Path) -> None:
    app = make_audit_app(workspace, tmp_path)
    async with run_app(app) as pilot:
        screen = cast("AuditScreen", app.screen)
        screen.set_filter("change:CREATED")
        screen.reload()
        await wait_for_workers(pilot)
        matching, size = len(screen.table), log_size(workspace)
        assert 0 < matching < size
        await pilot.press("X")
        await assert_visible(pilot, f"matching the filter  {matching} of {size}")
        app.screen.query_one("#path", Input).value = str(tmp_path / "created.jsonl")
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: f"✓ {matching} entries" in screen_text(app))
        changes = [json.loads(line)["change"] for line in (tmp_path / "created.jsonl").read_text().splitlines()]
        assert changes == ["CREATED"] * matching


async def test_complete_log_can_be_exported_despite_filter(workspace: TuiWorkspace, tmp_path: Path) -> None:
    app = make_audit_app(workspace, tmp_path)
    async with run_app(app) as pilot:
        screen = cast("AuditScreen", app.screen)
        screen.set_filter("change:CREATED")
        screen.reload()
        await wait_for_workers(pilot)
        await pilot.press("X")
        await assert_visible(pilot, "complete log")
        app.screen.query_one("#complete", RadioButton).value = True
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: f"✓ {log_size(workspace)} entries" in screen_text(app))


async def test_export_asks_before_replacing_file(workspace: TuiWorkspace, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("mine")
    app = make_audit_app(workspace, tmp_path)
    async with run_app(app) as pilot:
        await pilot.press("X")
        await wait_until(pilot, lambda: isinstance(app.screen, AuditExportDialog))
        app.screen.query_one("#path", Input).value = str(path)
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: "Replace it?" in screen_text(app))
        await pilot.press("n")
        await wait_for_workers(pilot)
        assert path.read_text() == "mine"
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: "Replace it?" in screen_text(app))
        await pilot.press("y")
        await wait_until(pilot, lambda: f"✓ {log_size(workspace)} entries" in screen_text(app))
        assert path.read_text().count("\n") == log_size(workspace)


async def test_selected_format_is_marked_with_symbol(workspace: TuiWorkspace, tmp_path: Path) -> None:
    app = make_audit_app(workspace, tmp_path)
    async with run_app(app) as pilot:
        await pilot.press("X")
        await wait_until(pilot, lambda: "JSON Lines" in screen_text(app))
        lines = screen_text(app).splitlines()
        assert any("●" in line and "JSON Lines" in line for line in lines)
        assert not any("●" in line and "spreadsheet" in line for line in lines)


async def test_escape_cancels_export_and_removes_file(
    workspace: TuiWorkspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = asyncio.Event()

    async def slow(_: EmbeddedClient, kind: str, filters: AuditFilter | None):  # type: ignore[no-untyped-def]
        yield "one\n"
        await gate.wait()
        yield "two\n"

    monkeypatch.setattr(EmbeddedClient, "export_audit", slow)
    app = make_audit_app(workspace, tmp_path)
    async with run_app(app) as pilot:
        await pilot.press("X", "ctrl+s")
        await wait_until(pilot, lambda: "press esc to cancel" in screen_text(app) and list(tmp_path.glob(".*.tmp")))
        await pilot.press("escape")
        await wait_until(pilot, lambda: not list(tmp_path.iterdir()))
        assert isinstance(app.screen, AuditExportDialog)
        await pilot.press("escape")
        await wait_until(pilot, lambda: isinstance(app.screen, AuditScreen))


async def test_unwritable_path_shows_error_in_dialog(workspace: TuiWorkspace, tmp_path: Path) -> None:
    app = make_audit_app(workspace, tmp_path / "missing")
    async with run_app(app) as pilot:
        await pilot.press("X", "ctrl+s")
        await wait_until(pilot, lambda: "cannot be written" in screen_text(app))
        app.screen.query_one("#path", Input).value = str(tmp_path / "log.jsonl")
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: f"✓ {log_size(workspace)} entries" in screen_text(app))


async def test_export_keeps_file_created_meanwhile(
    workspace: TuiWorkspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log.jsonl"

    async def create_and_export(_: EmbeddedClient, kind: str, filters: AuditFilter | None):  # type: ignore[no-untyped-def]
        path.write_text("theirs")
        yield "ours\n"

    monkeypatch.setattr(EmbeddedClient, "export_audit", create_and_export)
    app = make_audit_app(workspace, tmp_path)
    async with run_app(app) as pilot:
        await pilot.press("X")
        await wait_until(pilot, lambda: isinstance(app.screen, AuditExportDialog))
        app.screen.query_one("#path", Input).value = str(path)
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: "already exists" in screen_text(app))
        assert [entry.read_text() for entry in tmp_path.iterdir()] == ["theirs"]
