"""Test the commands for keys in tokens and key services."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cli_runner import CliWorkspace
from tests.support.provider_process import BACKEND_PYTHONPATH, set_up_file_provider


@pytest.fixture(autouse=True)
def token(workspace: CliWorkspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", BACKEND_PYTHONPATH)
    monkeypatch.delenv("SEALYARD_WORKER_SETTINGS", raising=False)
    set_up_file_provider(workspace.folder, tmp_path / "token")
    return tmp_path / "token"


def test_providers_are_listed_with_their_errors(workspace: CliWorkspace, token: Path) -> None:
    result = workspace.run("admin", "key", "providers")
    assert (result.code, result.out.split()) == (0, ["PROVIDER", "SCHEME", "STATE", "seal", "files", "works"])
    (token / "unavailable").touch()
    result = workspace.run("admin", "key", "providers")
    assert "seal      files   does not work" in result.out
    assert f"warning: seal: The token in {token} is unavailable. Insert it." in result.err
    result = workspace.run("admin", "key", "list", "--provider", "seal")
    assert (result.code, "is unavailable" in result.err) == (1, True)


def test_keys_of_a_provider_are_listed_and_registered(workspace: CliWorkspace) -> None:
    key = workspace.value("admin", "key", "register", "files:signs", "--purpose", "package")
    assert (key["uri"], key["kind"], key["purpose"]) == ("files:signs", "ED25519", "package")
    lines = workspace.run("admin", "key", "list", "--provider", "seal").out.splitlines()
    assert [line.split() for line in lines[1:]] == [["files:signs", "ED25519", "yes"], ["files:wraps", "AES_256", "no"]]
    text = workspace.run("admin", "key", "show", "files:signs").out
    assert "signs with ED25519" in text


def test_device_uses_keys_of_a_provider(workspace: CliWorkspace) -> None:
    workspace.value("admin", "key", "generate", "files:made", "--type", "ED25519")
    device = workspace.value(
        *("admin", "device", "create", "door", "--encryption", "AES256_CBC_PKCS7_PAD", "--signing", "ED25519"),
        *("--signing-key", "files:made", "--wrap-with", "files:wraps", "--approve", "USER:owner"),
    )
    assert device["signingKeys"][0]["uri"] == "files:made"
    text = workspace.run("admin", "key", "show", device["encryptionKeys"][0]["uri"]).out
    assert "wrapped by files:wraps version 1" in text
    result = workspace.run(
        *("admin", "device", "create", "gate", "--encryption", "AES256_CBC_PKCS7_PAD", "--signing", "ED25519"),
        *("--signing-provider", "seal", "--approve", "USER:owner"),
    )
    assert (result.code, "cannot be named automatically" in result.err) == (2, True)


def test_uri_with_equals_signs_is_no_named_key(workspace: CliWorkspace) -> None:
    result = workspace.run(
        *("admin", "device", "create", "door", "--encryption", "AES256_CBC_PKCS7_PAD", "--signing", "sign=ED25519"),
        *("--signing-key", "sign=pkcs11:token=seal;object=door", "--approve", "USER:owner"),
    )
    assert "No section of the worker settings serves the key pkcs11:token=seal;object=door." in result.err
