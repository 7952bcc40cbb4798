"""Test `sealyard clock` with a system clock that is 60 days ahead."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from sealyard.concurrency.clock import SystemClock
from tests.support.cli_runner import CliWorkspace

AHEAD = timedelta(days=60)
TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S+")


class ClockAhead(SystemClock):
    """A system clock that was set ahead."""

    def now(self) -> datetime:
        return super().now() + AHEAD


class ClockAfterDowntime(ClockAhead):
    """A system clock after a downtime in the same boot."""

    def monotonic(self) -> float:
        return super().monotonic() + AHEAD.total_seconds()


@pytest.fixture
def wrong_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let new engines use a clock that was set ahead."""
    monkeypatch.setattr("sealyard.engine.open_engine.SystemClock", ClockAhead)


def has_result(workspace: CliWorkspace) -> bool:
    return any(workspace.done in path for path in workspace.files())


def audited_confirmations(workspace: CliWorkspace) -> list[str]:
    entries = workspace.value("admin", "audit", "list", "--type", "WORKSPACE", "--change", "UPDATED")["entries"]
    return [entry["message"] for entry in entries]


@pytest.mark.usefixtures("wrong_clock")
def test_confirmation_states_the_time_first(workspace: CliWorkspace) -> None:
    ran = workspace.run("admin", "clock", "confirm")
    assert ran.code == 2
    assert "60 days ahead of the expected time" in ran.err
    assert "Confirm it with --yes." in ran.err
    match = TIME.search(ran.err)
    assert match is not None
    shown_time = datetime.strptime(match[0].rpartition(" ")[0], "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007 - local time
    assert abs(shown_time - (datetime.now() + AHEAD)) < timedelta(minutes=5)  # noqa: DTZ005 - local time
    assert has_result(workspace)
    assert audited_confirmations(workspace) == []


@pytest.mark.usefixtures("wrong_clock")
def test_confirmation_removes_expired_results(workspace: CliWorkspace) -> None:
    assert workspace.run("admin", "subject", "add", "new").code == 0
    assert has_result(workspace)
    confirmation = workspace.value("admin", "clock", "confirm", "--yes")
    assert not confirmation["alreadyTrusted"]
    assert abs(datetime.fromisoformat(confirmation["time"]) - (datetime.now(UTC) + AHEAD)) < timedelta(minutes=5)
    assert not has_result(workspace)
    assert workspace.value("admin", "show", workspace.waiting)["status"] == "CANCELLED"
    assert audited_confirmations(workspace) == ["system clock confirmed, 60 days ahead of the expected time"]
    assert "is trusted already" in workspace.run("admin", "clock", "confirm").out


def test_trusted_clock_needs_no_confirmation(idle_workspace: CliWorkspace) -> None:
    for options in ((), ("--yes",)):
        ran = idle_workspace.run("admin", "clock", "confirm", *options)
        assert ran.code == 0
        assert "is trusted already. Nothing was changed." in ran.out
        assert TIME.search(ran.out)
    assert has_result(idle_workspace)
    assert audited_confirmations(idle_workspace) == []


@pytest.mark.usefixtures("wrong_clock")
def test_only_administrators_can_confirm(idle_workspace: CliWorkspace) -> None:
    for user in ("developer", "owner", "auditor"):
        ran = idle_workspace.run(user, "clock", "confirm", "--yes")
        assert ran.code == 3
    assert has_result(idle_workspace)


@pytest.mark.usefixtures("wrong_clock")
def test_short_runs_keep_results_of_a_wrong_clock(workspace: CliWorkspace) -> None:
    for name in ("first", "second"):
        assert workspace.run("admin", "subject", "add", name).code == 0
        assert has_result(workspace)


def test_short_run_removes_expired_results(workspace: CliWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sealyard.engine.open_engine.SystemClock", ClockAfterDowntime)
    assert workspace.run("admin", "subject", "add", "new").code == 0
    assert not has_result(workspace)
