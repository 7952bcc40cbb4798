"""Test the commands that manage keys, device configurations and ACL rules."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from tests.support.cli_runner import CliWorkspace


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


def test_key_rotation_creates_configuration_version(workspace: CliWorkspace) -> None:
    rotated = workspace.value("admin", "key", "rotate", "local:gateway-signing")
    assert [each["version"] for each in rotated["versions"]] == [1, 2]
    assert workspace.value("developer", "device", "show", "gateway")["version"] == 2
    assert workspace.value("developer", "device", "show", "gateway", "--version", "1")["signingKeys"][0]["version"] == 1
    assert workspace.value("owner", "show", workspace.waiting)["newerVersion"] == 2


def test_removing_last_approver_requires_confirmation(workspace: CliWorkspace) -> None:
    rules = workspace.value("admin", "acl", "list")
    rule = next(each["id"] for each in rules if (each["subject"], each["action"]) == ("USER:owner", "APPROVE"))
    assert workspace.run("admin", "acl", "remove", rule).code == 2
    assert workspace.run("admin", "acl", "remove", rule, "--yes").code == 0
    assert workspace.value("developer", "show", workspace.waiting)["warning"] != ""


def test_permanent_rule_cannot_be_removed(workspace: CliWorkspace) -> None:
    rule = next(each["id"] for each in workspace.value("admin", "acl", "list") if each["permanent"])
    assert workspace.run("admin", "acl", "remove", rule, "--yes").code == 3
