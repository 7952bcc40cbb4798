"""The review: everything an approver must see before a release, and a way to read it to its end."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from sealyard.model.requests import DeviceUpdate
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


async def test_files_are_in_order_with_sizes_and_whole_digests(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace) as (app, _):
        seen = review_text(app)
        first, second = workspace.task(FIRST).inputs
        assert seen.index("1. bootloader.bin") < seen.index(first.sha256) < seen.index("2. application.bin")
        assert second.sha256 in seen
        assert "64.0 KiB (65,536 bytes)" in seen
        assert workspace.task(FIRST).metadata[0].sha256 in seen


async def test_who_asked_when_configuration_keys_format_quorum_and_digest_are_told(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace) as (app, _):
        seen = review_text(app)
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
            assert words in seen, words


async def test_warnings_attention_trial_and_a_newer_version_stand_first(workspace: TuiWorkspace) -> None:
    await workspace.client(ADMINISTRATOR).update_device(DeviceUpdate(config="gateway", description="renamed"))
    await workspace.insert_tasks(
        msgspec.structs.replace(workspace.task(FIRST), warning="The quorum broke.", self_approved=True)
    )
    async with open_queue(workspace, size=(80, 24)) as (app, pilot):
        await press_keys(app, pilot, "enter")
        seen = screen_text(app)
        for words in (
            "! This cipher is not authenticated",
            "! The quorum broke.",
            "SELF-APPROVAL TRIAL",
            "! gateway has a newer version 3; this task uses version 2.",
        ):
            assert words in seen, words


async def test_it_says_who_approved_already_and_why(workspace: TuiWorkspace) -> None:
    await workspace.decide(workspace.task(SENSOR), SECOND_APPROVER, reason="tested on the bench")
    async with open_queue(workspace) as (app, pilot):
        await press_keys(app, pilot, "j", "j")
        assert "✓ APPROVED by USER:second" in review_text(app)
        assert "tested on the bench" in review_text(app)
        assert "1 of 2 (requester" in review_text(app)


async def test_what_changed_since_the_last_approved_package_is_told(workspace: TuiWorkspace) -> None:
    await workspace.client(ADMINISTRATOR).update_device(DeviceUpdate(config="gateway", description="renamed"))
    await workspace.add_task("t-new", name="gateway 1.6.0", firmware=FIRMWARE, metadata=METADATA)
    async with open_queue(workspace) as (app, _):
        seen = review_text(app)
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
            assert words in seen, words


async def test_a_first_package_and_an_unchanged_one_are_said_to_be_so(workspace: TuiWorkspace) -> None:
    workspace.bus.small_slots = 1
    await workspace.complete(await workspace.add_task(name="gateway 1.6.0"))
    await workspace.add_task("t-again", name="gateway 1.6.0")
    async with open_queue(workspace) as (app, pilot):
        assert "No changes" in review_text(app)
        await press_keys(app, pilot, "j", "j", "j")
        assert "First package for this device configuration." in review_text(app)


async def test_metadata_is_set_out_as_text_json_or_bytes(workspace: TuiWorkspace) -> None:
    contents = {"a.json": b'{"v":[1]}', "b.txt": b"plain [red]words[/]", "c.bin": b"\x00\x01\xff"}
    await workspace.add_task("t-new", metadata=contents)
    async with open_queue(workspace) as (app, _):
        seen = review_text(app)
        assert '│   "v": [' in seen
        assert "│ plain [red]words[/]" in seen
        assert "│ 0000  00 01 ff" in seen


async def test_it_says_when_only_the_beginning_of_metadata_is_shown(workspace: TuiWorkspace) -> None:
    await workspace.add_task("t-new", metadata={"big.txt": b"line\n" * 1000})
    async with open_queue(workspace) as (app, _):
        assert "! only the first 200 lines are shown, 800 follow; press e" in review_text(app)


async def test_what_a_signing_task_signs_is_shown(workspace: TuiWorkspace) -> None:
    await workspace.signing(DEVELOPER, config="sensor", message=b'{"release": 7}', file_name="manifest.json")
    async with open_queue(workspace) as (app, _):
        assert '│   "release": 7' in review_text(app)
        assert "Only packages are compared." in review_text(app)


async def test_a_hindrance_is_told_in_the_engines_words(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace) as (app, pilot):
        await press_keys(app, pilot, "m", "j", "j", "j")
        assert "✗ You cannot decide on your own task." in review_text(app)
        await press_keys(app, pilot, "j")
        assert approvals_table(app).cursor_key == LATE
        assert "✗ The approval period has expired. The task can no longer be decided" in review_text(app)


async def test_the_time_left_goes_on_in_the_review(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace) as (app, pilot):
        workspace.clock.advance(days=5)
        await wait_until(pilot, lambda: "(1d 23h left)" in review_text(app))


async def test_the_review_scrolls_while_the_list_keeps_its_cursor(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace, size=(120, 40)) as (app, pilot):
        await press_keys(app, pilot, "full_stop")
        assert approvals_screen(app).review.scroll_offset.y > 0
        assert approvals_table(app).has_focus
        assert approvals_table(app).cursor_key == FIRST
        await press_keys(app, pilot, "comma")
        assert approvals_screen(app).review.scroll_offset.y == 0


async def test_the_end_is_reached_where_the_last_line_is_seen_and_not_before(workspace: TuiWorkspace) -> None:
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


async def test_in_24_lines_enter_opens_the_review_alone_and_all_of_it_can_be_read(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace, size=(80, 24)) as (app, pilot):
        assert not approvals_screen(app).review.display
        await press_keys(app, pilot, "enter")
        assert approvals_screen(app).review.has_focus
        assert not approvals_table(app).display or not approvals_screen(app).query_one("#list").display
        seen = screen_text(app)
        while "── end ──" not in seen:
            before = approvals_screen(app).review.scroll_offset.y
            await press_keys(app, pilot, "space")
            assert approvals_screen(app).review.scroll_offset.y > before
            seen += screen_text(app)
        for digest in (each.sha256 for each in (*workspace.task(FIRST).inputs, *workspace.task(FIRST).metadata)):
            assert digest in seen
        await press_keys(app, pilot, "escape")
        assert approvals_table(app).has_focus


@pytest.mark.parametrize(("forth", "back"), [("n", "N"), ("right_square_bracket", "left_square_bracket")])
async def test_the_next_and_the_previous_task_are_a_key_away_within_the_review(
    workspace: TuiWorkspace, forth: str, back: str
) -> None:
    async with open_queue(workspace, size=(80, 24)) as (app, pilot):
        await press_keys(app, pilot, "enter", "G", forth)
        await assert_visible(pilot, "gateway 1.5.1")
        await wait_until(pilot, lambda: approvals_screen(app).review.scroll_offset.y == 0)
        await press_keys(app, pilot, back)
        await assert_visible(pilot, "gateway 1.5.0")
        assert approvals_screen(app).review.has_focus


async def test_vim_keys_and_pages_move_in_the_review(workspace: TuiWorkspace) -> None:
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


async def test_no_line_of_the_review_is_wider_than_its_room(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace, size=(80, 24)) as (app, pilot):
        await press_keys(app, pilot, "enter")
        room = approvals_screen(app).review.scrollable_content_region.width
        assert [line for line in review_text(app).splitlines() if len(line) > room] == []
        await pilot.resize_terminal(60, 18)
        await wait_for_workers(pilot)
        room = approvals_screen(app).review.scrollable_content_region.width
        assert [line for line in review_text(app).splitlines() if len(line) > room] == []


async def test_a_task_that_changes_is_shown_anew_without_losing_the_place(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace) as (app, pilot):
        await press_keys(app, pilot, "full_stop")
        at = approvals_screen(app).review.scroll_offset.y
        await break_quorum(workspace)
        await wait_until(pilot, lambda: workspace.task(FIRST).warning in review_text(app))
        await wait_for_workers(pilot)
        assert approvals_screen(app).review.scroll_offset.y == at


async def test_digest_id_and_name_are_copied_by_key(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace) as (app, pilot):
        await press_keys(app, pilot, "y")
        assert app.clipboard == workspace.task(FIRST).approval_digest
        await assert_visible(pilot, "Copied the approval digest.")
        await pilot.press("c")
        await wait_until(pilot, lambda: "SHA-256 of bootloader.bin" in screen_text(app))
        await pilot.press("1")
        await wait_until(pilot, lambda: app.clipboard == FIRST)


async def test_the_whole_task_is_shown_as_json(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace) as (app, pilot):
        await pilot.press("J")
        await wait_until(pilot, lambda: '"configId": "gw"' in screen_text(app))


async def test_metadata_opens_in_the_pager(
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
        await press_keys(app, pilot, "k", "e")
        await assert_visible(pilot, "This task has no metadata.")
        assert len(paged) == 1


async def test_a_fast_cursor_reads_the_review_only_where_it_rests(workspace: TuiWorkspace) -> None:
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


async def test_typing_in_the_filter_moves_nothing_else(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace) as (app, pilot):
        await pilot.press("slash")
        await paste_text(pilot, "1.5")
        await pilot.press("enter")
        await wait_for_review(app, pilot)
        assert {each.id for each in approvals_table(app).rows} == {FIRST, SECOND}
