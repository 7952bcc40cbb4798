"""Tests of the three sources of the passphrase."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sealyard.keys.passphrase import find_passphrase
from sealyard.model.errors import KeyStoreLockedError


def write_credential(folder: Path, text: bytes) -> dict[str, str]:
    (folder / "sealyard-passphrase").write_bytes(text)
    return {"CREDENTIALS_DIRECTORY": str(folder)}


def test_environment_variable_has_priority(tmp_path: Path) -> None:
    environ = write_credential(tmp_path, b"credential") | {"SEALYARD_PASSPHRASE": "variable"}
    assert find_passphrase(environ, lambda: "prompted") == "variable"


def test_systemd_credential_is_second_source(tmp_path: Path) -> None:
    assert find_passphrase(write_credential(tmp_path, "größe 1 \n".encode()), lambda: "prompted") == "größe 1 "


def test_tenant_source_precedes_general_source(tmp_path: Path) -> None:
    environ = write_credential(tmp_path, b"credential") | {"SEALYARD_PASSPHRASE": "variable"}
    assert find_passphrase(environ, tenant="acme-eu") == "variable"
    (tmp_path / "sealyard-passphrase-acme-eu").write_text("own credential")
    assert find_passphrase(environ, tenant="acme-eu") == "own credential"
    environ["SEALYARD_PASSPHRASE_ACME_EU"] = "own variable"
    assert find_passphrase(environ, tenant="acme-eu") == "own variable"
    assert find_passphrase(environ, tenant="other") == find_passphrase(environ) == "variable"


def test_tenant_name_with_path_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "credentials").mkdir()
    (tmp_path / "sealyard-passphrase-x").write_text("another's")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")}
    with pytest.raises(KeyStoreLockedError):
        find_passphrase(environ, tenant="/../../sealyard-passphrase-x")


@pytest.mark.parametrize("environ", [{}, {"SEALYARD_PASSPHRASE": ""}, {"CREDENTIALS_DIRECTORY": "/nowhere"}])
def test_prompt_is_last_source(environ: dict[str, str]) -> None:
    assert find_passphrase(environ, lambda: "prompted") == "prompted"


def test_missing_passphrase_error_names_all_sources() -> None:
    with pytest.raises(KeyStoreLockedError) as caught:
        find_passphrase({})
    for source in ("SEALYARD_PASSPHRASE", "systemd credential sealyard-passphrase", "terminal"):
        assert source in caught.value.hint


def test_empty_prompt_answer_is_rejected() -> None:
    with pytest.raises(KeyStoreLockedError):
        find_passphrase({}, lambda: "")


def test_unreadable_credential_error_hides_its_content(tmp_path: Path) -> None:
    with pytest.raises(KeyStoreLockedError, match="Cannot read the systemd credential") as caught:
        find_passphrase(write_credential(tmp_path, b"canary \xff"))
    assert "canary" not in repr(caught.value)
    assert caught.value.__cause__ is None


def test_import_loads_no_cryptography_or_keyring() -> None:
    script = (
        "import sys, sealyard.keys.passphrase, sealyard.keys.master_key\n"
        "sys.exit(any(name in sys.modules for name in ('cryptography', 'keyring', 'textual')))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
