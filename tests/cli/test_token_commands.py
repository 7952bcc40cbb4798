"""Test `sealyard token`: the secret is printed once and never listed."""

from __future__ import annotations

import re

from tests.support.cli_runner import CliWorkspace

SECRET = re.compile(r"sy_[0-9a-z]{10}_[0-9a-f]{64}")


def test_create_prints_only_secret(shared_workspace: CliWorkspace) -> None:
    result = shared_workspace.run("developer", "token", "create", "laptop", "--expires", "1h")
    assert result.code == 0
    assert SECRET.fullmatch(result.out.strip())
    assert result.out.strip() not in result.err
    assert "shown only once" in result.err


def test_create_json_includes_token_metadata(workspace: CliWorkspace) -> None:
    issued = workspace.value("developer", "token", "create", "laptop")
    assert SECRET.fullmatch(issued["secret"])
    assert issued["secret"].startswith(f"sy_{issued['token']['id']}_")
    listed = workspace.value("developer", "token", "list")
    assert listed == [{**issued["token"], "storeVerified": False}]


def test_administrator_manages_machine_token(shared_workspace: CliWorkspace) -> None:
    assert shared_workspace.run("admin", "subject", "add", "CLIENT:ci").code == 0
    token = shared_workspace.value("admin", "token", "create", "pipeline", "--subject", "CLIENT:ci")["token"]
    assert (token["subject"], token["isMachine"]) == ("CLIENT:ci", True)
    assert token["id"] in shared_workspace.run("admin", "token", "list").out
    assert token["id"] not in shared_workspace.run("developer", "token", "list").out
    assert shared_workspace.run("developer", "token", "revoke", token["id"]).code == 4
    assert shared_workspace.run("admin", "token", "revoke", token["id"]).code == 0
    listed = shared_workspace.run("admin", "token", "list").out
    assert "pipeline" in listed
    assert "machine" in listed
    assert "revoked" in listed


def test_token_for_other_subject_requires_permission(shared_workspace: CliWorkspace) -> None:
    result = shared_workspace.run("developer", "token", "create", "other", "--subject", "owner")
    assert (result.code, result.out) == (3, "")


def test_excessive_token_lifetime_is_rejected(shared_workspace: CliWorkspace) -> None:
    assert shared_workspace.run("developer", "token", "create", "laptop", "--expires", "366d").code == 2
