"""Keys and configurations by the command line."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from tests.support.cli_runner import CliWorkspace


def test_an_imported_key_serves_a_configuration(house: CliWorkspace, tmp_path: Path) -> None:
    pem, password, raw = tmp_path / "key.pem", tmp_path / "password", tmp_path / "key.bin"
    key = generate_private_key(SECP256R1())
    pem.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"swordfish")))
    password.write_text("swordfish\n")
    raw.write_bytes(bytes(range(32)))

    locked = house.run("admin", "key", "import", "local:bought", "--file", pem, "--kind", "EC_P256")
    assert locked.code == 1
    assert "password" in locked.err
    importing = ("key", "import", "local:bought", "--file", pem, "--kind", "EC_P256", "--purpose", "package")
    made = house.value("admin", *importing, "--password-file", password)
    assert (made["uri"], made["purpose"], made["versions"][0]["origin"]) == ("local:bought", "package", "imported")
    house.value("admin", "key", "import", "local:content", "--file", raw, "--kind", "AES_256")

    device = house.value(
        *("admin", "device", "create", "bought", "--encryption", "AES256_CBC_PKCS7_PAD", "--signing", "SHA256_ECDSA"),
        *("--encryption-key", "local:content", "--signing-key", "local:bought", "--use", "USER:developer"),
        *("--approve", "USER:owner", "--link-ttl", "90s", "--retention", "2d"),
    )
    assert (device["linkTtlSeconds"], device["retentionSeconds"]) == (90, 172800)
    exported = tmp_path / "exported"
    house.value("admin", "device", "export-key", "bought", "--out", exported, "--yes")
    assert exported.read_bytes() == raw.read_bytes()


def test_a_rotated_key_gives_its_configuration_a_new_version(house: CliWorkspace) -> None:
    rotated = house.value("admin", "key", "rotate", "local:gateway-signing")
    assert [each["version"] for each in rotated["versions"]] == [1, 2]
    assert house.value("developer", "device", "show", "gateway")["version"] == 2
    assert house.value("developer", "device", "show", "gateway", "--version", "1")["signingKeys"][0]["version"] == 1
    assert house.value("owner", "show", house.waiting)["newerVersion"] == 2


def test_a_rule_without_which_nobody_could_approve_wants_a_yes(house: CliWorkspace) -> None:
    rules = house.value("admin", "acl", "list")
    rule = next(each["id"] for each in rules if (each["subject"], each["action"]) == ("USER:owner", "APPROVE"))
    assert house.run("admin", "acl", "remove", rule).code == 2
    assert house.run("admin", "acl", "remove", rule, "--yes").code == 0
    assert house.value("developer", "show", house.waiting)["warning"] != ""


def test_the_administrators_rules_stay(house: CliWorkspace) -> None:
    rule = next(each["id"] for each in house.value("admin", "acl", "list") if each["permanent"])
    assert house.run("admin", "acl", "remove", rule, "--yes").code == 3
