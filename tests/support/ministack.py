"""The emulator MiniStack of AWS KMS, S3 and IAM, in a virtual environment of its own.

It verifies the signatures of requests and evaluates IAM policies. It encrypts without authentication, and has no
ML-DSA keys.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any

import httpx

from sealyard.keys.backend import KeyBackend
from sealyard.keys.backends.aws_kms.backend import AwsKmsBackend
from sealyard.model.errors import KeyProviderError
from sealyard.model.provider_settings import ProviderSettings, Secrets
from tests.support.backend_access import catch_opening_error, open_backend
from tests.support.limits import TIMEOUT
from tests.support.ports import ReservedPort
from tests.support.programs import require_module, skip_missing

REGION = "eu-central-1"
POLL_SECONDS = 0.05
ACCOUNT = "000000000000"
ROOT = Secrets(values={"access_key_id": b"test", "secret_access_key": b"test"})
"""The credentials of the root user of the emulator."""

_PROGRAM = Path(__file__).parents[2] / ".venv-ministack" / "bin" / "ministack"


def require_ministack() -> Path:
    """Return the program. Skips the test if it is missing, or fails it if SEALYARD_REQUIRE_INTEROP=1."""
    require_module("boto3")
    if not _PROGRAM.is_file():
        skip_missing(
            "MiniStack is not installed: python3 -m venv .venv-ministack && "
            ".venv-ministack/bin/pip install -r tests/interop/ministack.txt"
        )
    return _PROGRAM


class MiniStack:
    """A server that saves its state in ``folder`` when it is stopped, but not when it is killed."""

    def __init__(self, folder: Path, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._folder = folder
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = {
            "PATH": os.environ["PATH"],
            "TMPDIR": str(self._folder),
            "GATEWAY_PORT": str(self._port),
            "BIND_HOST": "127.0.0.1",
            "SERVICES": "kms,iam,s3,sts",
            "AUTH": "true",
            "PERSIST_STATE": "1",
            "STATE_DIR": str(self._folder / "state"),
            "LOG_LEVEL": "WARNING",
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
        }
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(require_ministack())], stdout=log, stderr=log, env=environment, cwd=self._folder
            )
        deadline = time.monotonic() + TIMEOUT
        with httpx.Client(trust_env=False, timeout=TIMEOUT) as client:
            while not self._is_ready(client):
                assert self._process.poll() is None, (self._folder / "log").read_text()
                assert time.monotonic() < deadline, "MiniStack did not start"
                time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """Stop the server, which saves its state."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def client(self, service: str) -> Any:
        """Return a client of the AWS SDK for the root user."""
        import boto3

        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        return boto3.client(service, region_name=REGION, endpoint_url=self.url, **keys)

    def create_user(self, name: str, policy: Mapping[str, Any]) -> Secrets:
        """Create a user with an inline policy, and return its credentials."""
        iam = self.client("iam")
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName="sealyard", PolicyDocument=json.dumps(policy))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return Secrets(
            values={
                "access_key_id": key["AccessKeyId"].encode(),
                "secret_access_key": key["SecretAccessKey"].encode(),
            }
        )

    def settings(self, **options: Any) -> ProviderSettings:
        return ProviderSettings(
            name="cloud", provider="awskms", options={"region": REGION, "endpoint": self.url, **options}
        )

    def _is_ready(self, client: httpx.Client) -> bool:
        try:
            return client.get(f"{self.url}/_ministack/health").is_success
        except httpx.TransportError:
            return False

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()


def open_kms(settings: ProviderSettings, secrets: Secrets = ROOT) -> AbstractAsyncContextManager[KeyBackend]:
    return open_backend(AwsKmsBackend.open, settings, secrets)


def catch_kms_error(settings: ProviderSettings, secrets: Secrets) -> KeyProviderError:
    """Return the error of opening the backend, which names its section."""
    error = catch_opening_error(AwsKmsBackend, settings, secrets)
    assert settings.name in error.message
    return error


def new_alias() -> str:
    return f"alias/test-{token_hex(6)}"


def allow(*actions: str) -> dict[str, Any]:
    """Return a policy that permits the actions of IAM with all keys."""
    return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": list(actions), "Resource": "*"}]}


@contextmanager
def run_ministack(folder: Path) -> Iterator[MiniStack]:
    require_ministack()
    with ReservedPort() as port:
        server = MiniStack(folder, port.number)
        try:
            server.start()
            yield server
        finally:
            server.kill()
