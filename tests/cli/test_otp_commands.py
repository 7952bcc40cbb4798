"""Test `sealyard otp`, and approvals with a one-time password."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import segno

from sealyard.client.engine_handle import EngineHandle
from sealyard.model.policy import Policy
from tests.support.authenticator import Authenticator
from tests.support.cli_runner import PASSPHRASE, CliWorkspace
from tests.support.key_holders import unlock
from tests.support.pty_session import run_interactive


async def _enroll(workspace: CliWorkspace, user: str, required: bool) -> Authenticator:
    engine = await EngineHandle.open(workspace.folder, purpose="test", key_holder=unlock(PASSPHRASE), work=False)
    try:
        admin = engine.client("USER:admin")
        await admin.set_policy(Policy(require_otp=required))
        client = engine.client(f"USER:{user}")
        authenticator = Authenticator((await client.enroll_otp()).uri)
        await client.confirm_one_time_password(authenticator.code(datetime.now(UTC)))
        return authenticator
    finally:
        await engine.close()


def enroll(workspace: CliWorkspace, user: str = "owner", *, required: bool = False) -> Authenticator:
    """Enroll the user. ``required``: whether the policy requires a one-time password for each approval."""
    return asyncio.run(_enroll(workspace, user, required))


def enroll_by_command(workspace: CliWorkspace, user: str = "owner") -> Authenticator:
    app = Authenticator(workspace.value(user, "otp", "enroll")["uri"])
    workspace.value(user, "otp", "confirm", app.code(datetime.now(UTC)))
    return app


def next_code(app: Authenticator) -> Callable[[str], str]:
    """Return the next code: the current one was used to confirm, and a skew of one time step is valid."""
    return lambda _: app.code(datetime.now(UTC), steps_off=1)


# ---- enrollment


def test_enroll_without_terminal_takes_two_commands(idle_workspace: CliWorkspace) -> None:
    assert "Not enrolled" in idle_workspace.run("owner", "otp", "status").out
    app = Authenticator(idle_workspace.value("owner", "otp", "enroll")["uri"])
    assert idle_workspace.run("owner", "otp", "confirm", app.code(datetime.now(UTC))).code == 0
    assert "Enrolled" in idle_workspace.run("owner", "otp", "status").out
    status = idle_workspace.value("owner", "otp", "status")
    assert (status["subject"], status["enrolled"], status["lockedUntil"]) == ("USER:owner", True, None)


def test_wrong_confirmation_code_is_rejected(idle_workspace: CliWorkspace) -> None:
    app = Authenticator(idle_workspace.value("owner", "otp", "enroll")["uri"])
    assert idle_workspace.run("owner", "otp", "confirm", app.invalid_code(datetime.now(UTC))).code == 3
    assert not idle_workspace.value("owner", "otp", "status")["enrolled"]


def test_new_authenticator_requires_current_code(idle_workspace: CliWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    app = enroll_by_command(idle_workspace)
    assert idle_workspace.run("owner", "otp", "enroll").code == 3
    monkeypatch.setenv("SEALYARD_OTP", next_code(app)(""))
    assert idle_workspace.value("owner", "otp", "enroll")["uri"]


def test_reset_requires_administrator(idle_workspace: CliWorkspace) -> None:
    enroll_by_command(idle_workspace)
    assert idle_workspace.run("owner", "otp", "reset", "owner").code == 3
    assert idle_workspace.run("admin", "otp", "reset", "owner").code == 0
    assert not idle_workspace.value("owner", "otp", "status")["enrolled"]


def test_enroll_at_terminal_shows_qr_code(workspace: CliWorkspace) -> None:
    apps: list[Authenticator] = []

    def scan(screen: str) -> str:
        apps.append(Authenticator(re.findall(r"otpauth://\S+", screen)[0]))
        return apps[0].code(datetime.now(UTC))

    session = run_interactive(
        *workspace.as_user("owner", "otp", "enroll"), answers={"of the new authenticator: ": scan}
    )
    assert session.code == 0, session.screen
    assert "Enrolled." in session.screen
    assert workspace.value("owner", "otp", "status")["enrolled"]
    uri = re.findall(r"otpauth://\S+", session.screen)[0]
    assert decode_qr_code(session.screen) == [bytes(row) for row in segno.make(uri, micro=False).matrix]
    assert apps[0].code(datetime.now(UTC)) not in session.screen.replace(uri, "")


def test_qr_code_has_no_colors_if_they_are_disabled(workspace: CliWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    session = run_interactive(
        *workspace.as_user("owner", "otp", "enroll"), answers={"of the new authenticator: ": lambda _: "000000"}
    )
    assert "\u2588" in session.screen
    assert "\x1b[" not in session.screen


def decode_qr_code(screen: str) -> list[bytes]:
    """Return the modules of the QR code on the screen. 1 is dark."""
    halves = {" ": (1, 1), "\u2580": (0, 1), "\u2584": (1, 0), "\u2588": (0, 0)}
    lines = re.findall(r"\x1b\[38;5;231;48;5;16m(.*?)\x1b\[0m", screen)
    assert len(lines) <= 24
    assert len(lines[0]) <= 80
    rows = [bytes(halves[char][half] for char in line) for line in lines for half in (0, 1)]
    return [row[2:-2] for row in rows[2:]][: len(rows[0]) - 4]


def test_new_enrollment_prompts_for_current_code(workspace: CliWorkspace) -> None:
    old = enroll(workspace)

    def scan(screen: str) -> str:
        return Authenticator(re.findall(r"otpauth://\S+", screen)[0]).code(datetime.now(UTC))

    answers = {"of the current authenticator: ": next_code(old), "of the new authenticator: ": scan}
    assert run_interactive(*workspace.as_user("owner", "otp", "enroll"), answers=answers).code == 0


# ---- approval


def test_require_otp_warns_about_unenrolled_approvers(idle_workspace: CliWorkspace) -> None:
    result = idle_workspace.run("admin", "policy", "set", "--require-otp", "on")
    assert result.code == 0
    assert "required for each approval" in result.out
    assert "gateway" in result.err
    assert "sealyard otp enroll" in result.err
    assert "sealyard otp enroll" not in idle_workspace.run("admin", "policy", "set", "--require-otp", "off").err
    enroll_by_command(idle_workspace)
    enroll_by_command(idle_workspace, "developer")
    assert "gateway" not in idle_workspace.run("admin", "policy", "set", "--require-otp", "on").err


def test_required_otp_rejects_machine_approval(workspace: CliWorkspace) -> None:
    app = enroll(workspace, required=True)
    result = workspace.run("owner", "approve", workspace.waiting, "--otp", next_code(app)(""))
    assert result.code == 3
    assert "Machine clients" in result.err
    assert workspace.value("owner", "show", workspace.waiting)["status"] == "WAITING"


def test_approval_without_enrollment_shows_hint(workspace: CliWorkspace) -> None:
    enroll(workspace, "developer", required=True)
    session = run_interactive(*workspace.as_user("owner", "approve", workspace.waiting, "--otp", "123456"), answers={})
    assert session.code == 3
    assert "sealyard otp enroll" in session.screen


def test_approval_at_terminal_prompts_for_code(workspace: CliWorkspace) -> None:
    app = enroll(workspace, required=True)
    command = workspace.as_user("owner", "approve", workspace.waiting)
    session = run_interactive(*command, answers={"One-time password: ": next_code(app)})
    assert session.code == 0, session.screen
    assert "USER:owner (at a terminal, with one-time password)" in workspace.run("owner", "show", workspace.waiting).out


@pytest.mark.parametrize("source", ["option", "environment"])
def test_given_code_skips_prompt(workspace: CliWorkspace, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    code = next_code(enroll(workspace, required=True))("")
    if source == "environment":
        monkeypatch.setenv("SEALYARD_OTP", code)
    options = ("--otp", code) if source == "option" else ()
    session = run_interactive(*workspace.as_user("owner", "approve", workspace.waiting, *options), answers={})
    assert session.code == 0, session.screen
    assert "One-time password: " not in session.screen


def test_approval_without_otp_records_origin(workspace: CliWorkspace, firmware: Path) -> None:
    assert run_interactive(*workspace.as_user("owner", "approve", workspace.waiting), answers={}).code == 0
    assert "USER:owner (at a terminal)" in workspace.run("owner", "show", workspace.waiting).out
    other = workspace.package(firmware)["id"]
    assert workspace.run("owner", "approve", other).code == 0
    assert "USER:owner (machine client)" in workspace.run("owner", "show", other).out


def test_rejection_requires_no_code(workspace: CliWorkspace) -> None:
    enroll(workspace, required=True)
    session = run_interactive(*workspace.as_user("owner", "reject", workspace.waiting, "--reason", "no"), answers={})
    assert session.code == 0
    assert "(at a terminal)" in workspace.run("owner", "show", workspace.waiting).out
