"""`sealyard otp`, and approving with a one-time password: by a person who is asked, and never by a program."""

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
from tests.support.pty_session import run_interactive


async def _prepared(house: CliWorkspace, who: str, wanted: bool) -> Authenticator:
    engine = await EngineHandle.open(house.folder, purpose="test", passphrase=PASSPHRASE, work=False)
    try:
        admin = engine.client("USER:admin")
        await admin.set_policy(Policy(require_otp=wanted))
        person = engine.client(f"USER:{who}")
        app = Authenticator((await person.enroll_otp()).uri)
        await person.confirm_one_time_password(app.code(datetime.now(UTC)))
        return app
    finally:
        await engine.close()


def enrolled(house: CliWorkspace, who: str = "owner", *, wanted: bool = False) -> Authenticator:
    """With a policy that wants a one-time password for each approval, or not."""
    return asyncio.run(_prepared(house, who, wanted))


def later(app: Authenticator) -> Callable[[str], str]:
    """The next password: the one of now was used to confirm, and a clock may be off by a step."""
    return lambda _: app.code(datetime.now(UTC), steps_off=1)


# ---- enrolling


def test_without_a_terminal_enrolling_is_two_commands(house: CliWorkspace) -> None:
    assert "Not enrolled" in house.run("owner", "otp", "status").out
    app = Authenticator(house.value("owner", "otp", "enroll")["uri"])
    assert house.run("owner", "otp", "confirm", app.code(datetime.now(UTC))).code == 0
    assert "Enrolled" in house.run("owner", "otp", "status").out
    assert house.value("owner", "otp", "status") == {"subject": "USER:owner", "enrolled": True, "lockedUntil": None}


def test_a_wrong_confirmation_fails(house: CliWorkspace) -> None:
    app = Authenticator(house.value("owner", "otp", "enroll")["uri"])
    assert house.run("owner", "otp", "confirm", app.invalid_code(datetime.now(UTC))).code == 3
    assert not house.value("owner", "otp", "status")["enrolled"]


