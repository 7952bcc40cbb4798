"""The commands do on a server what they do on this machine."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sealyard.keys import file_keyring
from sealyard.keys.file_keyring import Argon2Params
from tests.support.cli_runner import FIRMWARE, PEOPLE, CliWorkspace, sealyard, start_process, value_of, wait_until
from tests.support.served_workspace import ServedWorkspace


@pytest.fixture
def served(house: CliWorkspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServedWorkspace]:
    """Everybody is logged in, under a profile of the person's name."""
    monkeypatch.setattr(file_keyring, "DEFAULT_COST", Argon2Params(iterations=1, lanes=1, memory_kib=8))
    monkeypatch.delenv("SEALYARD_TOKEN", raising=False)
    made = ServedWorkspace(house.folder)
    try:
        made.start()
        for name in PEOPLE:
            monkeypatch.setattr("sys.stdin", io.StringIO(made.token(f"USER:{name}")))
            value_of("login", made.url, "--name", name)
        yield made
    finally:
        made.close()


def _files(folder: Path) -> list[Path]:
    return [each for each in folder.iterdir() if each.is_file()]


def _as(profile: str, *arguments: object) -> Any:
    return value_of("--profile", profile, *arguments)


def test_a_package_is_asked_for_approved_and_fetched(served: ServedWorkspace, firmware: Path, tmp_path: Path) -> None:
    made = _as("developer", "package", "--device", "gateway", "--firmware", firmware, "--name", "over the wire")
    assert made["status"] == "WAITING"
    assert made["id"] in [each["id"] for each in _as("owner", "tasks", "--awaiting-approval")]
    assert _as("owner", "show", made["id"])["blockedReason"] == ""
    approved = _as("owner", "approve", made["id"], "--digest", made["approvalDigest"])
    assert approved["status"] == "DONE"
    fetched = _as("developer", "download", made["id"], "--out", tmp_path / "out")
    container = Path(fetched[0]["downloaded"]["path"])
    assert fetched[0]["downloaded"]["checked"] == "signature"

    certificate, key = tmp_path / "signer.pem", tmp_path / "device.key"
    certificate.write_text(_as("developer", "device", "certificates", "gateway")[0]["certificate"])
    _as("admin", "device", "export-key", "gateway", "--out", key, "--yes")
    opened = value_of("extract", container, "--certificate", certificate, "--key", key, "--out", tmp_path / "opened")
    assert opened
    assert (tmp_path / "opened" / "segment-0.bin").read_bytes() == FIRMWARE


def test_an_encryption_is_seen_through_and_fetched(served: ServedWorkspace, firmware: Path, tmp_path: Path) -> None:
    done = _as("developer", "encrypt", firmware, "--device", "gateway", "--out", tmp_path / "out")
    assert done["status"] == "DONE"
    assert [each.stat().st_size for each in _files(tmp_path / "out")] == [done["result"]["size"]]
    left = _as("developer", "encrypt", firmware, "--device", "gateway", "--no-wait")
    assert _as("developer", "wait", left["id"])["status"] == "DONE"


def test_decisions_of_all_kinds(served: ServedWorkspace, house: CliWorkspace, firmware: Path) -> None:
    assert sealyard("--profile", "developer", "approve", house.waiting).code == 3
    asking = ("package", "--device", "gateway", "--firmware", firmware)
    first, second = _as("developer", *asking), _as("developer", *asking)
    assert _as("owner", "reject", first["id"], "--reason", "too old")["status"] == "CANCELLED"
    assert _as("developer", "withdraw", second["id"], "--reason", "mine")["status"] == "CANCELLED"
    assert _as("developer", "cancel", house.waiting)["status"] == "CANCELLED"
    assert _as("developer", "renew", house.done)["result"]["state"] == "AVAILABLE"


def test_the_log_is_looked_at_checked_and_taken_away(served: ServedWorkspace, tmp_path: Path) -> None:
    assert _as("auditor", "audit", "list", "--limit", "2")["next"] is not None
    assert _as("auditor", "audit", "verify")["size"] > 10
    _as("auditor", "audit", "export", "--format", "csv", "--out", tmp_path / "log.csv")
    assert (tmp_path / "log.csv").read_text().startswith('"seq"')
    assert sealyard("--profile", "developer", "audit", "list").code == 3


def test_people_rules_and_the_policy_are_administered(served: ServedWorkspace) -> None:
    assert _as("admin", "subject", "add", "anna")["id"] == "USER:anna"
    rule = _as("admin", "acl", "add", "USER:anna", "RESOURCE_TYPE:KEY", "VIEW")
    assert _as("admin", "acl", "remove", rule["id"]) == {"removed": rule["id"]}
    assert _as("admin", "policy", "set", "--approval", "none")["requiresApproval"] == []
    assert _as("developer", "device", "show", "gateway")["name"] == "gateway"
    assert sealyard("--profile", "owner", "subject", "list").code == 3


def test_an_account_of_an_issuer_is_let_go_of(served: ServedWorkspace) -> None:
    served.sign_in("USER:auditor", "a1")
    assert sealyard("--profile", "developer", "subject", "unlink", "auditor").code == 3
    assert _as("admin", "subject", "unlink", "auditor") == {"unlinked": "USER:auditor"}
    assert sealyard("--profile", "admin", "subject", "unlink", "auditor").code == 4
    served.sign_in("USER:auditor", "a2")


def test_waiting_for_a_package_outlasts_restarts_of_the_server(
    served: ServedWorkspace, firmware: Path, tmp_path: Path
) -> None:
    asking = ("package", "--device", "gateway", "--firmware", firmware, "--name", "patient", "--wait")
    with start_process("--profile", "developer", *asking, "--out", tmp_path / "out", "--json") as process:
        wait_until(lambda: _waiting("patient") is not None)
        served.stop()
        served.start()
        found = _waiting("patient")
        assert found is not None
        served.stop()
        served.start()
        _as("owner", "approve", found["id"], "--no-wait")
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    assert json.loads(out)["status"] == "DONE"
    assert len(_files(tmp_path / "out")) == 1


def _waiting(name: str) -> Any:
    listed = _as("owner", "tasks", "--awaiting-approval", "--search", name)
    return listed[0] if listed else None


@pytest.mark.parametrize("on_a_server", [True, False])
def test_wait_ends_as_the_task_did(
    on_a_server: bool, house: CliWorkspace, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if on_a_server:
        request.getfixturevalue("served")
    options = ("--profile", "developer") if on_a_server else ("--workspace", house.folder, "--profile", "developer")
    assert value_of(*options, "wait", house.done, "--out", tmp_path / "out")["status"] == "DONE"
    assert len(_files(tmp_path / "out")) == 1
    waiting = sealyard(*options, "wait", house.waiting, "--timeout", "0.2")
    assert waiting.code == 5
    assert house.waiting in waiting.out
