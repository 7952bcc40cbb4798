"""Test the main workflows using the command line only."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import tempfile
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from sealyard.audit.segment_files import read_notes
from sealyard.client.config.key_holder import KeyHolder
from tests.support.cli_runner import CliWorkspace, run_process, sealyard, value_of
from tests.support.proof_verifier import open_checkpoint, verify_consistency_proof, verify_inclusion_proof


def test_approved_package_extracts_to_original_files(workspace: CliWorkspace, firmware: Path, tmp_path: Path) -> None:
    metadata = [tmp_path / name for name in ("version.json", "notes.txt")]
    for path in metadata:
        path.write_text(f'{{"of": "{path.name}"}}\n')
    task = workspace.package(
        firmware, firmware, "--metadata", *metadata, "--name", "release 1", "--content-type", "bios"
    )
    assert (task["status"], task["kind"], task["name"]) == ("WAITING", "packaging", "release 1")
    assert (task["createdBy"], task["configVersion"], task["contentType"]) == ("USER:developer", 1, "bios")

    approved = workspace.value("owner", "approve", task["id"], "--reason", "reviewed")
    assert approved["status"] == "DONE"
    assert [each["by"] for each in approved["approvals"]] == ["USER:owner"]
    assert {each["status"] for each in approved["subtasks"]} == {"DONE"}

    results = workspace.value("developer", "download", "--all", "--out", tmp_path / "down")
    assert [each["taskId"] for each in results] == [workspace.done, task["id"]]
    container = Path(results[1]["downloaded"]["path"])
    assert container.stat().st_size == approved["result"]["size"]
    certificate, key, out = tmp_path / "gateway.pem", tmp_path / "device.key", tmp_path / "out"
    certificate.write_text(workspace.run("admin", "device", "certificates", "gateway").out)
    workspace.value("admin", "device", "export-key", "gateway", "--out", key, "--yes")
    verified = value_of("verify", container, "--certificate", certificate)
    assert verified["sha256"] == approved["result"]["sha256"]
    extracted = value_of(
        "extract", container, "--certificate", certificate, "--key", key, "--out", out, "--split-metadata", "--strict"
    )
    assert (out / "segment-0.bin").read_bytes() == firmware.read_bytes() == (out / "segment-1.bin").read_bytes()
    assert sorted(Path(each).read_bytes() for each in extracted["files"][2:]) == sorted(
        each.read_bytes() for each in metadata
    )

    hex_key = tmp_path / "digits"
    hex_key.write_text(key.read_bytes().hex() + "\n")
    value_of("extract", container, "--certificate", certificate, "--key", hex_key, "--out", tmp_path / "again")
    assert (tmp_path / "again" / "segment-0.bin").read_bytes() == firmware.read_bytes()

    report = workspace.value("auditor", "audit", "verify")
    assert report["size"] == report["checkpointedSize"] > 10


def test_self_approval_is_denied(shared_workspace: CliWorkspace) -> None:
    result = shared_workspace.run("developer", "approve", shared_workspace.waiting)
    assert result.code == 3
    assert "own" in result.err
    assert shared_workspace.value("developer", "show", shared_workspace.waiting)["status"] == "WAITING"
    page = shared_workspace.value("auditor", "audit", "list", "--change", "REFUSED")
    assert page["entries"][0]["author"] == "USER:developer"


def test_approve_digest_mismatch_is_rejected(shared_workspace: CliWorkspace, firmware: Path) -> None:
    task = shared_workspace.package(firmware)
    assert shared_workspace.run("owner", "approve", task["id"], "--digest", "0" * 64).code != 0
    assert shared_workspace.value("owner", "show", task["id"])["status"] == "WAITING"
    approved = shared_workspace.value("owner", "approve", task["id"], "--digest", task["approvalDigest"])
    assert approved["status"] == "DONE"


def test_show_prints_all_review_data(workspace: CliWorkspace, firmware: Path, tmp_path: Path) -> None:
    metadata = tmp_path / "version.json"
    metadata.write_text('{"version": 7}\n')
    task = workspace.package(firmware, "--metadata", metadata)
    output = workspace.run("owner", "show", task["id"]).out
    expected = (
        *("gateway version 1", "AES256_CBC_PKCS7_PAD", "ECC_NIST_P256", "warning: ", "USER:developer"),
        *("firmware.bin", task["inputs"][0]["sha256"], '{"version": 7}', workspace.done, "You can decide"),
        task["approvalDigest"],
    )
    assert [each for each in expected if each not in output] == []
    assert workspace.value("developer", "show", task["id"])["blockedReason"] != ""


def test_show_prints_changed_fields_since_last_release(
    running_workspace: CliWorkspace, firmware: Path, tmp_path: Path
) -> None:
    metadata = tmp_path / "info.json"
    metadata.write_text('{"version": "0.9.2", "old": 1}')
    first = running_workspace.package(firmware, "--metadata", metadata, "--name", "0.9.2")
    running_workspace.value("owner", "approve", first["id"])
    metadata.write_text('{"version": "0.9.4"}')
    second = running_workspace.package(firmware, "--metadata", metadata)
    output = running_workspace.run("owner", "show", second["id"]).out
    for line in (
        f"since the last released package: {first['id']} 0.9.2, ",
        "  ~ changed info.json",
        '    ~ version: "0.9.2" → "0.9.4"',
        "    - old: 1",
    ):
        assert line in output, line
    (changes,) = running_workspace.value("owner", "show", second["id"])["metadataChanges"]
    assert changes["fields"] == [
        {"path": "version", "old": '"0.9.2"', "new": '"0.9.4"'},
        {"path": "old", "old": "1", "new": None},
    ]


def test_package_warns_about_invalid_metadata_and_repeated_content(
    idle_workspace: CliWorkspace, firmware: Path, tmp_path: Path
) -> None:
    metadata = tmp_path / "bad.json"
    metadata.write_text("{bad")
    result = idle_workspace.run(
        "developer", "package", "--device", "gateway", "--firmware", firmware, firmware, "--metadata", metadata
    )
    assert result.code == 0
    expected_warnings = (
        "warning: bad.json is not valid JSON: line 1, column 2.",
        "warning: Same content in 2 files: firmware.bin, firmware.bin.",
    )
    assert [warning for warning in expected_warnings if warning not in result.out] == []
    misplaced = idle_workspace.run("developer", "package", "--device", "gateway", "--firmware", metadata)
    assert "bad.json looks like metadata; --metadata packs a file as metadata." in misplaced.err
    repeated = idle_workspace.run("developer", "package", "--device", "gateway", "--firmware", firmware)
    assert "warning: Same files and keys as the last released package: finished, " in repeated.out


def test_encryption_runs_without_approval(workspace: CliWorkspace, firmware: Path) -> None:
    scheduled = workspace.value("developer", "encrypt", "--device", "gateway", firmware, "--no-wait")
    assert scheduled["status"] == "SCHEDULED"
    done = workspace.value("developer", "encrypt", "--device", "gateway", firmware)
    assert done["status"] == "DONE"
    tasks = workspace.value("developer", "tasks", "--kind", "encryption", "--mine")
    assert [each["status"] for each in tasks] == ["DONE", "DONE"]


def test_approve_no_wait_leaves_task_scheduled(workspace: CliWorkspace) -> None:
    assert workspace.value("owner", "approve", workspace.waiting, "--no-wait")["status"] == "SCHEDULED"
    workspace.value("admin", "subject", "add", "USER:next")
    assert workspace.value("developer", "show", workspace.waiting)["result"]["state"] == "AVAILABLE"


def test_signing_result_contains_signature(shared_workspace: CliWorkspace, tmp_path: Path) -> None:
    message = tmp_path / "message"
    message.write_text("sign me")
    task = shared_workspace.value("developer", "sign", "--device", "gateway", "--file", message)
    assert (task["status"], task["kind"]) == ("WAITING", "signing")
    done = shared_workspace.value("owner", "approve", task["id"])
    assert base64.b64decode(done["result"]["signature"])[0] == 0x30


def test_same_client_token_returns_existing_task(idle_workspace: CliWorkspace, firmware: Path) -> None:
    first = idle_workspace.package(firmware, "--client-token", "build-17")
    stored = idle_workspace.files()
    assert idle_workspace.package(firmware, "--client-token", "build-17")["id"] == first["id"]
    assert idle_workspace.files() == stored


@pytest.mark.parametrize(
    ("action", "profile"), [("reject", "owner"), ("withdraw", "developer"), ("cancel", "developer")]
)
def test_waiting_task_can_be_cancelled(workspace: CliWorkspace, action: str, profile: str) -> None:
    reason = () if action == "cancel" else ("--reason", "wrong file")
    task = workspace.value(profile, action, workspace.waiting, *reason)
    assert task["status"] == "CANCELLED"
    assert not any("input" in each for each in workspace.files())


def test_cancel_does_not_start_scheduled_task(workspace: CliWorkspace, firmware: Path) -> None:
    task = workspace.value("developer", "encrypt", "--device", "gateway", firmware, "--no-wait")
    assert workspace.value("developer", "cancel", task["id"])["status"] == "CANCELLED"


def test_demo_completes_and_removes_files(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "scratch"
    folder.mkdir()
    before = sorted(home.rglob("*"))
    result = run_process("demo", "--headless", env={**os.environ, "TMPDIR": str(folder)})
    assert result.code == 0, result
    steps = [line.split()[0] for line in result.out.splitlines()]
    assert steps == [
        *("created", "rejected", "approved", "done", "downloaded", "exported", "verified"),
        *("compared", "compared", "compared", "audit", "All"),
    ]
    assert list(folder.iterdir()) == []
    assert sorted(home.rglob("*")) == before


def test_demo_keep_preserves_workspace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    value = value_of("demo", "--headless", "--keep")
    workspace = next(tmp_path.glob("sealyard-demo-*")) / "workspace"
    monkeypatch.delenv("SEALYARD_PASSPHRASE")
    assert [each["id"] for each in value_of("--workspace", workspace, "tasks")] == [value["task"]["id"]]
    assert value_of("--workspace", workspace, "--profile", "auditor", "audit", "verify")["size"] > 0


def test_application_receives_workspace_and_profile(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environments = []
    key_holders: list[KeyHolder | None] = []

    def main(key_holder: KeyHolder | None) -> int:
        environments.append(dict(os.environ))
        key_holders.append(key_holder)
        return 0

    monkeypatch.setattr("sealyard_tui.launcher.main", main)
    monkeypatch.setattr("sealyard.cli.app_launcher.require_terminal", lambda: None)
    monkeypatch.setenv("SEALYARD_WORKSPACE", "")
    monkeypatch.setenv("SEALYARD_PROFILE", "")
    monkeypatch.setenv("SEALYARD_PASSPHRASE", "")
    assert sealyard("--workspace", home, "--profile", "anna").code == 0
    assert sealyard("demo").code == 0
    assert (environments[0]["SEALYARD_WORKSPACE"], environments[0]["SEALYARD_PROFILE"]) == (str(home), "anna")
    assert environments[1]["SEALYARD_PROFILE"] == "developer"
    assert [key_holder is not None for key_holder in key_holders] == [False, True]


def test_audit_show_prints_old_and_new_values(idle_workspace: CliWorkspace) -> None:
    idle_workspace.value("admin", "policy", "set", "--approval-timeout", "1h")
    idle_workspace.value("admin", "policy", "set", "--approval-timeout", "2h")
    seq = idle_workspace.value("auditor", "audit", "list", "--type", "POLICY")["entries"][0]["seq"]
    value = idle_workspace.value("auditor", "audit", "show", seq)
    assert value["changes"] == [{"path": "approvalTimeout", "old": 3600, "new": 7200}]
    lines = idle_workspace.run("auditor", "audit", "show", seq).out.splitlines()
    assert "  approvalTimeout: 3600 → 7200" in lines
    assert "  approvalTimeout: 7200" in lines
    for number in (-1, seq + 1000):
        assert idle_workspace.run("auditor", "audit", "show", "--", number).code == 4


def test_times_are_in_the_time_zone_of_the_settings(workspace: CliWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALYARD_TIME_ZONE", "Asia/Tokyo")
    assert " JST" in workspace.run("auditor", "audit", "list").out
    assert " JST" in workspace.run("developer", "show", workspace.done).out
    newest = workspace.value("auditor", "audit", "list")["entries"][0]
    tokyo_time = (
        f"{datetime.fromisoformat(newest['timestamp']).astimezone(ZoneInfo('Asia/Tokyo')):%Y-%m-%dT%H:%M:%S.%f}"
    )
    since = workspace.value("auditor", "audit", "list", "--since", tokyo_time)["entries"]
    assert newest["seq"] in {entry["seq"] for entry in since}
    assert len(since) < 10
    monkeypatch.setenv("SEALYARD_TIME_ZONE", "Mars/Olympus")
    result = workspace.run("auditor", "audit", "list")
    assert (result.code, " JST" in result.out) == (0, False)
    assert "Unknown time zone 'Mars/Olympus'" in result.err


def test_audit_export_contains_all_entries(workspace: CliWorkspace, tmp_path: Path) -> None:
    workspace.value("auditor", "audit", "export", "--format", "jsonl", "--out", tmp_path / "log.jsonl")
    entries = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [each["seq"] for each in entries] == list(range(len(entries)))
    assert workspace.run("auditor", "audit", "export", "--format", "csv").out.count("\n") == len(entries) + 1


def test_proofs_are_verified_without_the_log(workspace: CliWorkspace, tmp_path: Path) -> None:
    key, proof = tmp_path / "audit-key.pem", tmp_path / "entry.tlog-proof"
    assert workspace.run("auditor", "audit", "key", "--out", key).code == 0
    described = workspace.value("auditor", "audit", "prove", "2", "--out", proof)
    assert (described["kind"], described["seq"], described["path"]) == ("inclusion", 2, str(proof))
    assert json.loads(verify_inclusion_proof(proof.read_text(), key.read_bytes()))["seq"] == 2
    assert workspace.run("auditor", "audit", "prove", "2").out == proof.read_text() == described["proof"]
    report = value_of("audit", "verify", "--proof", proof, "--key", key)
    assert {**report["entry"], "storeVerified": False} == workspace.value("auditor", "audit", "show", "2")
    assert report["checkpoint"]["size"] == described["size"]

    notes = list(read_notes(workspace.folder / "audit"))
    (tmp_path / "note").write_text(notes[1])
    extension = tmp_path / "extension.txt"
    old_size, _ = open_checkpoint(notes[1], key.read_bytes())
    workspace.run("auditor", "audit", "prove", "--from", old_size, "--out", extension)
    verify_consistency_proof(extension.read_text(), notes[1], key.read_bytes())
    arguments = ("audit", "verify", "--proof", extension, "--key", key)
    report = value_of(*arguments, "--checkpoint", tmp_path / "note")
    assert report["oldCheckpoint"]["size"] == old_size
    assert f"extends the kept one of size {old_size}" in sealyard(*arguments, "--checkpoint", tmp_path / "note").out
    assert sealyard(*arguments).code == 2

    proof.write_text(proof.read_text().replace("index 2", "index 3"))
    failure = sealyard("audit", "verify", "--proof", proof, "--key", key)
    assert (failure.code, "for entry 3, but contains entry 2" in failure.err) == (1, True)


def test_verification_states_what_was_compared(workspace: CliWorkspace, tmp_path: Path) -> None:
    assert "Nothing outside the workspace folder was compared; pass --checkpoint FILE" in (
        workspace.run("auditor", "audit", "verify").out
    )
    assert workspace.value("auditor", "audit", "verify")["externalCheckpointSize"] is None
    note = tmp_path / "kept.txt"
    note.write_text(list(read_notes(workspace.folder / "audit"))[-1])
    size = int(note.read_text().splitlines()[1])
    compared = workspace.run("auditor", "audit", "verify", "--checkpoint", note)
    assert f"Compared with the checkpoint of size {size} from {note}" in compared.out
    assert workspace.value("auditor", "audit", "verify", "--checkpoint", note)["externalCheckpointSize"] == size


def test_proof_is_verified_with_the_key_of_the_workspace(workspace: CliWorkspace, tmp_path: Path) -> None:
    proof = tmp_path / "entry.tlog-proof"
    workspace.run("auditor", "audit", "prove", "0", "--out", proof)
    shutil.rmtree(workspace.folder / "store")
    verified = workspace.run("auditor", "audit", "verify", "--proof", proof)
    assert (verified.code, "from the workspace folder" in verified.out) == (0, True)


@pytest.mark.parametrize("arguments", [(), ("1", "--from", "1"), ("1", "--to", "2"), ("--to", "2")])
def test_proof_request_is_an_entry_or_two_sizes(workspace: CliWorkspace, arguments: tuple[str, ...]) -> None:
    assert workspace.run("auditor", "audit", "prove", *arguments).code == 2


def test_json_value_describes_downloaded_file(shared_workspace: CliWorkspace, firmware: Path, tmp_path: Path) -> None:
    encrypted = shared_workspace.value(
        "developer", "encrypt", "--device", "gateway", firmware, "--out", tmp_path / "one"
    )
    waited = shared_workspace.value("developer", "wait", shared_workspace.done, "--out", tmp_path / "two")
    (downloaded,) = shared_workspace.value("developer", "download", encrypted["id"], "--out", tmp_path / "three")
    for value in (encrypted, waited, downloaded):
        content = Path(value["downloaded"]["path"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == value["downloaded"]["sha256"]
        assert value["downloadUrl"] is None
    task = shared_workspace.package(firmware, "--out", tmp_path / "four")
    assert (task["status"], task["downloaded"]) == ("WAITING", None)
