"""SoftHSM 2: a PKCS#11 module that keeps its tokens in a folder."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sealyard.model.errors import KeyProviderError
from sealyard.model.provider_settings import ProviderSettings, Secrets
from tests.support.backend_access import catch_opening_error, open_backend
from tests.support.limits import TIMEOUT
from tests.support.programs import require, require_module, skip_missing

if TYPE_CHECKING:
    from sealyard.keys.backends.pkcs11.backend import Pkcs11Backend

CONFIG_VARIABLE = "SOFTHSM2_CONF"
TOKEN = "seal"
PIN = "a canary among PINs"
OFFICER_PIN = "a canary among officer PINs"

_MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")


class SoftHsm:
    """Tokens in ``folder``. ``disabled_mechanisms``: the mechanisms that they do not have."""

    module = str(_MODULE)

    def __init__(self, folder: Path, *disabled_mechanisms: str) -> None:
        self.folder = folder
        self.config = folder / "softhsm2.conf"
        self.tokens = folder / "tokens"
        self.tokens.mkdir()
        # SoftHSM 2.6.1 ignores the first name after the minus sign.
        mechanisms = ",".join(("-CKM_VENDOR_DEFINED", *disabled_mechanisms)) if disabled_mechanisms else "ALL"
        self.config.write_text(
            f"directories.tokendir = {self.tokens}\nobjectstore.backend = file\nlog.level = ERROR\n"
            f"slots.mechanisms = {mechanisms}\n"
        )

    @property
    def environment(self) -> dict[str, str]:
        return {CONFIG_VARIABLE: str(self.config)}

    def create_token(self, label: str = TOKEN, pin: str = PIN) -> None:
        arguments = ["--init-token", "--free", "--label", label, "--so-pin", OFFICER_PIN, "--pin", pin]
        self._run(require("softhsm2-util"), *arguments)

    def create_token_without_pin(self, label: str) -> None:
        """Create a token that has the PIN of its security officer only. It must be the second one."""
        arguments = ["--init-token", "--slot-index", "1", "--label", label, "--so-pin", OFFICER_PIN]
        self._run(require("pkcs11-tool"), "--module", self.module, *arguments)

    def import_key(self, path: Path, label: str, identifier: str) -> None:
        """Import a private key, and its public key, from a PKCS#8 file (PEM)."""
        arguments = ["--import", str(path), "--token", TOKEN, "--pin", PIN, "--label", label, "--id", identifier]
        self._run(require("softhsm2-util"), *arguments)

    def run_tool(self, *arguments: str, token: str = TOKEN, pin: str = PIN) -> bytes:
        """Run ``pkcs11-tool`` of OpenSC and return its output."""
        login = ["--token-label", token, "--login", "--pin", pin]
        return self._run(require("pkcs11-tool"), "--module", self.module, *login, *arguments)

    def _run(self, *command: str) -> bytes:
        result = subprocess.run(command, capture_output=True, env=self.environment, timeout=TIMEOUT, check=False)
        assert result.returncode == 0, result.stderr.decode()
        return result.stdout


def require_softhsm() -> None:
    """Skip the test because SoftHSM is missing, or fail it if SEALYARD_REQUIRE_INTEROP=1."""
    require_module("pkcs11")
    require("softhsm2-util")
    if not _MODULE.exists():
        skip_missing(f"{_MODULE} is not installed")


def make_settings(module: str = SoftHsm.module, token: str = TOKEN, **options: Any) -> ProviderSettings:
    return ProviderSettings(name="hsm", provider="pkcs11", options={"module": module, "token": token, **options})


def make_secrets(pin: str = PIN) -> Secrets:
    return Secrets(values={"pin": pin.encode()})


def open_token_backend(settings: ProviderSettings, secrets: Secrets) -> AbstractAsyncContextManager[Pkcs11Backend]:
    from sealyard.keys.backends.pkcs11.backend import Pkcs11Backend

    return open_backend(Pkcs11Backend.open, settings, secrets)


def catch_token_error(settings: ProviderSettings, secrets: Secrets) -> KeyProviderError:
    """Return the error of opening the backend."""
    from sealyard.keys.backends.pkcs11.backend import Pkcs11Backend

    return catch_opening_error(Pkcs11Backend, settings, secrets)


def set_environment(monkeypatch: pytest.MonkeyPatch, values: Mapping[str, str]) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def shared_softhsm(tmp_path_factory: pytest.TempPathFactory) -> SoftHsm:
    """SoftHSM with one token, for tests that leave it as it is except for keys of their own."""
    require_softhsm()
    hsm = SoftHsm(tmp_path_factory.mktemp("softhsm"))
    hsm.create_token()
    return hsm


@pytest.fixture
def softhsm(shared_softhsm: SoftHsm, monkeypatch: pytest.MonkeyPatch) -> SoftHsm:
    set_environment(monkeypatch, shared_softhsm.environment)
    return shared_softhsm


@pytest.fixture
def own_softhsm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SoftHsm:
    """SoftHSM with one token, which the test may change or remove."""
    require_softhsm()
    hsm = SoftHsm(tmp_path)
    hsm.create_token()
    set_environment(monkeypatch, hsm.environment)
    return hsm
