"""Servers of one workspace: a workspace in a database, and servers that run in this process or as processes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from sealyard.client.config.lease_reader import open_lease_reader
from sealyard.client.config.settings_example import render_toml
from sealyard.client.engine_handle import EngineHandle
from sealyard.client.http.client import HttpClient
from sealyard.client.http.transport import Connection, Endpoint
from sealyard.concurrency.clock import SystemClock
from sealyard.engine.workspace import build_key_store_location, load_metadata
from sealyard.jobs.key_holder import KeyHolder
from sealyard.model.cluster import LeaseSettings
from sealyard.model.credentials import TokenRequest
from sealyard.model.requests import SigningRequest
from sealyard.model.tasks import Task, Verdict
from sealyard.model.workspace import WorkspacePaths
from sealyard.server.cluster.member import MemberState
from sealyard.server.cluster.server import ClusterServer
from sealyard.server.settings import ClusterSettings, ServerSettings
from tests.support.cli_runner import command
from tests.support.key_holders import unlock
from tests.support.limits import TIMEOUT
from tests.support.ports import ReservedPort
from tests.support.postgres import PostgresServer, TestDatabase
from tests.support.root import ALLOW_ROOT
from tests.support.server_harness import (
    ADMIN,
    DEV,
    GATEWAY,
    OWNER,
    PASSPHRASE,
    create_test_workspace,
    open_workspace,
    wait_until,
)
from tests.support.tls_certificates import ClusterAuthority

LEASE_SECONDS = 5.0
SHORT_LEASE_SECONDS = 3.0
"""For servers that are processes of their own, which renew it in time even on a machine with much to do."""
TEMPLATE = "cluster_template"
TENANT = "yard"


class ClusterTemplate(NamedTuple):
    """A workspace in a database from which tests get copies. ``tokens``: access tokens by subject."""

    folder: Path
    tokens: dict[str, str]


async def create_cluster_template(server: PostgresServer, folder: Path) -> ClusterTemplate:
    """Create a workspace in ``folder`` and in a database that no test drops."""
    database = server.create_database()
    await create_test_workspace(folder, TENANT, database.connection_string)
    engine = await open_workspace(folder)
    try:
        admin = engine.client(ADMIN)
        tokens = {
            subject: (await admin.create_token(TokenRequest(name="test", subject=subject))).secret
            for subject in (ADMIN, DEV, OWNER)
        }
    finally:
        await engine.close()
    server.execute(f"ALTER DATABASE {database.name} RENAME TO {TEMPLATE}")
    return ClusterTemplate(folder, tokens)


class ClusterWorkspace:
    """A copy of the workspace, with an authority for the certificates of its servers."""

    def __init__(self, template: ClusterTemplate, database: TestDatabase, root: Path) -> None:
        self.root = root
        self.database = database
        self.tokens = template.tokens
        self.authority = ClusterAuthority(root)
        self.folder = self.copy_folder(template.folder, "workspace")

    def copy_folder(self, source: Path, name: str) -> Path:
        """Return a copy of the folder ``source`` that uses the database of this workspace."""
        folder = Path(shutil.copytree(source, self.root / name, ignore=shutil.ignore_patterns("socket")))
        metadata_path = folder / "workspace.json"
        metadata = {**json.loads(metadata_path.read_text()), "database": self.database.connection_string}
        metadata_path.write_text(json.dumps(metadata))
        return folder

    def read_term(self) -> int:
        return int(self.database.execute("SELECT term FROM sealyard.workspace")[0][0])


class ServerConfig:
    """The settings of one server, with reserved ports."""

    lease_seconds = LEASE_SECONDS

    def __init__(self, workspace: ClusterWorkspace, name: str) -> None:
        self.workspace = workspace
        self.name = name
        self.port, self.internal_port = ReservedPort(), ReservedPort()
        certificate, key = workspace.authority.issue(name)
        self.cluster = ClusterSettings(
            url=f"https://localhost:{self.internal_port.number}",
            listen=f"localhost:{self.internal_port.number}",
            certificate=str(certificate),
            key=str(key),
            ca=str(workspace.authority.certificate),
            lease_seconds=self.lease_seconds,
        )

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port.number}"

    def settings(self, **overrides: Any) -> ServerSettings:
        values = {"listen": f"127.0.0.1:{self.port.number}", "cluster": self.cluster, **overrides}
        return ServerSettings(**values)

    def http_client(self, subject: str | None = DEV) -> httpx.AsyncClient:
        headers = {} if subject is None else {"Authorization": f"Bearer {self.workspace.tokens[subject]}"}
        return httpx.AsyncClient(base_url=self.base, headers=headers, timeout=TIMEOUT)

    async def wait_ready(self, query: str = "") -> None:
        async def is_ready() -> bool:
            async with self.http_client(None) as http:
                with contextlib.suppress(httpx.ConnectError):
                    return (await http.get(f"/readyz{query}")).status_code == 200
            return False

        await wait_until(is_ready, f"{self.name} is ready")

    def release_ports(self) -> None:
        self.port.close()
        self.internal_port.close()


class ClusterNode(ServerConfig):
    """A server in this process."""

    server: ClusterServer
    open_error: Exception | None = None
    """Raised instead of opening the engine."""

    def __init__(self, workspace: ClusterWorkspace, name: str, folder: Path | None = None) -> None:
        super().__init__(workspace, name)
        self.paths = WorkspacePaths(folder or workspace.folder)
        self.engine: EngineHandle | None = None
        self._key_holder: KeyHolder | None = None
        self.is_running = False

    async def start(self, **overrides: Any) -> None:
        if self._key_holder is None:
            location = build_key_store_location(self.paths, load_metadata(self.paths))
            self._key_holder = unlock(PASSPHRASE)(location)
        self.server = await ClusterServer.open(
            self.settings(**overrides), TENANT, self.paths, self._open_engine, open_lease_reader(self.paths.root)
        )
        self.is_running = True

    async def stop(self) -> None:
        self.is_running = False
        await self.server.stop()

    async def wait_for(self, state: MemberState) -> None:
        async def has_state() -> bool:
            return self.server.state is state

        await wait_until(has_state, f"{self.name} is {state}")

    async def close(self) -> None:
        if self.is_running:
            await self.stop()
        if self._key_holder is not None:
            self._key_holder.close()
        self.release_ports()

    async def _open_engine(self) -> EngineHandle:
        if self.open_error is not None:
            raise self.open_error
        assert self._key_holder is not None
        lease = LeaseSettings(url=self.cluster.url, seconds=self.cluster.lease_seconds)
        self.engine = await EngineHandle.open(
            self.paths.root, purpose="serve", key_holder=self._key_holder, lease=lease
        )
        return self.engine


class ClusterProcess(ServerConfig):
    """A server that runs as `sealyard serve`."""

    process: subprocess.Popen[str]
    lease_seconds = SHORT_LEASE_SECONDS

    def start(self, **overrides: Any) -> None:
        path = self.workspace.root / f"{self.name}.toml"
        path.write_text(render_toml(self.settings(log_format="text", **overrides), ""))
        arguments = ("--workspace", self.workspace.folder, "serve", *ALLOW_ROOT, "--config", path)
        with self.log_path.open("a") as log_file:
            self.process = subprocess.Popen(
                command(*arguments),
                env={**os.environ, "SEALYARD_PASSPHRASE": PASSPHRASE, "PATH": os.environ["PATH"]},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log_file,
                text=True,
                start_new_session=True,
            )

    @property
    def log_path(self) -> Path:
        return self.workspace.root / f"{self.name}.log"

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.release_ports()


@asynccontextmanager
async def run_nodes(workspace: ClusterWorkspace, *names: str, **settings: Any) -> AsyncIterator[list[ClusterNode]]:
    """Start servers one after the other. The first one becomes active, and the others reach it."""
    async with AsyncExitStack() as stack:
        nodes = [ClusterNode(workspace, name) for name in names]
        for node in nodes:
            stack.push_async_callback(node.close)
        for node in nodes:
            await node.start(**settings)
            await node.wait_ready()
        yield nodes


def metrics_of(text: str) -> dict[str, float]:
    """Return the samples of the Prometheus format by name with labels."""
    lines = [line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def connect(node: ServerConfig, subject: str = DEV) -> HttpClient:
    endpoint = Endpoint(url=node.base, token=node.workspace.tokens[subject])
    return HttpClient(Connection(endpoint), SystemClock())


def signing_request(number: int) -> SigningRequest:
    return SigningRequest(
        config=GATEWAY, message=f"message {number}".encode(), client_token=f"token-{number:04}-0123456789"
    )


async def create_and_approve(dev: HttpClient, owner: HttpClient, number: int) -> Task:
    task = await dev.create_signing(signing_request(number))
    await owner.decide(task.id, Verdict.APPROVED, digest=task.approval_digest)
    return task


async def get_checks(node: ServerConfig, path: str = "/readyz") -> tuple[int, dict[str, int]]:
    """Return the status of the readiness check, and the number of failures by check."""
    async with node.http_client(None) as http:
        response = await http.get(path)
    return response.status_code, {check["name"]: check["failed"] for check in response.json()["checks"]}
