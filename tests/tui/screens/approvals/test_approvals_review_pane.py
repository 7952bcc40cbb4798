"""Tests of the review pane: its content, scrolling and copy keys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from sealyard.model.requests import DeviceUpdate
from sealyard_tui.formatting import task_title
from tests.tui.approvals_helpers import (
    FIRST,
    LATE,
    SECOND,
    SECOND_APPROVER,
    SENSOR,
    approvals_screen,
    approvals_table,
    break_quorum,
    open_queue,
    paste_text,
    press_keys,
    review_text,
    wait_for_review,
)
from tests.tui.pilot_helpers import assert_visible, screen_text, wait_for_workers, wait_until
from tests.tui.workspace import ADMINISTRATOR, DEVELOPER, FIRMWARE, METADATA, TuiWorkspace


async def test_files_show_order_size_and_digest(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace) as (app, _):
        text = review_text(app)
        first, second = workspace.task(FIRST).inputs
        assert text.index("1. bootloader.bin") < text.index(first.sha256) < text.index("2. application.bin")
        assert second.sha256 in text
        assert "64.0 KiB (65,536 bytes)" in text
        assert workspace.task(FIRST).metadata[0].sha256 in text


async def test_review_shows_request_and_configuration(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace) as (app, _):
        text = review_text(app)
        for words in (
            "USER:developer (Dana Developer) at ",
            "gateway version 2 (newest)",
            "The gateway in the field",
            "AES256_CBC_PKCS7_PAD with local:gateway-encryption version 1",
            "ECC_NIST_P256 with local:gateway-signing version 1",
            "se-1, link for 1d, kept for 30d",
            "0 of 1 (requester excluded)",
            workspace.task(FIRST).approval_digest,
            "You may decide on this task, until",
            "(6d 23h left)",
            "No decisions yet.",
        ):
            assert words in text, words


async def test_first_line_counts_warnings_and_section_shows_them(workspace: TuiWorkspace) -> None:
    await workspace.client(ADMINISTRATOR).update_device(DeviceUpdate(config="gateway", description="renamed"))
    await workspace.insert_tasks(
        msgspec.structs.replace(workspace.task(FIRST), warning="The quorum broke.", self_approved=True)
    )
    async with open_queue(workspace, size=(80, 24)) as (app, pilot):
        await press_keys(app, pilot, "enter")
        await assert_visible(pilot, "SELF-APPROVAL TRIAL")
        first_line = screen_text(app).splitlines()[3]
        assert first_line.startswith(" ! 3 warnings: The quorum broke.")
        text = " ".join(review_text(app).split())
        assert "Warnings (3)" in text
        for words in (
            "! This cipher is not authenticated: tampering is detected only by the signature.",
            "! The quorum broke.",
            "! gateway has a newer version 3; this task uses version 2.",
        ):
            assert words in text, words


async def test_certificate_warning_is_above_the_decision(empty_workspace: TuiWorkspace) -> None:
    (key,) = [key for key in empty_workspace.shelf.infos.values() if key.uri == "local:gateway-signing"]
    assert key.current.certificate_expires_at is not None
    empty_workspace.clock.move_to(key.current.certificate_expires_at - timedelta(days=3))
    await empty_workspace.add_task("t-new", name="gateway 1.6.0", firmware=FIRMWARE, metadata=METADATA)
    async with open_queue(empty_workspace) as (app, _):
        text = " ".join(review_text(app).split())
        assert "! The certificate of local:gateway-signing version 1 expires on" in text
        assert text.index("! The certificate of") < text.index("! This cipher is not authenticated")


async def test_earlier_approvals_show_approver_and_reason(workspace: TuiWorkspace) -> None:
    await workspace.decide(workspace.task(SENSOR), SECOND_APPROVER, reason="tested on the bench")
    async with open_queue(workspace) as (app, pilot):
        await press_keys(app, pilot, "j", "j")
        assert "✓ APPROVED by USER:second" in review_text(app)
        assert "tested on the bench" in review_text(app)
        assert "1 of 2 (requester" in review_text(app)


async def test_review_lists_changes_since_last_package(workspace: TuiWorkspace) -> None:
    await workspace.client(ADMINISTRATOR).update_device(DeviceUpdate(config="gateway", description="renamed"))
    await workspace.add_task("t-new", name="gateway 1.6.0", firmware=FIRMWARE, metadata=METADATA)
    async with open_queue(workspace) as (app, _):
        text = review_text(app)
        before, now = workspace.task("t-done").inputs[1], workspace.task("t-new").inputs[1]
        for words in (
            "compared with gateway 1.4.2",
            "~ name: gateway 1.4.2 → gateway 1.6.0",
            "~ configuration: gateway version 2 → gateway version 3",
            "= same    bootloader.bin",
            "~ changed application.bin  48,576 bytes more",
            f"was {before.sha256}",
            f"now {now.sha256}",
            "- removed radio.bin",
        ):
            assert words in text, words


async def test_first_and_unchanged_packages_are_stated(workspace: TuiWorkspace) -> None:
    workspace.bus.small_slots = 1
    await workspace.complete(await workspace.add_task(name="gateway 1.6.0"))
    await workspace.add_task("t-again", name="gateway 1.6.0")
    async with open_queue(workspace) as (app, pilot):
        assert "No changes" in review_text(app)
        await press_keys(app, pilot, "j", "j", "j")
        assert "First package for this device configuration." in review_text(app)


async def test_metadata_is_rendered_by_content_kind(workspace: TuiWorkspace) -> None:
    contents = {"a.json": b'{"v":[1]}', "b.txt": b"plain [red]words[/]", "c.bin": b"\x00\x01\xff"}
    await workspace.add_task("t-new", metadata=contents)
    async with open_queue(workspace) as (app, _):
        text = review_text(app)
        assert '│   "v": [' in text
        assert "│ plain [red]words[/]" in text
        assert "│ 0000  00 01 ff" in text


async def test_truncated_metadata_shows_remaining_lines(workspace: TuiWorkspace) -> None:
    await workspace.add_task("t-new", metadata={"big.txt": b"line\n" * 1000})
    async with open_queue(workspace) as (app, _):
        assert "! only the first 200 lines are shown, 800 follow; press e" in review_text(app)


async def test_signing_task_shows_message(workspace: TuiWorkspace) -> None:
    await workspace.signing(DEVELOPER, config="sensor", message=b'{"release": 7}', file_name="manifest.json")
    async with open_queue(workspace) as (app, _):
        assert '│   "release": 7' in review_text(app)
        assert "Only packages are compared." in review_text(app)


async def test_blocked_decision_shows_engine_reason(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace) as (app, pilot):
        await press_keys(app, pilot, "m", "j", "j", "j")
        assert "✗ You cannot decide on your own task." in review_text(app)
        await press_keys(app, pilot, "j")
        assert approvals_table(app).cursor_key == LATE
        assert "✗ The approval period has expired. The task can no longer be decided" in review_text(app)


async def test_remaining_time_updates_with_clock(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace) as (app, pilot):
        workspace.clock.advance(days=5)
        await wait_until(pilot, lambda: "(1d 23h left)" in review_text(app))


async def test_scrolling_review_keeps_list_cursor(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace, size=(120, 40)) as (app, pilot):
        await press_keys(app, pilot, "full_stop")
        assert approvals_screen(app).review.scroll_offset.y > 0
        assert approvals_table(app).has_focus
        assert approvals_table(app).cursor_key == FIRST
        await press_keys(app, pilot, "comma")
        assert approvals_screen(app).review.scroll_offset.y == 0


async def test_review_is_read_after_last_line(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace, size=(80, 24)) as (app, pilot):
        await press_keys(app, pilot, "enter")
        review = approvals_screen(app).review
        assert review.virtual_size.height == review._line_count
        await press_keys(app, pilot, "G", "k")
        assert not review.was_read_to_end(workspace.task(SECOND))
        for keys in (("n",), ("G", "k"), ("N",)):
            await press_keys(app, pilot, *keys)
        assert review.was_read_to_end(workspace.task(SECOND))
        assert review.was_read_to_end(workspace.task(FIRST))
        assert not review.was_read_to_end(workspace.task(SENSOR))


async def test_small_terminal_opens_review_alone(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace, size=(80, 24)) as (app, pilot):
        assert not approvals_screen(app).review.display
        await press_keys(app, pilot, "enter")
        assert approvals_screen(app).review.has_focus
        assert not approvals_table(app).display
        text = screen_text(app)
        while "── end ──" not in text:
            before = approvals_screen(app).review.scroll_offset.y
            await press_keys(app, pilot, "space")
            assert approvals_screen(app).review.scroll_offset.y > before
            text += screen_text(app)
        for digest in (each.sha256 for each in (*workspace.task(FIRST).inputs, *workspace.task(FIRST).metadata)):
            assert digest in text
        await press_keys(app, pilot, "escape")
        assert approvals_table(app).has_focus


@pytest.mark.parametrize(("forward", "back"), [("n", "N"), ("right_square_bracket", "left_square_bracket")])
async def test_review_keys_switch_to_adjacent_task(workspace: TuiWorkspace, forward: str, back: str) -> None:
    async with open_queue(workspace, size=(80, 24)) as (app, pilot):
        await press_keys(app, pilot, "enter", "G", forward)
        await assert_visible(pilot, "gateway 1.5.1")
        await wait_until(pilot, lambda: approvals_screen(app).review.scroll_offset.y == 0)
        await press_keys(app, pilot, back)
        await assert_visible(pilot, "gateway 1.5.0")
        assert approvals_screen(app).review.has_focus


async def test_vim_and_page_keys_scroll_review(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace, size=(80, 24)) as (app, pilot):
        await press_keys(app, pilot, "enter")
        review = approvals_screen(app).review
        for key in ("j", "ctrl+d", "space", "pagedown", "down", "G"):
            before = review.scroll_offset.y
            await press_keys(app, pilot, key)
            assert review.scroll_offset.y > before or before == review.max_scroll_y, key
        for key in ("k", "ctrl+u", "ctrl+b", "pageup", "up"):
            before = review.scroll_offset.y
            await press_keys(app, pilot, key)
            assert review.scroll_offset.y < before or not before, key
        await press_keys(app, pilot, "G", "g")
        assert review.scroll_offset.y == 0


async def test_review_lines_fit_pane_width(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace, size=(80, 24)) as (app, pilot):
        await press_keys(app, pilot, "enter")
        width = approvals_screen(app).review.scrollable_content_region.width
        assert [line for line in review_text(app).splitlines() if len(line) > width] == []
        await pilot.resize_terminal(60, 18)
        await wait_for_workers(pilot)
        width = approvals_screen(app).review.scrollable_content_region.width
        assert [line for line in review_text(app).splitlines() if len(line) > width] == []


async def test_task_change_updates_review_and_keeps_scroll(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace) as (app, pilot):
        await press_keys(app, pilot, "full_stop")
        offset = approvals_screen(app).review.scroll_offset.y
        await break_quorum(workspace)
        await wait_until(pilot, lambda: workspace.task(FIRST).warning in review_text(app))
        await wait_for_workers(pilot)
        assert approvals_screen(app).review.scroll_offset.y == offset


async def test_copy_keys_copy_digest_and_id(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace) as (app, pilot):
        await press_keys(app, pilot, "y")
        assert app.clipboard == workspace.task(FIRST).approval_digest
        await assert_visible(pilot, "Copied the approval digest.")
        await pilot.press("c")
        await wait_until(pilot, lambda: "SHA-256 of bootloader.bin" in screen_text(app))
        await pilot.press("1")
        await wait_until(pilot, lambda: app.clipboard == FIRST)


async def test_task_is_shown_as_json(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace) as (app, pilot):
        await pilot.press("J")
        await wait_until(pilot, lambda: '"configId": "gw"' in screen_text(app))


async def test_metadata_opens_in_pager(
    workspace: TuiWorkspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paged: list[str] = []
    monkeypatch.setattr(
        "sealyard_tui.screens.approvals.screen.view_in_pager", lambda app, text, suffix=".txt": paged.append(text)
    )
    async with open_queue(workspace) as (app, pilot):
        await press_keys(app, pilot, "e")
        assert paged == ['{\n  "version": "1.5.0",\n  "notes": "fixes the watchdog"\n}']
        await workspace.add_task("t-none")
        await wait_until(pilot, lambda: "t-none" in approvals_table(app))
        await press_keys(app, pilot, "k")
        await press_keys(app, pilot, "e")
        await assert_visible(pilot, "This task has no metadata.")
        assert len(paged) == 1


async def test_fast_cursor_loads_only_last_review(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace) as (app, pilot):
        client = app.session._client.result()  # type: ignore[union-attr]
        read: list[str] = []
        original = client.review

        async def counted(task_id: str) -> object:
            read.append(task_id)
            return await original(task_id)

        client.review = counted  # type: ignore[method-assign]
        approvals_table(app).action_move(1)
        approvals_table(app).action_move(1)
        await wait_for_review(app, pilot)
        assert read == [SENSOR]


async def test_filter_input_triggers_no_key_bindings(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace) as (app, pilot):
        await pilot.press("slash")
        await paste_text(pilot, "1.5")
        await pilot.press("enter")
        await wait_for_review(app, pilot)
        assert {each.id for each in approvals_table(app).rows} == {FIRST, SECOND}


async def test_review_opened_after_another_shows_its_own_task(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace, size=(80, 24)) as (app, pilot):
        for task_id in (FIRST, SECOND, FIRST):
            approvals_table(app).move_cursor_to(task_id)
            await wait_for_review(app, pilot)
            await press_keys(app, pilot, "enter")
            await assert_visible(pilot, task_title(workspace.task(task_id)))
            digest = workspace.task(task_id).approval_digest
            assert all(half in review_text(app) for half in (digest[:32], digest[32:]))
            assert not approvals_screen(app).review.was_read_to_end(workspace.task(task_id))
            await press_keys(app, pilot, "escape")


# ---- changed metadata


async def test_review_lists_changed_fields(workspace: TuiWorkspace) -> None:
    old, new = b'{"version": "0.9.2", "gone": 1}', b'{"version": "0.9.4", "note": "\x1b[31m' + b"x" * 300 + b'"}'
    await complete_package(workspace, {"release.json": old})
    new = new.replace(b"\x1b", b"\\u001b")
    task = await workspace.add_task("t-fields", name="fields", metadata={"release.json": new})
    async with open_review(workspace, task.id) as text:
        assert 'version: "0.9.2" → "0.9.4"' in text
        assert "- gone: 1" in text
        (line,) = [line for line in text.split("  + ") if line.startswith("note:")]
        assert "…" in line
        assert "\x1b" not in text


async def test_review_warns_about_invalid_metadata(workspace: TuiWorkspace) -> None:
    await complete_package(workspace, {"release.json": b"{}"})
    task = await workspace.add_task("t-bad", name="bad", metadata={"release.json": b"{bad"})
    async with open_review(workspace, task.id) as text:
        assert "! release.json is not valid JSON: line 1, column 2." in text
        assert "! The new version is not valid JSON: line 1, column 2." in text


async def test_review_warns_about_repeated_package(workspace: TuiWorkspace) -> None:
    await complete_package(workspace, {"release.json": b"{}"})
    task = await workspace.add_task("t-same", name="same", metadata={"release.json": b"{}"})
    async with open_review(workspace, task.id) as text:
        assert "! Same files and keys as the last released package: gateway 1.4.9, " in text
        assert "! The content is the same." in text


async def complete_package(workspace: TuiWorkspace, metadata: dict[str, bytes]) -> None:
    workspace.bus.small_slots = 2
    workspace.clock.advance(minutes=1)
    await workspace.complete(await workspace.add_task("t-last", name="gateway 1.4.9", metadata=metadata))
    workspace.clock.advance(minutes=1)


@asynccontextmanager
async def open_review(workspace: TuiWorkspace, task_id: str) -> AsyncIterator[str]:
    """Open the review of a task and yield its text."""
    async with open_queue(workspace) as (app, pilot):
        approvals_table(app).move_cursor_to(task_id)
        await wait_for_review(app, pilot)
        yield review_text(app)
