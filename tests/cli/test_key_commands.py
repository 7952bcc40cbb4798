"""Test the commands that manage keys, device configurations and ACL rules."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from cryptography.x509 import load_pem_x509_csr

from sealyard.cli.output import UNVERIFIED_NOTE
from tests.support.authority import Authority, encode_chain
from tests.support.cli_runner import CliWorkspace
from tests.support.key_files import certificate_for, write_pem


def test_imported_key_is_usable_in_configuration(running_workspace: CliWorkspace, tmp_path: Path) -> None:
    pem, password, raw = tmp_path / "key.pem", tmp_path / "password", tmp_path / "key.bin"
    key = generate_private_key(SECP256R1())
    pem.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"swordfish")))
    password.write_text("swordfish\n")
    raw.write_bytes(bytes(range(32)))

    result = running_workspace.run("admin", "key", "import", "local:bought", "--file", pem, "--kind", "EC_P256")
    assert result.code == 1
    assert "password" in result.err
    arguments = ("key", "import", "local:bought", "--file", pem, "--kind", "EC_P256", "--purpose", "package")
    info = running_workspace.value("admin", *arguments, "--password-file", password)
    assert (info["uri"], info["purpose"], info["versions"][0]["origin"]) == ("local:bought", "package", "imported")
    running_workspace.value("admin", "key", "import", "local:content", "--file", raw, "--kind", "AES_256")

    device = running_workspace.value(
        *("admin", "device", "create", "bought", "--encryption", "AES256_CBC_PKCS7_PAD", "--signing", "SHA256_ECDSA"),
        *("--encryption-key", "local:content", "--signing-key", "local:bought", "--use", "USER:developer"),
        *("--approve", "USER:owner", "--link-ttl", "90s", "--retention", "2d"),
    )
    assert (device["linkTtlSeconds"], device["retentionSeconds"]) == (90, 172800)
    exported = tmp_path / "exported"
    running_workspace.value("admin", "device", "export-key", "bought", "--out", exported, "--yes")
    assert exported.read_bytes() == raw.read_bytes()


def create_door(workspace: CliWorkspace, *arguments: object) -> Any:
    return workspace.value(
        *("admin", "device", "create", "door", "--encryption", "content=AES256_CBC_PKCS7_PAD"),
        *("--encryption", "legacy=AES128_CTR_NO_PAD", "--signing", "release=ED25519"),
        *("--use", "USER:developer", "--approve", "USER:owner", *arguments),
    )


def test_configuration_has_several_named_keys(running_workspace: CliWorkspace, tmp_path: Path) -> None:
    device = create_door(running_workspace, "--encryption-key", "content=local:gateway-encryption")
    assert [(key["name"], key["uri"]) for key in device["encryptionKeys"]] == [
        ("content", "local:gateway-encryption"),
        ("legacy", "local:door-encryption"),
    ]
    text = running_workspace.run("developer", "device", "show", "door").out
    assert "AES256_CBC_PKCS7_PAD with local:gateway-encryption v1 (content)" in text
    assert "AES128_CTR_NO_PAD with local:door-encryption v1 (legacy)" in text
    exported = tmp_path / "exported"
    arguments = ("device", "export-key", "door", "--out", exported, "--encryption-key", "legacy", "--yes")
    running_workspace.value("admin", *arguments)
    assert len(exported.read_bytes()) == 16


@pytest.mark.parametrize(
    "arguments",
    [
        ("--encryption-key", "local:gateway-encryption"),
        ("--encryption-key", "other=local:gateway-encryption"),
        ("--encryption-key", "legacy=local:a", "--encryption-key", "legacy=local:b"),
        ("--encryption", "NOTHING"),
        ("--signing", "name=NOTHING"),
    ],
)
def test_invalid_key_arguments_are_rejected(shared_workspace: CliWorkspace, arguments: tuple[str, ...]) -> None:
    create = ("device", "create", "door", "--encryption", "content=AES256_CBC_PKCS7_PAD", "--signing", "ED25519")
    result = shared_workspace.run("admin", *create, "--encryption", "legacy=AES128_CTR_NO_PAD", *arguments)
    assert result.code == 2
    assert shared_workspace.run("admin", "device", "show", "door").code == 4


def test_encryption_uses_named_key(running_workspace: CliWorkspace, tmp_path: Path) -> None:
    create_door(running_workspace)
    file = tmp_path / "firmware.bin"
    file.write_bytes(b"firmware")
    encrypt = ("encrypt", "--device", "door", file, "--content-type", "firmware", "--no-wait")
    assert running_workspace.value("developer", *encrypt)["encryptionKey"]["name"] == "content"
    task = running_workspace.value("developer", *encrypt, "--encryption-key", "legacy")
    assert task["encryptionKey"]["name"] == "legacy"
    text = running_workspace.run("developer", "show", task["id"]).out
    assert "AES128_CTR_NO_PAD with local:door-encryption-2 v1 (legacy)" in text
    assert "content type     firmware" in text
    result = running_workspace.run("developer", *encrypt, "--encryption-key", "other")
    assert result.code == 2
    assert "content, legacy" in result.err


def test_certificates_of_earlier_version_are_printed(workspace: CliWorkspace) -> None:
    certificates = ("device", "certificates", "gateway")
    (certificate,) = workspace.value("developer", *certificates)
    assert (certificate["kind"], certificate["uri"], certificate["version"]) == ("signing", "local:gateway-signing", 1)
    workspace.value("admin", "key", "rotate", "local:gateway-signing")
    assert workspace.value("developer", *certificates, "--version", "1") == [certificate]
    result = workspace.run("developer", *certificates)
    assert "local:gateway-signing v2" in result.err
    assert certificate["certificate"] not in result.out
    assert workspace.run("developer", *certificates, "--version", "3").code == 4


def test_generated_key_of_digest_algorithm_is_for_data(shared_workspace: CliWorkspace) -> None:
    device = shared_workspace.value(
        *("admin", "device", "create", "digests", "--encryption", "AES256_CBC_PKCS7_PAD"),
        *("--signing", "SHA256_RSA_3072_PSS", "--use", "USER:developer", "--approve", "USER:owner"),
    )
    assert any("packages are rejected" in warning for warning in device["warnings"])
    keys = shared_workspace.value("admin", "key", "list")
    assert [key["purpose"] for key in keys if key["uri"] == "local:digests-signing"] == ["data"]


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


def test_permanent_rule_cannot_be_removed(shared_workspace: CliWorkspace) -> None:
    rule = next(each["id"] for each in shared_workspace.value("admin", "acl", "list") if each["permanent"])
    assert shared_workspace.run("admin", "acl", "remove", rule, "--yes").code == 3


def test_certificate_is_shown_before_and_with_approval(
    running_workspace: CliWorkspace, tmp_path: Path, firmware: Path
) -> None:
    for name, start, days, words in (
        ("expired", -10, 9, "expired on"),
        ("expiring", -10, 20, "expires on"),
        ("future", 1, 365, "is not valid before"),
    ):
        _check_warning(running_workspace, tmp_path, firmware, name, start, days, words)


def _check_warning(
    workspace: CliWorkspace, tmp_path: Path, firmware: Path, name: str, start: int, days: int, words: str
) -> None:
    key = generate_private_key(SECP256R1())
    certificate = certificate_for(key, days=days, start=datetime.now(UTC) + timedelta(days=start))
    pem = write_pem(tmp_path / "key.pem", key)
    pem.write_bytes(certificate.public_bytes(Encoding.PEM) + pem.read_bytes())
    warning = f"warning: The certificate of local:{name} version 1 {words} "

    imported = workspace.run("admin", "key", "import", f"local:{name}", "--file", pem, "--kind", "EC_P256")
    assert warning in imported.err
    assert "certificate expires" in imported.out
    arguments = ("--encryption", "AES256_CBC_PKCS7_PAD", "--signing", "ECC_NIST_P256", "--signing-key", f"local:{name}")
    people = ("--use", "USER:developer", "--approve", "USER:owner")
    created = workspace.run("admin", "device", "create", name, *arguments, *people)
    assert warning in created.out
    assert warning in workspace.run("developer", "device", "show", name).out
    assert warning in workspace.run("admin", "key", "list").err

    task = workspace.value("developer", "package", "--device", name, "--firmware", firmware)["id"]
    assert warning in workspace.run("owner", "show", task).out
    assert warning.removeprefix("warning: ") in workspace.value("owner", "show", task)["warnings"][0]
    approved = workspace.run("owner", "approve", task)
    assert approved.code == 0
    assert warning in approved.err
    assert warning in approved.out
    assert ("Import a renewed certificate." in approved.out) is ("expire" in words)
    assert "self-signed certificate" in workspace.run("admin", "key", "rotate", f"local:{name}").err


def test_certificate_is_renewed_in_place(running_workspace: CliWorkspace, tmp_path: Path, firmware: Path) -> None:
    key, start = generate_private_key(SECP256R1()), datetime.now(UTC) - timedelta(days=10)
    pem, renewed = write_pem(tmp_path / "key.pem", key), tmp_path / "renewed.pem"
    pem.write_bytes(certificate_for(key, days=9, start=start, name="old").public_bytes(Encoding.PEM) + pem.read_bytes())
    running_workspace.value("admin", "key", "import", "local:bought", "--file", pem, "--kind", "EC_P256")
    running_workspace.value(
        *("admin", "device", "create", "bought", "--encryption", "AES256_CBC_PKCS7_PAD", "--signing", "ECC_NIST_P256"),
        *("--signing-key", "local:bought", "--use", "USER:developer", "--approve", "USER:owner"),
    )
    request = running_workspace.run("admin", "key", "csr", "local:bought").out
    assert running_workspace.run("admin", "key", "certificate-request", "local:bought").code == 0
    assert load_pem_x509_csr(request.encode()).public_key() == key.public_key()

    root = Authority("root", start=start)
    issuer = Authority("issuer", root, start=start)
    certificate = issuer.issue(key.public_key(), "new", days=400, start=start)
    renewed.write_bytes(encode_chain(root.certificate, issuer.certificate))
    arguments = ("key", "certificate", "local:bought", "--chain", renewed)
    assert "different key" in running_workspace.run("admin", *arguments).err
    renewed.write_bytes(encode_chain(root.certificate, certificate))
    assert (
        'The chain has a gap: the certificate of "issuer", which issued'
        in running_workspace.run("admin", *arguments).err
    )
    renewed.write_bytes(encode_chain(root.certificate, certificate, issuer.certificate))
    assert running_workspace.run("owner", *arguments).code == 3
    result = running_workspace.run("admin", *arguments)
    assert (result.code, result.err) == (0, "")
    assert "local:bought version 2: EC_P256, renewed" in result.out
    assert "issuer CN=issuer expires" in result.out
    arguments = ("key", "import-certificate", "local:bought", "--file", renewed)
    assert "already has this certificate" in running_workspace.run("admin", *arguments).err

    lines = running_workspace.run("admin", "key", "show", "local:bought").out.splitlines()
    assert [line.split()[:2] for line in lines[1:3]] == [["1", "imported"], ["2", "renewed"]]
    assert lines[3:] == ["signs with ECC_NIST_P256, SHA256_ECDSA"]
    assert [["CN=old" in lines[1], "CN=issuer" in lines[2]], lines[2].split()[-1]] == [[True, True], "2"]
    assert running_workspace.run("admin", "key", "list").err == f"{UNVERIFIED_NOTE}\n"
    assert not any(
        "expire" in each for each in running_workspace.value("developer", "device", "show", "bought")["warnings"]
    )
    task = running_workspace.value("developer", "package", "--device", "bought", "--firmware", firmware)["id"]
    assert running_workspace.run("owner", "approve", task).code == 0
    (used,) = running_workspace.value("developer", "device", "certificates", "bought")
    assert (used["version"], used["certificate"].encode()) == (2, encode_chain(certificate))
    assert [each["subject"] for each in used["issuers"]] == ["CN=issuer"]
    text = running_workspace.run("developer", "device", "certificates", "bought").out
    assert text.encode() == encode_chain(certificate, issuer.certificate)
    text = running_workspace.run("developer", "device", "show", "bought").out
    expiry = f"{certificate.not_valid_after_utc:%Y-%m-%d}"
    assert f"CN=new, issued by CN=issuer (chain of 2 certificates); expires {expiry}" in text
    (chain,) = running_workspace.value("developer", "device", "show", "bought")["chains"]
    assert [each["subject"] for each in chain["certificates"]] == ["CN=new", "CN=issuer"]
    assert "self-signed certificate" in running_workspace.run("admin", "key", "rotate", "local:bought").err


def test_expired_certificate_is_not_imported(shared_workspace: CliWorkspace, tmp_path: Path) -> None:
    key = generate_private_key(SECP256R1())
    pem, expired = write_pem(tmp_path / "key.pem", key), tmp_path / "expired.der"
    expired.write_bytes(certificate_for(key, days=1).public_bytes(Encoding.DER))
    shared_workspace.value("admin", "key", "import", "local:expired", "--file", pem, "--kind", "EC_P256")
    result = shared_workspace.run("admin", "key", "import-certificate", "local:expired", "--file", expired)
    assert result.code == 1
    assert 'The certificate of "company PKI" expired on 2026-01-02 UTC.' in result.err


def test_import_of_ambiguous_file_lists_its_keys(shared_workspace: CliWorkspace, tmp_path: Path) -> None:
    pem = tmp_path / "keys.pem"
    keys = [write_pem(tmp_path / "key", generate_private_key(SECP256R1())).read_bytes() for _ in range(2)]
    pem.write_bytes(b"".join(keys))
    result = shared_workspace.run("admin", "key", "import", "local:ambiguous", "--file", pem, "--kind", "EC_P256")
    assert result.code == 1
    assert "The file contains 2 keys of type EC_P256: " in result.err
    assert "Give the certificate of the key to import" in result.err
