"""Test the commands for the hosts of a crypto zone."""

from __future__ import annotations

import json

import msgspec
import pytest

from tests.support.cli_runner import CliWorkspace
from tests.support.zone_examples import ZONE, build_host, give_zone


@pytest.fixture
def drained_hosts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return give_zone(monkeypatch)


@pytest.mark.usefixtures("drained_hosts")
def test_hosts_are_listed_with_their_states(workspace: CliWorkspace) -> None:
    assert workspace.value("admin", "worker", "list") == json.loads(msgspec.json.encode(ZONE))
    ran = workspace.run("admin", "worker", "list")
    first, headers, *rows = ran.out.splitlines()
    assert first == "zone plant: 3 hosts, 3 waiting tasks"
    assert headers.split() == ["NAME", "HOST", "VERSION", "WORKERS", "RUNNING", "STATE", "SEEN", "STARTED"]
    assert [row.split()[:7] for row in rows] == [
        ["crypto-1[a]:1", "crypto-1", "1.0", "2", "1", "ready", "now"],
        ["twin:1", "twin", "1.0", "2", "1", "draining", "now"],
        ["twin:2", "twin", "1.0", "2", "1", "no", "contact"],
    ]
    assert "warning: The crypto workers on crypto-1 run without the protection seccomp: not permitted." in ran.err


def test_names_of_hosts_cannot_control_the_terminal(workspace: CliWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    host = build_host("\x1b[2Jname", "\x1b[2Jhost")
    give_zone(monkeypatch, msgspec.structs.replace(ZONE, name="\x1b[2Jzone", hosts=(host,), queued=0))
    for arguments in (("list",), ("list", "--json"), ("drain", host.name)):
        ran = workspace.run("admin", "worker", *arguments)
        assert ran.code == 0
        assert "\x1b" not in ran.out + ran.err


def test_workspace_without_zone_has_no_hosts(workspace: CliWorkspace) -> None:
    assert workspace.value("admin", "worker", "list") is None
    assert workspace.run("admin", "worker", "list").out == "The workspace has no crypto zone.\n"
    ran = workspace.run("admin", "worker", "drain", "crypto-1")
    assert (ran.code, "has no crypto zone" in ran.err) == (1, True)


def test_administrator_drains_a_host(workspace: CliWorkspace, drained_hosts: list[str]) -> None:
    ran = workspace.run("admin", "worker", "drain", "twin:1")
    assert (ran.code, ran.out) == (0, "twin:1 takes no more jobs. It exits after its 1 job.\n")
    assert drained_hosts == ["twin:1"]


@pytest.mark.parametrize(("user", "name", "code"), [("developer", "twin:1", 3), ("admin", "unknown", 4)])
def test_drain_fails_without_permission_or_host(
    workspace: CliWorkspace, drained_hosts: list[str], user: str, name: str, code: int
) -> None:
    ran = workspace.run(user, "worker", "drain", name)
    assert ran.code == code
    assert (name != "unknown") or "List crypto hosts with `sealyard worker list`." in ran.err
    assert drained_hosts == []
