"""The main job by the command line alone."""

from __future__ import annotations

import base64
import json
import os
import tempfile
from pathlib import Path

import pytest

from tests.support.cli_runner import CliWorkspace, run_process, sealyard, value_of


def test_what_goes_in_comes_out_of_an_approved_container(house: CliWorkspace, firmware: Path, tmp_path: Path) -> None:
    metadata = [tmp_path / name for name in ("version.json", "notes.txt")]
    for path in metadata:
        path.write_text(f'{{"of": "{path.name}"}}\n')
    asked = house.package(firmware, firmware, "--metadata", *metadata, "--name", "release 1", "--content-type", "bios")
    assert (asked["status"], asked["kind"], asked["name"]) == ("WAITING", "packaging", "release 1")
    assert (asked["createdBy"], asked["configVersion"], asked["contentType"]) == ("USER:developer", 1, "bios")

    done = house.value("owner", "approve", asked["id"], "--reason", "looked at it")
    assert done["status"] == "DONE"
    assert [each["by"] for each in done["approvals"]] == ["USER:owner"]
    assert {each["status"] for each in done["subtasks"]} == {"DONE"}

    outcomes = house.value("developer", "download", "--all", "--out", tmp_path / "down")
    assert [each["taskId"] for each in outcomes] == [house.done, asked["id"]]
    container = Path(outcomes[1]["downloaded"]["path"])
    assert container.stat().st_size == done["result"]["size"]
    certificate, key, out = tmp_path / "gateway.pem", tmp_path / "device.key", tmp_path / "out"
    certificate.write_text(house.run("admin", "device", "certificates", "gateway").out)
    house.value("admin", "device", "export-key", "gateway", "--out", key, "--yes")
    verified = value_of("verify", container, "--certificate", certificate)
    assert verified["sha256"] == done["result"]["sha256"]
    opened = value_of(
        "extract", container, "--certificate", certificate, "--key", key, "--out", out, "--split-metadata", "--strict"
    )
    assert (out / "segment-0.bin").read_bytes() == firmware.read_bytes() == (out / "segment-1.bin").read_bytes()
    assert sorted(Path(each).read_bytes() for each in opened["files"][2:]) == sorted(
        each.read_bytes() for each in metadata
    )

    digits = tmp_path / "digits"
    digits.write_text(key.read_bytes().hex() + "\n")
    value_of("extract", container, "--certificate", certificate, "--key", digits, "--out", tmp_path / "again")
    assert (tmp_path / "again" / "segment-0.bin").read_bytes() == firmware.read_bytes()

    report = house.value("auditor", "audit", "verify")
    assert report["size"] == report["checkpointedSize"] > 10


def test_nobody_approves_a_task_of_their_own(house: CliWorkspace) -> None:
    refused = house.run("developer", "approve", house.waiting)
    assert refused.code == 3
    assert "own" in refused.err
    assert house.value("developer", "show", house.waiting)["status"] == "WAITING"
    assert house.value("auditor", "audit", "list", "--change", "REFUSED")["entries"][0]["author"] == "USER:developer"


def test_an_approval_can_be_bound_to_the_digest_that_was_seen(house: CliWorkspace) -> None:
    digest = house.value("developer", "show", house.waiting)["approvalDigest"]
    assert house.run("owner", "approve", house.waiting, "--digest", "0" * 64).code != 0
    assert house.value("owner", "show", house.waiting)["status"] == "WAITING"
    assert house.value("owner", "approve", house.waiting, "--digest", digest)["status"] == "DONE"


def test_an_approver_sees_all_there_is_to_see(house: CliWorkspace, firmware: Path, tmp_path: Path) -> None:
    metadata = tmp_path / "version.json"
    metadata.write_text('{"version": 7}\n')
    asked = house.package(firmware, "--metadata", metadata)
    shown = house.run("owner", "show", asked["id"]).out
    expected = (
        *("gateway version 1", "AES256_CBC_PKCS7_PAD", "ECC_NIST_P256", "warning: ", "USER:developer"),
        *("firmware.bin", asked["inputs"][0]["sha256"], '{"version": 7}', house.done, "You can decide"),
        asked["approvalDigest"],
    )
    assert [each for each in expected if each not in shown] == []
    assert house.value("developer", "show", asked["id"])["blockedReason"] != ""


def test_an_encryption_needs_no_approval_and_can_be_left_to_others(house: CliWorkspace, firmware: Path) -> None:
    left = house.value("developer", "encrypt", "--device", "gateway", firmware, "--no-wait")
    assert left["status"] == "SCHEDULED"
    done = house.value("developer", "encrypt", "--device", "gateway", firmware)
    assert done["status"] == "DONE"
    tasks = house.value("developer", "tasks", "--kind", "encryption", "--mine")
    assert [each["status"] for each in tasks] == ["DONE", "DONE"]


