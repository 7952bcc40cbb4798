"""Test `sealyard serve` as a process: startup, settings, TLS, signals and the log."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from sealyard.client.config.settings_loader import read_toml
from sealyard.fs.workspace_lock import WorkspaceLock
from sealyard.server.settings import ServerSettings, load_server_settings
from tests.support.cli_runner import PASSPHRASE, CliResult, CliWorkspace, command, environment, run_process, wait_until
from tests.support.limits import TIMEOUT
from tests.support.processes import is_running, kill_all
from tests.support.root import ALLOW_ROOT

ANY_PORT = ("--listen", "127.0.0.1:0")


class ServerProcess:
    """A running server. ``address`` is the URL that it prints."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process = process
        self._log = log
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("Serving "), (line, log.read_text())
        self.address = next(word for word in line.split() if word.startswith("http"))

    def stop(self, *signals: signal.Signals) -> int:
        for each in signals:
            self.process.send_signal(each)
        return self.process.wait(TIMEOUT)

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The entries of the log, one JSON object per line."""
        return [json.loads(each) for each in self.log.splitlines()]


@contextmanager
def run_server(workspace: CliWorkspace, log: Path, *options: object) -> Iterator[ServerProcess]:
    arguments = command(*workspace.as_user("admin", "serve", *ALLOW_ROOT, *(options or ANY_PORT)))
    with log.open("w") as log_file:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log_file,
            text=True,
            start_new_session=True,
        )
    try:
        yield ServerProcess(process, log)
    finally:
        process.kill()
        process.communicate()


def run_rejected(workspace: CliWorkspace, *options: object, **more: Any) -> CliResult:
    """Run a server that must not start, and check that it leaves the workspace unlocked."""
    result = run_process(*workspace.as_user("admin", "serve", *ALLOW_ROOT, *options), **more)
    assert WorkspaceLock.holder(workspace.folder / "lock") is None
    assert not (workspace.folder / "socket").exists()
    return result


def create_token(workspace: CliWorkspace, subject: str) -> str:
    return str(workspace.value("admin", "token", "create", "test", "--subject", subject)["secret"])


# ---- start and stop


@pytest.mark.parametrize("stop_signal", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_server_cleanly(workspace: CliWorkspace, tmp_path: Path, stop_signal: signal.Signals) -> None:
    with run_server(workspace, tmp_path / "log") as server:
        assert server.address.startswith("http://127.0.0.1:")
        assert httpx.get(f"{server.address}/healthz").json() == {"alive": True}
        assert httpx.get(f"{server.address}/readyz").status_code == 200
        assert (workspace.folder / "socket").exists()
        assert workspace.run("admin", "subject", "add", "anna").code == 0
        assert server.stop(stop_signal) == 0
        assert all(each["level"] == "INFO" for each in server.lines)
        lifecycle = [each["message"] for each in server.lines if each["message"].startswith("server ")]
        assert lifecycle == [f"server started on {server.address}", "server stopped"]
        assert not any(each["logger"].startswith("uvicorn") for each in server.lines)
    assert WorkspaceLock.holder(workspace.folder / "lock") is None
    assert not (workspace.folder / "socket").exists()
    assert workspace.run("admin", "subject", "add", "berta").code == 0


def test_second_signal_interrupts_running_tasks(workspace: CliWorkspace, tmp_path: Path) -> None:
    large = tmp_path / "large.bin"
    with large.open("wb") as file:
        file.truncate(300 << 20)
    with run_server(workspace, tmp_path / "log", *ANY_PORT, "--shutdown-timeout", "1h") as server:
        task = workspace.value("developer", "encrypt", large, "--device", "gateway", "--no-wait")
        wait_until(lambda: workspace.value("developer", "show", task["id"])["status"] == "RUNNING")
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: httpx.get(f"{server.address}/readyz").status_code == 503)
        assert server.stop(signal.SIGTERM) == 0
        assert "interrupted running tasks: 1;" in server.log
    assert workspace.value("developer", "show", task["id"])["status"] == "RUNNING"
    assert WorkspaceLock.holder(workspace.folder / "lock") is None


def test_server_starts_after_killed_server(workspace: CliWorkspace, tmp_path: Path) -> None:
    with run_server(workspace, tmp_path / "log") as server:
        server.stop(signal.SIGKILL)
    with run_server(workspace, tmp_path / "log") as server:
        assert workspace.run("admin", "subject", "add", "anna").code == 0
        assert server.stop(signal.SIGTERM) == 0


@pytest.mark.parametrize(("user", "expected"), [(0, "--allow-root"), (1000, "nowhere.toml not found")])
def test_only_root_needs_permission_to_serve(
    workspace: CliWorkspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: int, expected: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    result = workspace.run("admin", "serve", "--config", tmp_path / "nowhere.toml")
    assert result.code == 2
    assert expected in result.err


@pytest.fixture(scope="module")
def shared_server(
    workspace_template: CliWorkspace, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[CliWorkspace, ServerProcess]]:
    """Return a workspace and its server, which must be able to stop after the tests that use it."""
    root = tmp_path_factory.mktemp("shared")
    shutil.copytree(workspace_template.folder, root / "workspace")
    workspace = CliWorkspace(root / "workspace", done=workspace_template.done, waiting=workspace_template.waiting)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(root).items():
            patch.setenv(name, value)
        with run_server(workspace, root / "log") as server:
            yield workspace, server
            assert server.stop(signal.SIGTERM) == 0


def test_second_server_reports_lock_holder(shared_server: tuple[CliWorkspace, ServerProcess]) -> None:
    workspace, server = shared_server
    result = run_process(*workspace.as_user("admin", "serve", *ALLOW_ROOT, *ANY_PORT))
    assert result.code == 6
    assert f"locked by process {server.process.pid} " in result.err
    assert ": serve)" in result.err
    assert httpx.get(f"{server.address}/healthz").status_code == 200


def test_serve_address_file_holds_url_while_listening(workspace: CliWorkspace, tmp_path: Path) -> None:
    path = tmp_path / "url"
    path.write_text("http://127.0.0.1:1\n")
    with run_server(workspace, tmp_path / "log", *ANY_PORT, "--address-file", path) as server:
        assert path.read_text() == f"{server.address}\n"
        assert server.stop(signal.SIGTERM) == 0
    assert not path.exists()
    assert {each.name for each in tmp_path.iterdir() if "url" in each.name} == set()


def test_serve_keeps_address_file_of_another_server(workspace: CliWorkspace, tmp_path: Path) -> None:
    path = tmp_path / "url"
    with run_server(workspace, tmp_path / "log", *ANY_PORT, "--address-file", path) as server:
        path.write_text("http://127.0.0.1:1\n")
        assert server.stop(signal.SIGTERM) == 0
    assert path.read_text() == "http://127.0.0.1:1\n"


# ---- rejected settings


def test_serve_unwritable_address_file_is_rejected(workspace: CliWorkspace, tmp_path: Path) -> None:
    result = run_rejected(workspace, *ANY_PORT, "--address-file", tmp_path / "missing" / "url")
    assert result.code == 2
    assert "--address-file" in result.err
    assert str(tmp_path / "missing" / "url") in result.err


def test_address_in_use_is_reported(workspace: CliWorkspace) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = run_rejected(workspace, "--listen", f"127.0.0.1:{taken.getsockname()[1]}")
    assert result.code == 2
    assert "Address already in use" in result.err


def test_public_plain_http_is_rejected(workspace: CliWorkspace) -> None:
    result = run_rejected(workspace, "--listen", "0.0.0.0:0")
    assert result.code == 2
    assert "TLS required on 0.0.0.0" in result.err
    assert "--tls-certificate" in result.err


def test_missing_passphrase_exits_with_7(workspace: CliWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEALYARD_PASSPHRASE")
    result = run_rejected(workspace, *ANY_PORT, stdin=subprocess.DEVNULL)
    assert result.code == 7
    assert "SEALYARD_PASSPHRASE" in result.err
    monkeypatch.setenv("SEALYARD_PASSPHRASE", "a wrong one")
    assert run_rejected(workspace, *ANY_PORT).code == 7


def test_tenant_passphrase_overrides_default(
    workspace: CliWorkspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEALYARD_PASSPHRASE", "of the others")
    monkeypatch.setenv("SEALYARD_PASSPHRASE_ACME_EU", PASSPHRASE)
    with run_server(workspace, tmp_path / "log", *ANY_PORT, "--tenant", f"acme-eu={workspace.folder}") as server:
        assert server.stop(signal.SIGTERM) == 0


def test_freshness_anchor_is_kept_in_folder_of_tenant(workspace: CliWorkspace, tmp_path: Path) -> None:
    settings = tmp_path / "server.toml"
    settings.write_text(f"[tenants]\nacme = '{workspace.folder}'\n[anchors]\nacme = '{tmp_path / 'anchors'}'\n")
    with run_server(workspace, tmp_path / "log", *ANY_PORT, "--config", settings) as server:
        assert server.stop(signal.SIGTERM) == 0
    assert len(list((tmp_path / "anchors").iterdir())) == 1
    settings.write_text(f"[tenants]\nacme = '{workspace.folder}'\n[anchors]\nother = '{tmp_path}'\n")
    result = run_rejected(workspace, *ANY_PORT, "--config", settings)
    assert result.code == 2
    assert "Unknown tenant 'other'" in result.err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("listn = '127.0.0.1:0'", ("listn", "listen")),
        ("behind_proxy = 'yes'", ("behind_proxy", "true or false")),
        ("requests_per_minute = 0", ("requests_per_minute", "1")),
        ("log_format = 'xml'", ("log_format", "json")),
        ("[oidc]\nisuer = 'x'", ("oidc.isuer", "oidc.issuer")),
        ("[tenants]\nacme = 7", ("tenants",)),
        ("listen = ", ("TOML",)),
    ],
)
def test_invalid_setting_error_names_file_and_key(
    workspace: CliWorkspace, tmp_path: Path, text: str, expected: tuple[str, ...]
) -> None:
    path = tmp_path / "server.toml"
    path.write_text(text)
    result = workspace.run("admin", "serve", *ALLOW_ROOT, "--config", path)
    assert result.code == 2
    for each in (str(path), *expected):
        assert each in result.err


def test_missing_settings_file_is_reported(workspace: CliWorkspace, tmp_path: Path) -> None:
    result = workspace.run("admin", "serve", *ALLOW_ROOT, "--config", tmp_path / "nowhere.toml")
    assert result.code == 2
    assert "nowhere.toml not found" in result.err
    assert "config example --server" in result.err


def test_example_settings_equal_defaults(workspace: CliWorkspace, tmp_path: Path) -> None:
    path = tmp_path / "server.toml"
    path.write_text(workspace.run("admin", "config", "example", "--server").out)
    assert load_server_settings(path) == ServerSettings()
    assert set(read_toml(path)) == set(ServerSettings.__struct_fields__)


def test_options_override_settings_file(workspace: CliWorkspace, tmp_path: Path) -> None:
    path = tmp_path / "server.toml"
    path.write_text(f"listen = '0.0.0.0:0'\nlog_format = 'text'\n[tenants]\nacme = '{workspace.folder}'\n")
    with run_server(workspace, tmp_path / "log", "--config", path, *ANY_PORT, "--log-format", "json") as server:
        assert httpx.get(f"{server.address}/healthz").status_code == 200
        assert server.stop(signal.SIGTERM) == 0
        assert server.lines


# ---- TLS


def create_certificate(certificate: Path, key: Path) -> None:
    create = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    names = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
    subprocess.run([*create, *names, "-keyout", key, "-out", certificate], check=True, capture_output=True)


def test_sighup_reloads_certificate(workspace: CliWorkspace, tmp_path: Path) -> None:
    certificate, key = tmp_path / "server.pem", tmp_path / "server.key"
    create_certificate(certificate, key)
    with run_server(
        workspace, tmp_path / "log", *ANY_PORT, "--tls-certificate", certificate, "--tls-key", key
    ) as server:
        address = ("127.0.0.1", int(server.address.rpartition(":")[2]))
        before = ssl.get_server_certificate(address)
        create_certificate(certificate, key)
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: ssl.get_server_certificate(address) != before)
        assert "certificate reloaded" in server.log
        assert server.stop(signal.SIGTERM) == 0


def test_sighup_without_certificate_keeps_server_running(shared_server: tuple[CliWorkspace, ServerProcess]) -> None:
    _, server = shared_server
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "no certificate" in server.log)
    assert httpx.get(f"{server.address}/healthz").status_code == 200


def test_terminal_hangup_stops_server_cleanly(workspace: CliWorkspace) -> None:
    """Requires that the child does not ignore SIGHUP, even under `nohup`: see `default_child_signals`."""
    arguments = command(*workspace.as_user("admin", "serve", *ALLOW_ROOT, *ANY_PORT))
    pid, terminal = pty.fork()
    if not pid:
        os.execv(arguments[0], arguments)
    try:
        wait_for_output(terminal, b"(press Ctrl-C to stop)")
        os.close(terminal)
        wait_until(lambda: not is_running(pid))
    finally:
        kill_all([pid])
        _, status = os.waitpid(pid, 0)
    assert not os.WIFSIGNALED(status)
    assert WorkspaceLock.holder(workspace.folder / "lock") is None
    assert not (workspace.folder / "socket").exists()


def wait_for_output(terminal: int, text: bytes) -> None:
    """Read from the terminal until the process has printed ``text``."""
    output, deadline = b"", time.monotonic() + TIMEOUT
    while text not in output:
        assert time.monotonic() < deadline, output
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                output += os.read(terminal, 65536)
            except OSError as error:  # The process has closed the terminal.
                raise AssertionError(output) from error


def test_curl_trusts_server_certificate(workspace: CliWorkspace, tmp_path: Path) -> None:
    certificate, key = tmp_path / "server.pem", tmp_path / "server.key"
    create_certificate(certificate, key)
    secret = create_token(workspace, "USER:developer")
    options = ("--listen", "0.0.0.0:0", "--tls-certificate", certificate, "--tls-key", key)
    with run_server(workspace, tmp_path / "log", *options) as server:
        url = server.address.replace("0.0.0.0", "localhost") + "/api/v1/workspace"
        curl = ["curl", "-s", "-H", f"Authorization: Bearer {secret}", url]
        result = subprocess.run([*curl, "--cacert", certificate], capture_output=True, timeout=TIMEOUT, check=False)
        assert json.loads(result.stdout)["subject"] == "USER:developer"
        assert subprocess.run(curl, capture_output=True, timeout=TIMEOUT, check=False).returncode == 60


# ---- the log


def test_log_contains_no_secrets(workspace: CliWorkspace, tmp_path: Path) -> None:
    secret = create_token(workspace, "USER:developer")
    with run_server(workspace, tmp_path / "log") as server:
        client = httpx.Client(base_url=server.address, headers={"Authorization": f"Bearer {secret}"}, timeout=TIMEOUT)
        task = client.get(f"/api/v1/task/{workspace.done}").json()
        link = task["downloadUrl"]
        assert httpx.get(link).status_code == 200
        assert httpx.get(link.replace("expires=", "expires=1")).status_code == 403
        client.get("/api/v1/workspace", params={"token": secret})
        client.get(f"/api/v1/task/{secret}")
        client.post("/api/v1/signingTask", json={"deviceConfigId": secret, "inputBase64": 7})
        assert server.stop(signal.SIGTERM) == 0
        signature = link.rpartition("signature=")[2]
        for canary in (secret, secret.rpartition("_")[2], signature, PASSPHRASE):
            assert canary not in server.log
        requests = [each for each in server.lines if "path" in each]
        assert {"GET", "POST"} == {each["method"] for each in requests}
        assert {200, 403, 404} <= {each["status"] for each in requests}
        assert "USER:developer" in {each["subject"] for each in requests}
