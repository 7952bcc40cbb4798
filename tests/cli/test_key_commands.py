"""Test the commands that manage keys, device configurations and ACL rules."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from tests.support.cli_runner import CliWorkspace
from tests.support.key_files import certificate_for, write_pem


def test_imported_key_is_usable_in_configuration(workspace: CliWorkspace, tmp_path: Path) -> None:
    pem, password, raw = tmp_path / "key.pem", tmp_path / "password", tmp_path / "key.bin"
    key = generate_private_key(SECP256R1())
    pem.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"swordfish")))
    password.write_text("swordfish\n")
    raw.write_bytes(bytes(range(32)))

    result = workspace.run("admin", "key", "import", "local:bought", "--file", pem, "--kind", "EC_P256")
    assert result.code == 1
    assert "password" in result.err
    arguments = ("key", "import", "local:bought", "--file", pem, "--kind", "EC_P256", "--purpose", "package")
    info = workspace.value("admin", *arguments, "--password-file", password)
    assert (info["uri"], info["purpose"], info["versions"][0]["origin"]) == ("local:bought", "package", "imported")
    workspace.value("admin", "key", "import", "local:content", "--file", raw, "--kind", "AES_256")

    device = workspace.value(
        *("admin", "device", "create", "bought", "--encryption", "AES256_CBC_PKCS7_PAD", "--signing", "SHA256_ECDSA"),
        *("--encryption-key", "local:content", "--signing-key", "local:bought", "--use", "USER:developer"),
        *("--approve", "USER:owner", "--link-ttl", "90s", "--retention", "2d"),
    )
    assert (device["linkTtlSeconds"], device["retentionSeconds"]) == (90, 172800)
    exported = tmp_path / "exported"
    workspace.value("admin", "device", "export-key", "bought", "--out", exported, "--yes")
    assert exported.read_bytes() == raw.read_bytes()


@pytest.mark.parametrize(
    ("start", "days", "words"),
    [(-10, 9, "expired on"), (-10, 20, "expires on"), (1, 365, "is not valid before")],
)
def test_certificate_is_shown_before_and_with_approval(
    workspace: CliWorkspace, tmp_path: Path, firmware: Path, start: int, days: int, words: str
) -> None:
    key = generate_private_key(SECP256R1())
    certificate = certificate_for(key, days=days, start=datetime.now(UTC) + timedelta(days=start))
    pem = write_pem(tmp_path / "key.pem", key)
    pem.write_bytes(certificate.public_bytes(Encoding.PEM) + pem.read_bytes())
    warning = f"warning: The certificate of local:bought version 1 {words} "

    imported = workspace.run("admin", "key", "import", "local:bought", "--file", pem, "--kind", "EC_P256")
    assert warning in imported.err
    assert "certificate expires" in imported.out
    arguments = ("--encryption", "AES256_CBC_PKCS7_PAD", "--signing", "ECC_NIST_P256", "--signing-key", "local:bought")
    people = ("--use", "USER:developer", "--approve", "USER:owner")
    created = workspace.run("admin", "device", "create", "bought", *arguments, *people)
    assert warning in created.out
    assert warning in workspace.run("developer", "device", "show", "bought").out
    assert warning in workspace.run("admin", "key", "list").err

    task = workspace.value("developer", "package", "--device", "bought", "--firmware", firmware)["id"]
    assert warning in workspace.run("owner", "show", task).out
    assert warning.removeprefix("warning: ") in workspace.value("owner", "show", task)["warnings"][0]
    approved = workspace.run("owner", "approve", task)
    assert approved.code == 0
    assert warning in approved.err
    assert warning in approved.out
    assert ("Import a renewed certificate." in approved.out) is ("expire" in words)
    assert "self-signed certificate" in workspace.run("admin", "key", "rotate", "local:bought").err


def test_import_of_ambiguous_file_lists_its_keys(workspace: CliWorkspace, tmp_path: Path) -> None:
    pem = tmp_path / "keys.pem"
    keys = [write_pem(tmp_path / "key", generate_private_key(SECP256R1())).read_bytes() for _ in range(2)]
    pem.write_bytes(b"".join(keys))
    result = workspace.run("admin", "key", "import", "local:bought", "--file", pem, "--kind", "EC_P256")
    assert result.code == 1
    assert "The file contains 2 keys of type EC_P256: " in result.err
    assert "Give the certificate of the key to import" in result.err


def test_key_rotation_creates_configuration_version(workspace: CliWorkspace) -> None:
    rotated = workspace.value("admin", "key", "rotate", "local:gateway-signing")
    assert [each["version"] for each in rotated["versions"]] == [1, 2]
    assert workspace.value("developer", "device", "show", "gateway")["version"] == 2
    assert workspace.value("developer", "device", "show", "gateway", "--version", "1")["signingKeys"][0]["version"] == 1
    assert workspace.value("owner", "show", workspace.waiting)["newerVersion"] == 2
    assert workspace.run("admin", "key", "rotate", "local:gateway-signing").err == ""


def test_removing_last_approver_requires_confirmation(workspace: CliWorkspace) -> None:
    rules = workspace.value("admin", "acl", "list")
    rule = next(each["id"] for each in rules if (each["subject"], each["action"]) == ("USER:owner", "APPROVE"))
    assert workspace.run("admin", "acl", "remove", rule).code == 2
    assert workspace.run("admin", "acl", "remove", rule, "--yes").code == 0
    assert workspace.value("developer", "show", workspace.waiting)["warning"] != ""


def test_permanent_rule_cannot_be_removed(workspace: CliWorkspace) -> None:
    rule = next(each["id"] for each in workspace.value("admin", "acl", "list") if each["permanent"])
    assert workspace.run("admin", "acl", "remove", rule, "--yes").code == 3