def test_another_authenticator_wants_a_password_of_the_one_before(
    house: CliWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = enrolled(house)
    assert house.run("owner", "otp", "enroll").code == 3
    monkeypatch.setenv("SEALYARD_OTP", later(app)(""))
    assert house.value("owner", "otp", "enroll")["uri"]


def test_an_administrator_resets_somebody_and_never_oneself(house: CliWorkspace) -> None:
    enrolled(house)
    assert house.run("owner", "otp", "reset", "owner").code == 3
    assert house.run("admin", "otp", "reset", "owner").code == 0
    assert not house.value("owner", "otp", "status")["enrolled"]


def test_at_a_terminal_a_qr_code_is_drawn_and_the_first_password_asked_for(house: CliWorkspace) -> None:
    apps: list[Authenticator] = []

    def scan(screen: str) -> str:
        apps.append(Authenticator(re.findall(r"otpauth://\S+", screen)[0]))
        return apps[0].code(datetime.now(UTC))

    seen = run_interactive(*house.as_user("owner", "otp", "enroll"), answers={"of the new authenticator: ": scan})
    assert seen.code == 0, seen.screen
    assert "Enrolled." in seen.screen
    assert house.value("owner", "otp", "status")["enrolled"]
    uri = re.findall(r"otpauth://\S+", seen.screen)[0]
    assert drawn(seen.screen) == [bytes(row) for row in segno.make(uri, micro=False).matrix]
    assert apps[0].code(datetime.now(UTC)) not in seen.screen.replace(uri, "")


def drawn(screen: str) -> list[bytes]:
    """The modules of the QR code on the screen: 1 is dark."""
    halves = {" ": (1, 1), "\u2580": (0, 1), "\u2584": (1, 0), "\u2588": (0, 0)}
    lines = re.findall(r"\x1b\[38;5;231;48;5;16m(.*?)\x1b\[0m", screen)
    assert len(lines) <= 24
    assert len(lines[0]) <= 80
    rows = [bytes(halves[char][half] for char in line) for line in lines for half in (0, 1)]
    return [row[2:-2] for row in rows[2:]][: len(rows[0]) - 4]


def test_who_enrols_anew_at_a_terminal_is_asked_for_a_password_of_the_one_before(house: CliWorkspace) -> None:
    old = enrolled(house)

    def scan(screen: str) -> str:
        return Authenticator(re.findall(r"otpauth://\S+", screen)[0]).code(datetime.now(UTC))

    asked = {"of the current authenticator: ": later(old), "of the new authenticator: ": scan}
    assert run_interactive(*house.as_user("owner", "otp", "enroll"), answers=asked).code == 0


# ---- approving


def test_a_policy_that_too_few_can_follow_is_set_with_a_warning(house: CliWorkspace) -> None:
    ran = house.run("admin", "policy", "set", "--require-otp", "on")
    assert ran.code == 0
    assert "required for each approval" in ran.out
    assert "gateway" in ran.err
    assert "sealyard otp enroll" in ran.err
    assert "sealyard otp enroll" not in house.run("admin", "policy", "set", "--require-otp", "off").err
    enrolled(house)
    enrolled(house, "developer")
    assert "gateway" not in house.run("admin", "policy", "set", "--require-otp", "on").err


def test_a_program_cannot_approve_where_one_is_wanted(house: CliWorkspace) -> None:
    app = enrolled(house, wanted=True)
    ran = house.run("owner", "approve", house.waiting, "--otp", later(app)(""))
    assert ran.code == 3
    assert "Machine clients" in ran.err
    assert house.value("owner", "show", house.waiting)["status"] == "WAITING"


def test_who_has_not_enrolled_is_told_how_to(house: CliWorkspace) -> None:
    enrolled(house, "developer", wanted=True)
    seen = run_interactive(*house.as_user("owner", "approve", house.waiting, "--otp", "123456"), answers={})
    assert seen.code == 3
    assert "sealyard otp enroll" in seen.screen


def test_a_person_at_a_terminal_is_asked_and_the_approval_says_so(house: CliWorkspace) -> None:
    app = enrolled(house, wanted=True)
    approving = house.as_user("owner", "approve", house.waiting)
    seen = run_interactive(*approving, answers={"One-time password: ": later(app)})
    assert seen.code == 0, seen.screen
    assert "USER:owner (at a terminal, with one-time password)" in house.run("owner", "show", house.waiting).out


@pytest.mark.parametrize("by", ["option", "environment"])
def test_a_password_given_beforehand_is_not_asked_for(
    house: CliWorkspace, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    code = later(enrolled(house, wanted=True))("")
    if by == "environment":
        monkeypatch.setenv("SEALYARD_OTP", code)
    given = ("--otp", code) if by == "option" else ()
    seen = run_interactive(*house.as_user("owner", "approve", house.waiting, *given), answers={})
    assert seen.code == 0, seen.screen
    assert "One-time password: " not in seen.screen


def test_where_none_is_wanted_nobody_is_asked_and_the_origin_is_told(house: CliWorkspace, firmware: Path) -> None:
    assert run_interactive(*house.as_user("owner", "approve", house.waiting), answers={}).code == 0
    assert "USER:owner (at a terminal)" in house.run("owner", "show", house.waiting).out
    other = house.package(firmware)["id"]
    assert house.run("owner", "approve", other).code == 0
    assert "USER:owner (machine client)" in house.run("owner", "show", other).out


def test_a_rejection_asks_for_none(house: CliWorkspace) -> None:
    enrolled(house, wanted=True)
    seen = run_interactive(*house.as_user("owner", "reject", house.waiting, "--reason", "no"), answers={})
    assert seen.code == 0
    assert "(at a terminal)" in house.run("owner", "show", house.waiting).out
