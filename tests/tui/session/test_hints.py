"""Hints in the words of the application, with the keys of the key map in force."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from sealyard.model.errors import AuditVerificationError, ErrorInfo, ResultExpiredError, SealyardError, UsageError
from sealyard.model.hints import Hint, HintCode
from sealyard_tui.action_keys import DEFAULT_KEYS, action_keys
from sealyard_tui.dialogs.error import ErrorDialog
from sealyard_tui.session.hints import app_hint, error_text
from tests.tui.pilot_helpers import make_app, run_app, screen_text, wait_until
from tests.tui.workspace import TuiWorkspace

EXPIRED = ResultExpiredError("The link has expired.", Hint.of(HintCode.RENEW_LINK, task_id="abc"))


def test_hint_names_key_for_any_error_type() -> None:
    assert app_hint(EXPIRED, DEFAULT_KEYS) == "Press e on the dashboard to renew the link."
    assert app_hint(EXPIRED.to_info(), DEFAULT_KEYS) == app_hint(EXPIRED, DEFAULT_KEYS)
    assert error_text(EXPIRED, DEFAULT_KEYS) == "The link has expired. Press e on the dashboard to renew the link."


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (UsageError("A reason is required.", Hint.of(HintCode.GIVE_REASON)), "Enter a reason."),
        (SealyardError("It failed.", "See the log."), "See the log."),
        (SealyardError("It failed.", Hint("Do this.", "from-the-future", {"a": "b"})), "Do this."),
        (ErrorInfo(code="conflict", message="It was decided."), ""),
    ],
)
def test_hint_without_a_key(error: SealyardError | ErrorInfo, hint: str) -> None:
    assert app_hint(error, DEFAULT_KEYS) == hint


@pytest.mark.parametrize(
    ("keymap", "hint"),
    [
        ({}, "Add USER:new first (n under 6 Access)."),
        ({"access.add_subject": "ctrl+n,f8", "app.access": "f6"}, "Add USER:new first (^n under f6 Access)."),
        ({"access.add_subject": "no key at all"}, "Add USER:new first (n under 6 Access)."),
    ],
    ids=["default", "changed", "ignored"],
)
async def test_hints_use_keys_of_key_map(workspace: TuiWorkspace, keymap: Mapping[str, str], hint: str) -> None:
    app = make_app(workspace, keymap=keymap)
    async with run_app(app):
        error = SealyardError("Not found.", Hint.of(HintCode.ADD_SUBJECT, subject="USER:new"))
        assert app_hint(error, action_keys(app)) == hint


DIALOG_TEXTS = (
    (Hint.of(HintCode.RENEW_LINK, task_id="abc"), "→ Press f9 on the dashboard to renew the link."),
    (Hint.of(HintCode.LIST_TASKS), "→ 1 Dashboard lists all tasks."),
    (Hint.of(HintCode.ASK_FOR_PERMISSION), "→ Ask an administrator to grant the permission (+ under 6 Access)."),
    (Hint.of(HintCode.ENROLL_OTP), "→ Enroll an authenticator first: run `sealyard otp enroll`"),
    (Hint.of(HintCode.ADD_SUBJECT, subject="a\x1b[31m[b]\u202e"), "→ Add a\\x1b[31m[b]\\u202e first"),
)


async def test_error_dialog_shows_the_wording(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, keymap={"dashboard.renew": "f9"})
    async with run_app(app) as pilot:
        for hint, text in DIALOG_TEXTS:
            app.show_error(SealyardError("It failed.", hint))
            await wait_until(pilot, lambda: isinstance(app.screen, ErrorDialog))
            await wait_until(pilot, lambda text=text: text in screen_text(app))  # type: ignore[misc]
            await pilot.press("c")
            assert text.removeprefix("→ ") in app.clipboard
            await pilot.press("escape")
            await wait_until(pilot, lambda: not isinstance(app.screen, ErrorDialog))


async def test_failed_request_shows_the_wording(workspace: TuiWorkspace) -> None:
    workspace.faults.fail["renew"] = AuditVerificationError("It was changed.", Hint.of(HintCode.VERIFY_AUDIT))
    app = make_app(workspace, keymap={"audit.verify": "f7"})

    async def renew() -> None:
        await (await app.session.client()).renew("t-expired")

    async with run_app(app) as pilot:
        app.run_guarded(app.screen, renew())
        await wait_until(pilot, lambda: "→ Press f7 under 4 Audit to find what was changed." in screen_text(app))
