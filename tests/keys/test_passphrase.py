"""The three ways to give the passphrase."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sealyard.keys.passphrase import find_passphrase
from sealyard.model.errors import KeyStoreLockedError


def credential(folder: Path, text: bytes) -> dict[str, str]:
    (folder / "sealyard-passphrase").write_bytes(text)
    return {"CREDENTIALS_DIRECTORY": str(folder)}


def test_the_environment_comes_first(tmp_path: Path) -> None:
    environ = credential(tmp_path, b"credential") | {"SEALYARD_PASSPHRASE": "variable"}
    assert find_passphrase(environ, lambda: "asked") == "variable"


def test_the_systemd_credential_comes_second(tmp_path: Path) -> None:
    assert find_passphrase(credential(tmp_path, "größe 1 \n".encode()), lambda: "asked") == "größe 1 "


def test_what_is_of_a_tenant_comes_before_what_is_of_all(tmp_path: Path) -> None:
    environ = credential(tmp_path, b"credential") | {"SEALYARD_PASSPHRASE": "variable"}
    assert find_passphrase(environ, tenant="acme-eu") == "variable"
    (tmp_path / "sealyard-passphrase-acme-eu").write_text("own credential")
    assert find_passphrase(environ, tenant="acme-eu") == "own credential"
    environ["SEALYARD_PASSPHRASE_ACME_EU"] = "own variable"
    assert find_passphrase(environ, tenant="acme-eu") == "own variable"
    assert find_passphrase(environ, tenant="other") == find_passphrase(environ) == "variable"


def test_a_tenants_name_leads_to_no_other_folder(tmp_path: Path) -> None:
    (tmp_path / "credentials").mkdir()
    (tmp_path / "sealyard-passphrase-x").write_text("another's")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")}
    with pytest.raises(KeyStoreLockedError):
        find_passphrase(environ, tenant="/../../sealyard-passphrase-x")


@pytest.mark.parametrize("environ", [{}, {"SEALYARD_PASSPHRASE": ""}, {"CREDENTIALS_DIRECTORY": "/nowhere"}])
def test_a_person_is_asked_last(environ: dict[str, str]) -> None:
    assert find_passphrase(environ, lambda: "asked") == "asked"


def test_where_nobody_can_be_asked_the_three_ways_are_named() -> None:
    with pytest.raises(KeyStoreLockedError) as caught:
        find_passphrase({})
    for way in ("SEALYARD_PASSPHRASE", "systemd credential sealyard-passphrase", "terminal"):
        assert way in caught.value.hint


def test_an_empty_answer_is_none() -> None:
    with pytest.raises(KeyStoreLockedError):
        find_passphrase({}, lambda: "")


def test_an_unreadable_credential_is_said_so_without_its_text(tmp_path: Path) -> None:
    with pytest.raises(KeyStoreLockedError, match="Cannot read the systemd credential") as caught:
        find_passphrase(credential(tmp_path, b"canary \xff"))
    assert "canary" not in repr(caught.value)
    assert caught.value.__cause__ is None


def test_asking_loads_neither_cryptography_nor_keyring() -> None:
    script = (
        "import sys, sealyard.keys.passphrase, sealyard.keys.master_key\n"
        "sys.exit(any(name in sys.modules for name in ('cryptography', 'keyring', 'textual')))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
