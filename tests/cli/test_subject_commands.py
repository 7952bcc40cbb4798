"""Test `sealyard subject disable`, `enable` and `remove`."""

from __future__ import annotations

import pytest

from tests.support.cli_runner import CliWorkspace

LEFT = ("--reason", "left the company")


def states(workspace: CliWorkspace, *options: str) -> dict[str, str]:
    return {each["id"]: each["state"] for each in workspace.value("admin", "subject", "list", *options)}


def test_disabled_subject_is_refused_until_enabled(idle_workspace: CliWorkspace) -> None:
    result = idle_workspace.run("admin", "subject", "disable", "auditor", "--reason", "on leave")
    assert (result.code, result.out) == (
        0,
        "Disabled USER:auditor. Enable it again with `sealyard subject enable`.\n",
    )
    assert states(idle_workspace)["USER:auditor"] == "DISABLED"
    rows = [line.split() for line in idle_workspace.run("admin", "subject", "list").out.splitlines()]
    assert ["USER:auditor", "disabled"] in rows
    refused = idle_workspace.run("auditor", "audit", "list")
    assert refused.code == 3
    assert "USER:auditor is disabled in this workspace." in refused.err
    assert "sealyard subject enable USER:auditor" in refused.err
    value = idle_workspace.value("admin", "subject", "enable", "USER:auditor")
    assert (value["state"], value["stateChangedBy"]) == ("ACTIVE", "USER:admin")
    assert idle_workspace.run("auditor", "audit", "list").code == 0


@pytest.mark.parametrize(
    ("command", "text"),
    [("disable", "confirm effects"), ("enable", "no confirmation"), ("remove", "confirm the removal")],
)
def test_help_describes_confirmation_of_each_command(workspace: CliWorkspace, command: str, text: str) -> None:
    words = " ".join(workspace.run("admin", "subject", command, "--help").out.split())
    assert text in words
    assert ("removal" in words) is (command == "remove")


def test_removal_names_its_effects_and_needs_confirmation(idle_workspace: CliWorkspace) -> None:
    idle_workspace.value("admin", "token", "create", "laptop", "--subject", "USER:auditor")
    result = idle_workspace.run("admin", "subject", "remove", "USER:auditor", *LEFT)
    assert result.code == 2
    assert "This removes USER:auditor, and deletes 1 rule and 1 access token." in result.err
    assert "Confirm it with --yes." in result.err
    assert states(idle_workspace)["USER:auditor"] == "ACTIVE"
    removed = idle_workspace.value("admin", "subject", "remove", "USER:auditor", *LEFT, "--yes")
    assert (removed["state"], removed["stateReason"]) == ("REMOVED", "left the company")
    assert "USER:auditor" not in states(idle_workspace)
    assert states(idle_workspace, "--removed") == {"USER:auditor": "REMOVED"}
    assert all(each["subject"] != "USER:auditor" for each in idle_workspace.value("admin", "acl", "list"))
    assert all(each["subject"] != "USER:auditor" for each in idle_workspace.value("admin", "token", "list"))
    page = idle_workspace.value("admin", "audit", "list", "--resource", "SUBJECT:USER:auditor", "--change", "DELETED")
    assert page["entries"][0]["message"] == "USER:auditor removed: left the company"


def test_added_again_only_explicitly(idle_workspace: CliWorkspace) -> None:
    idle_workspace.value("admin", "subject", "remove", "USER:auditor", *LEFT, "--yes")
    result = idle_workspace.run("admin", "subject", "add", "auditor")
    assert result.code == 1
    assert "USER:auditor was removed." in result.err
    assert "sealyard subject enable USER:auditor" in result.err
    assert idle_workspace.run("admin", "subject", "enable", "auditor", "--reason", "hired again").code == 0
    assert idle_workspace.run("auditor", "audit", "list").code == 3


def test_task_of_removed_requester_shows_the_name(workspace: CliWorkspace) -> None:
    workspace.value("admin", "subject", "remove", "USER:developer", *LEFT, "--yes")
    shown = workspace.run("owner", "show", workspace.waiting).out
    assert "requested by      USER:developer (removed) at " in shown
    assert "warning: USER:developer no longer has permission to use gateway." in shown
    assert "USER:developer (removed)" in workspace.run("owner", "tasks").out


def test_revoked_approval_is_shown(idle_workspace: CliWorkspace) -> None:
    idle_workspace.value("admin", "acl", "add", "auditor", "DEVICE_CONFIG:gateway", "APPROVE")
    idle_workspace.value("admin", "device", "update", "gateway", "--approvals", "2")
    task = idle_workspace.value(
        "developer", "sign", "--device", "gateway", "--file", idle_workspace.folder / "workspace.json"
    )
    idle_workspace.value("auditor", "approve", task["id"])
    result = idle_workspace.run("admin", "subject", "disable", "auditor", *LEFT)
    assert result.code == 2
    assert "1 approval of waiting tasks would no longer count." in result.err
    assert idle_workspace.run("admin", "subject", "disable", "auditor", *LEFT, "--yes").code == 0
    shown = idle_workspace.run("owner", "show", task["id"]).out
    assert "approvals         0 of 2" in shown
    assert "(no longer counts: The approver no longer has permission to approve.)" in shown


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("disable", "auditor"), 2, "--reason"),
        (("disable", "admin", *LEFT), 3, "You cannot disable yourself."),
        (("remove", "unknown", *LEFT), 4, "Subject USER:unknown not found."),
        (("enable", "auditor"), 1, "USER:auditor is already enabled."),
    ],
)
def test_invalid_change_is_rejected(
    shared_workspace: CliWorkspace, arguments: tuple[str, ...], code: int, message: str
) -> None:
    result = shared_workspace.run("admin", "subject", *arguments)
    assert result.code == code
    assert message in result.err