def test_an_approval_can_leave_the_work_to_others(house: CliWorkspace) -> None:
    assert house.value("owner", "approve", house.waiting, "--no-wait")["status"] == "SCHEDULED"
    house.value("admin", "subject", "add", "USER:next")
    assert house.value("developer", "show", house.waiting)["result"]["state"] == "AVAILABLE"


def test_a_signature_is_a_string_in_the_task(house: CliWorkspace, tmp_path: Path) -> None:
    message = tmp_path / "message"
    message.write_text("sign me")
    asked = house.value("developer", "sign", "--device", "gateway", "--file", message)
    assert (asked["status"], asked["kind"]) == ("WAITING", "signing")
    done = house.value("owner", "approve", asked["id"])
    assert base64.b64decode(done["result"]["signature"])[0] == 0x30


def test_a_client_token_gives_the_same_task_and_keeps_no_second_copy(house: CliWorkspace, firmware: Path) -> None:
    first = house.package(firmware, "--client-token", "build-17")
    stored = house.files()
    assert house.package(firmware, "--client-token", "build-17")["id"] == first["id"]
    assert house.files() == stored


@pytest.mark.parametrize(("act", "who"), [("reject", "owner"), ("withdraw", "developer"), ("cancel", "developer")])
def test_a_task_can_be_ended_before_it_runs(house: CliWorkspace, act: str, who: str) -> None:
    reason = () if act == "cancel" else ("--reason", "wrong file")
    ended = house.value(who, act, house.waiting, *reason)
    assert ended["status"] == "CANCELLED"
    assert not any("input" in each for each in house.files())


def test_a_scheduled_task_is_not_started_by_the_one_who_cancels_it(house: CliWorkspace, firmware: Path) -> None:
    left = house.value("developer", "encrypt", "--device", "gateway", firmware, "--no-wait")
    assert house.value("developer", "cancel", left["id"])["status"] == "CANCELLED"


def test_demo_shows_the_whole_line_and_leaves_nothing(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "scratch"
    folder.mkdir()
    before = sorted(home.rglob("*"))
    ran = run_process("demo", "--headless", env={**os.environ, "TMPDIR": str(folder)})
    assert ran.code == 0, ran
    words = [line.split()[0] for line in ran.out.splitlines()]
    assert words == [
        *("created", "rejected", "approved", "done", "downloaded", "exported", "verified"),
        *("compared", "compared", "compared", "audit", "All"),
    ]
    assert list(folder.iterdir()) == []
    assert sorted(home.rglob("*")) == before


def test_demo_keeps_its_workspace_when_asked_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    value = value_of("demo", "--headless", "--keep")
    workspace = next(tmp_path.glob("sealyard-demo-*")) / "workspace"
    monkeypatch.delenv("SEALYARD_PASSPHRASE")
    assert [each["id"] for each in value_of("--workspace", workspace, "tasks")] == [value["task"]["id"]]
    assert value_of("--workspace", workspace, "--profile", "auditor", "audit", "verify")["size"] > 0


def test_the_application_is_given_workspace_and_profile(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    class Found:
        def load(self) -> object:
            def main() -> int:
                seen.append(dict(os.environ))
                return 0

            return main

    monkeypatch.setattr("sealyard.cli.app_launcher.entry_points", lambda group: [Found()])
    monkeypatch.setattr("sealyard.cli.app_launcher.require_terminal", lambda: None)
    monkeypatch.setenv("SEALYARD_WORKSPACE", "")
    monkeypatch.setenv("SEALYARD_PROFILE", "")
    monkeypatch.setenv("SEALYARD_PASSPHRASE", "")
    assert sealyard("--workspace", home, "--profile", "anna").code == 0
    assert sealyard("demo").code == 0
    assert (seen[0]["SEALYARD_WORKSPACE"], seen[0]["SEALYARD_PROFILE"]) == (str(home), "anna")
    assert seen[1]["SEALYARD_PROFILE"] == "developer"
    assert seen[1]["SEALYARD_PASSPHRASE"] != ""


def test_an_exported_log_is_read_by_a_stranger(house: CliWorkspace, tmp_path: Path) -> None:
    house.value("auditor", "audit", "export", "--format", "jsonl", "--out", tmp_path / "log.jsonl")
    entries = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [each["seq"] for each in entries] == list(range(len(entries)))
    assert house.run("auditor", "audit", "export", "--format", "csv").out.count("\n") == len(entries) + 1
