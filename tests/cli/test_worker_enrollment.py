"""Test the enrollment of crypto hosts on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sealyard.agent.host_folder import load_host
from sealyard.engine.workspace import load_metadata, save_metadata
from sealyard.model.workspace import WorkspacePaths
from sealyard.model.zone_codes import (
    compute_fingerprint,
    encode_enrollment,
    encode_zone_keys,
    parse_enrollment,
    parse_zone_keys,
)
from sealyard.model.zones import Enrollment, ZonePublicKeys, ZoneSettings
from tests.support.cli_runner import PASSPHRASE, CliResult, CliWorkspace, sealyard, value_of

BUS = "service=sealyard-bus"
ENROLLMENT = Enrollment(
    workspace_id="w1",
    workspace_name="fac\x1b[2Jtory",
    zone="plant",
    order_key=Ed25519PrivateKey.generate().public_key().public_bytes_raw(),
)


@pytest.fixture(autouse=True)
def passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALYARD_PASSPHRASE", PASSPHRASE)
    monkeypatch.setenv("SEALYARD_ANCHORS", "none")


@pytest.fixture
def enrollment_file(tmp_path: Path) -> Path:
    path = tmp_path / "enrollment.json"
    path.write_bytes(encode_enrollment(ENROLLMENT))
    return path


def enroll(folder: Path, enrollment_file: Path, *options: object) -> CliResult:
    return sealyard("worker", "enroll", folder, "--enrollment", enrollment_file, "--bus", BUS, *options)


def test_enrollment_creates_a_host_and_prints_its_code(tmp_path: Path, enrollment_file: Path) -> None:
    folder = tmp_path / "host"
    ran = enroll(folder, enrollment_file)
    assert (ran.code, ran.err) == (0, "")
    assert "\x1b" not in ran.out
    assert load_host(folder).enrollment == ENROLLMENT
    [admit, start] = ran.out.splitlines()[-2:]
    code = admit.rpartition("sealyard worker admit ")[2]
    assert start == f"Start the host: sealyard worker run {folder}"
    assert f"fingerprint {compute_fingerprint(parse_zone_keys(code))}" in ran.out
    assert f"fingerprint {compute_fingerprint(ENROLLMENT)}, must be that of" in ran.out


def test_second_host_has_the_keys_of_the_first(tmp_path: Path, enrollment_file: Path) -> None:
    first = json.loads(enroll(tmp_path / "first", enrollment_file, "--json").out)
    keys = tmp_path / "first" / "keys"
    second = value_of(
        *("worker", "enroll", tmp_path / "second", "--enrollment", enrollment_file, "--bus", BUS, "--keys", keys)
    )
    assert second["code"] == first["code"]
    assert second["folder"] == str(tmp_path / "second")
    assert (second["fingerprint"], second["enrollmentFingerprint"]) == (
        first["fingerprint"],
        compute_fingerprint(ENROLLMENT),
    )
    ran = enroll(tmp_path / "third", enrollment_file, "--keys", keys)
    assert (ran.code, "worker admit" in ran.out) == (0, False)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", encode_enrollment(ENROLLMENT)[:-20]])
def test_damaged_enrollment_creates_nothing(tmp_path: Path, enrollment_file: Path, content: bytes) -> None:
    enrollment_file.write_bytes(content)
    ran = enroll(tmp_path / "host", enrollment_file)
    assert ran.code == 1
    assert "is not an enrollment" in ran.err
    assert not (tmp_path / "host").exists()


def test_unusable_arguments_create_nothing(tmp_path: Path, enrollment_file: Path) -> None:
    folder = tmp_path / "host"
    password = sealyard(
        *("worker", "enroll", folder, "--enrollment", enrollment_file, "--bus", "host=db password=canary")
    )
    assert (password.code, "canary" in password.err) == (2, False)
    assert enroll(folder, tmp_path / "missing.json").code == 1
    assert enroll(folder, enrollment_file, "--keys", tmp_path).code == 1
    assert not folder.exists()
    folder.mkdir()
    (folder / "file").touch()
    assert "is not an empty folder" in enroll(folder, enrollment_file).err


def test_admission_shows_the_fingerprint_first(tmp_path: Path, enrollment_file: Path) -> None:
    wrong = sealyard("worker", "admit", "zone1-abc")
    assert (wrong.code, "incomplete or was changed" in wrong.err) == (1, True)
    enrolled = json.loads(enroll(tmp_path / "host", enrollment_file, "--json").out)
    ran = sealyard("worker", "admit", enrolled["code"])
    assert ran.code == 2
    assert f"The fingerprint of the zone's keys is {enrolled['fingerprint']}." in ran.err
    assert "Confirm it with --yes." in ran.err


# ---- on the server


@pytest.fixture
def zone_workspace(workspace: CliWorkspace) -> CliWorkspace:
    """Return a workspace with a zone that is not admitted."""
    paths = WorkspacePaths(workspace.folder)
    metadata = msgspec.structs.replace(load_metadata(paths), zone=ZoneSettings(name="plant", bus=BUS))
    save_metadata(paths, metadata)
    return workspace


def test_invitation_writes_a_new_file(zone_workspace: CliWorkspace, tmp_path: Path) -> None:
    path = tmp_path / "enrollment.json"
    invited = zone_workspace.value("admin", "worker", "invite", "--out", path)
    enrollment = parse_enrollment(path.read_bytes())
    assert (enrollment.zone, enrollment.workspace_name) == ("plant", "factory")
    assert invited == {"path": str(path), "zone": "plant", "fingerprint": compute_fingerprint(enrollment)}
    again = zone_workspace.run("admin", "worker", "invite", "-o", path)
    assert (again.code, "exists already" in again.err) == (1, True)
    printed = zone_workspace.run("admin", "worker", "invite", "-o", "-")
    assert printed.out == path.read_text()
    assert f"The fingerprint of the enrollment is {invited['fingerprint']}." in printed.err


def test_workspace_without_zone_invites_and_admits_none(workspace: CliWorkspace, tmp_path: Path) -> None:
    path = tmp_path / "enrollment.json"
    code = encode_zone_keys(ZonePublicKeys(report_key=bytes(32), sealing_key=bytes(32)))
    for arguments in (("invite", "-o", path), ("admit", code, "--yes")):
        ran = workspace.run("admin", "worker", *arguments)
        assert (ran.code, "has no crypto zone" in ran.err) == (1, True)
    assert not path.exists()
