"""Tests of the confinement of provider processes: what a module that was replaced by an attacker cannot do."""

from __future__ import annotations

import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from sealyard.model.provider_messages import OpenProvider, ProviderFailed, ProviderReady
from sealyard.model.provider_settings import ProcessSettings, ProviderSettings, Secrets
from sealyard.worker.provider_client import ProviderClient
from tests.support.confined_worker import call_number
from tests.support.provider_process import ProviderProcess, file_backend_settings
from tests.support.worker_fixtures import workspace, workspace_template
from tests.support.worker_harness import WorkerWorkspace

__all__ = ["workspace", "workspace_template"]

pytestmark = pytest.mark.anyio

INTERNET = "socket.socket(socket.AF_INET, socket.SOCK_STREAM)"


@contextmanager
def open_process(statements: dict[str, str], process_settings: ProcessSettings) -> Iterator[ProviderProcess]:
    """Run the statements in a provider process, after it was restricted."""
    process = ProviderProcess()
    try:
        settings = ProviderSettings(name="test", provider="attacks", options={"statements": statements})
        request = OpenProvider(settings=settings, secrets=Secrets(), process=process_settings)
        assert isinstance(process.open(request), ProviderReady)
        yield process
    finally:
        process.close()


async def run_inside(statements: dict[str, str], process_settings: ProcessSettings) -> dict[str, str]:
    """Return, for each statement, "done" or the name of the error, for example ``EPERM``."""
    worker_end, provider_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with worker_end, provider_end, open_process(statements, process_settings) as process:
        process.connect(provider_end)
        client = ProviderClient(worker_end.fileno(), "test")
        client.start()
        return {key.name: key.label for key in await client.list_keys()}


async def test_provider_reaches_its_paths_only(workspace: WorkerWorkspace, tmp_path: Path) -> None:
    token, other = tmp_path / "token", tmp_path / "other"
    for folder in (token, other):
        folder.mkdir()
        (folder / "file").write_text("content")
    key = next(path for path in workspace.paths.keys.rglob("*.key"))
    outcomes = await run_inside(
        {
            "read a key": f"open({str(key)!r})",
            "list the workspace": f"os.listdir({str(workspace.root)!r})",
            "write the worker settings": f"open({str(workspace.paths.worker_settings)!r}, 'w')",
            "read another token": f"open({str(other / 'file')!r})",
            "read the home folder": "os.listdir(pathlib.Path.home())",
            "read /etc": "os.listdir('/etc')",
            "read passwords": "open('/etc/shadow')",
            "write to /tmp": "open('/tmp/sealyard-test', 'w')",
            "write to /usr": "open('/usr/lib/sealyard-test', 'w')",
            "read the own token": f"open({str(token / 'file')!r})",
            "write the own token": f"open({str(token / 'new')!r}, 'w')",
            "remove from the own token": f"os.unlink({str(token / 'file')!r})",
            "read a library": "os.listdir('/usr/lib')",
            "resolve names": "open('/etc/resolv.conf')",
            "discard output": "open('/dev/null', 'w')",
        },
        ProcessSettings(paths=(str(token),)),
    )
    denied = {name for name, outcome in outcomes.items() if outcome in ("EACCES", "EPERM")}
    assert denied == {
        "read a key",
        "list the workspace",
        "write the worker settings",
        "read another token",
        "read the home folder",
        "read /etc",
        "read passwords",
        "write to /tmp",
        "write to /usr",
    }
    assert set(outcomes.values()) == {"done", "EACCES"}


async def test_provider_without_network_opens_no_socket() -> None:
    outcomes = await run_inside(
        {
            "internet": INTERNET,
            "unix": "socket.socket(socket.AF_UNIX)",
            "pair": "socket.socketpair()",
            "netlink": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
        },
        ProcessSettings(),
    )
    assert set(outcomes.values()) == {"EPERM"}


async def test_provider_cannot_start_programs_or_signal() -> None:
    outcomes = await run_inside(
        {
            "fork": "os.fork()",
            "program": "os.execv('/bin/true', ['true'])",
            "signal": "os.kill(os.getppid(), 0)",
            "debugger": f"call({call_number('ptrace')}, 16, os.getppid(), 0, 0)",
            "namespace": f"call({call_number('unshare')}, 0)",
            "keyring": f"call({call_number('keyctl')}, 0, -3, 0)",
            "mount": f"call({call_number('mount')}, 0, 0, 0, 0, 0)",
        },
        ProcessSettings(network=True, unix_sockets=True),
    )
    assert set(outcomes.values()) == {"EPERM"}


@pytest.fixture
def listen() -> Iterator[Callable[[socket.socket], None]]:
    """Accept connections on a socket until the end of the test."""
    servers: list[socket.socket] = []

    def listen(server: socket.socket) -> None:
        server.listen()
        servers.append(server)

    yield listen
    for server in servers:
        server.close()


async def test_unix_sockets_permit_local_services_only(tmp_path: Path, listen: Callable[[socket.socket], None]) -> None:
    """As p11-kit and pcscd need it."""
    server, path = socket.socket(socket.AF_UNIX), tmp_path / "p11-kit"
    server.bind(str(path))
    listen(server)
    outcomes = await run_inside(
        {
            "local service": f"socket.socket(socket.AF_UNIX).connect({str(path)!r})",
            "internet": INTERNET,
            "netlink": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
            "serve": f"socket.socket(socket.AF_UNIX).bind({str(tmp_path / 'own')!r})",
        },
        ProcessSettings(unix_sockets=True),
    )
    assert outcomes == {"local service": "done", "internet": "EPERM", "netlink": "EPERM", "serve": "EPERM"}


async def test_network_permits_connections_but_no_server(
    workspace: WorkerWorkspace, listen: Callable[[socket.socket], None]
) -> None:
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    listen(server)
    outcomes = await run_inside(
        {
            "service": f"socket.create_connection(('127.0.0.1', {server.getsockname()[1]}))",
            "names": "socket.getaddrinfo('localhost', 80)",
            "serve": f"{INTERNET}.listen()",
            "workspace": f"os.listdir({str(workspace.root)!r})",
        },
        ProcessSettings(network=True),
    )
    assert outcomes == {"service": "done", "names": "done", "serve": "EPERM", "workspace": "EACCES"}


def test_missing_path_is_named_by_the_error(tmp_path: Path) -> None:
    request = file_backend_settings(tmp_path / "keys")
    process = ProviderProcess()
    try:
        answer = process.open(msgspec.structs.replace(request, process=ProcessSettings()))
        assert isinstance(answer, ProviderFailed)
        assert answer.error.message == f"The key provider has no access to {tmp_path / 'keys' / 'logins'}."
        assert "paths of its section" in answer.error.hint
    finally:
        process.close()


@pytest.mark.parametrize("network", [False, True])
def test_nothing_is_refused_on_this_kernel(network: bool, capfd: pytest.CaptureFixture[str]) -> None:
    with open_process({}, ProcessSettings(network=network)) as process:
        folder = Path(f"/proc/{process.process.pid}")
        lines = (folder / "status").read_text().splitlines()
        status = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        assert status["CapEff"] == status["CapPrm"] == "0000000000000000"
        namespaces = {"user", "ipc", "uts"} if network else {"user", "ipc", "uts", "net"}
        for name in ("user", "ipc", "uts", "net"):
            is_own = (folder / "ns" / name).readlink() != Path(f"/proc/self/ns/{name}").readlink()
            assert is_own is (name in namespaces)
        assert resource.prlimit(process.process.pid, resource.RLIMIT_CORE) == (0, 0)
    assert "refused" not in capfd.readouterr().err
