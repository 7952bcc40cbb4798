"""`sealyard serve` as a process: what it says, what it refuses, and how signals end it."""

from __future__ import annotations

import json
import os
import pty
import select
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
from tests.support.cli_runner import LIMIT, PASSPHRASE, CliResult, CliWorkspace, command, run_process, wait_until
from tests.support.processes import kill_all, lives

ANY_PORT = ("--listen", "127.0.0.1:0")


class Serving:
    """A server that runs; ``address`` is what it says of itself."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process = process
        self._log = log
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("Serving "), (line, log.read_text())
        self.address = next(word for word in line.split() if word.startswith("http"))

    def ends(self, *signals: signal.Signals) -> int:
        for each in signals:
            self.process.send_signal(each)
        return self.process.wait(LIMIT)

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Each of its log is one JSON object."""
        return [json.loads(each) for each in self.log.splitlines()]


@contextmanager
def serving(house: CliWorkspace, log: Path, *options: object) -> Iterator[Serving]:
    words = command(*house.as_user("admin", "serve", *(options or ANY_PORT)))
    with log.open("w") as errors:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
        )
    try:
        yield Serving(process, log)
    finally:
        process.kill()
        process.communicate()


def refused(house: CliWorkspace, *options: object, **more: Any) -> CliResult:
    """One that does not start; nothing stays locked."""
    ran = run_process(*house.as_user("admin", "serve", *options), **more)
    assert WorkspaceLock.holder(house.folder / "lock") is None
    assert not (house.folder / "socket").exists()
    return ran


def token(house: CliWorkspace, subject: str) -> str:
    return str(house.value("admin", "token", "create", "test", "--subject", subject)["secret"])


# ---- from its start to its end


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_a_signal_and_leaves_in_good_order(
    house: CliWorkspace, tmp_path: Path, ending: signal.Signals
) -> None:
    with serving(house, tmp_path / "log") as server:
        assert server.address.startswith("http://127.0.0.1:")
        assert httpx.get(f"{server.address}/healthz").json() == {"alive": True}
        assert httpx.get(f"{server.address}/readyz").status_code == 200
        assert (house.folder / "socket").exists()
        assert house.run("admin", "subject", "add", "anna").code == 0
        assert server.ends(ending) == 0
        assert all(each["level"] == "INFO" for each in server.lines)
    assert WorkspaceLock.holder(house.folder / "lock") is None
    assert not (house.folder / "socket").exists()
    assert house.run("admin", "subject", "add", "berta").code == 0


def test_a_second_signal_ends_the_waiting_for_work(house: CliWorkspace, tmp_path: Path) -> None:
    large = tmp_path / "large.bin"
    large.write_bytes(os.urandom(1 << 20) * 300)
    with serving(house, tmp_path / "log", *ANY_PORT, "--shutdown-timeout", "1h") as server:
        task = house.value("developer", "encrypt", large, "--device", "gateway", "--no-wait")
        wait_until(lambda: house.value("developer", "show", task["id"])["status"] == "RUNNING")
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: httpx.get(f"{server.address}/readyz").status_code == 503)
        assert server.ends(signal.SIGTERM) == 0
        assert "interrupted running tasks: 1;" in server.log
    assert house.value("developer", "show", task["id"])["status"] == "RUNNING"
    assert WorkspaceLock.holder(house.folder / "lock") is None


def test_a_killed_server_is_no_obstacle_to_the_next(house: CliWorkspace, tmp_path: Path) -> None:
    with serving(house, tmp_path / "log") as server:
        server.ends(signal.SIGKILL)
    with serving(house, tmp_path / "log") as server:
        assert house.run("admin", "subject", "add", "anna").code == 0
        assert server.ends(signal.SIGTERM) == 0


def test_a_second_server_and_a_server_beside_an_application_are_told_who_holds_the_workspace(
    house: CliWorkspace, tmp_path: Path
) -> None:
    with serving(house, tmp_path / "log") as server:
        second = run_process(*house.as_user("admin", "serve", *ANY_PORT))
        assert second.code == 6
        assert f"locked by process {server.process.pid} " in second.err
        assert ": serve)" in second.err
        assert httpx.get(f"{server.address}/healthz").status_code == 200


def test_serve_address_file_holds_url_while_listening(house: CliWorkspace, tmp_path: Path) -> None:
    path = tmp_path / "url"
    path.write_text("http://127.0.0.1:1\n")
    with serving(house, tmp_path / "log", *ANY_PORT, "--address-file", path) as server:
        assert path.read_text() == f"{server.address}\n"
        assert server.ends(signal.SIGTERM) == 0
    assert not path.exists()
    assert {each.name for each in tmp_path.iterdir() if "url" in each.name} == set()


def test_serve_keeps_address_file_of_another_server(house: CliWorkspace, tmp_path: Path) -> None:
    path = tmp_path / "url"
    with serving(house, tmp_path / "log", *ANY_PORT, "--address-file", path) as server:
        path.write_text("http://127.0.0.1:1\n")
        assert server.ends(signal.SIGTERM) == 0
    assert path.read_text() == "http://127.0.0.1:1\n"


# ---- what it refuses


def test_serve_unwritable_address_file_is_rejected(house: CliWorkspace, tmp_path: Path) -> None:
    ran = refused(house, *ANY_PORT, "--address-file", tmp_path / "missing" / "url")
    assert ran.code == 2
    assert "--address-file" in ran.err
    assert str(tmp_path / "missing" / "url") in ran.err


def test_an_address_in_use_is_said_and_nothing_stays_locked(house: CliWorkspace) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ran = refused(house, "--listen", f"127.0.0.1:{taken.getsockname()[1]}")
    assert ran.code == 2
    assert "Address already in use" in ran.err


def test_plain_http_to_other_machines_is_refused(house: CliWorkspace) -> None:
    ran = refused(house, "--listen", "0.0.0.0:0")
    assert ran.code == 2
    assert "TLS required on 0.0.0.0" in ran.err
    assert "--tls-certificate" in ran.err


def test_without_the_passphrase_it_ends_with_7(house: CliWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEALYARD_PASSPHRASE")
    ran = refused(house, *ANY_PORT, stdin=subprocess.DEVNULL)
    assert ran.code == 7
    assert "SEALYARD_PASSPHRASE" in ran.err
    monkeypatch.setenv("SEALYARD_PASSPHRASE", "a wrong one")
    assert refused(house, *ANY_PORT).code == 7


def test_each_tenant_may_have_a_passphrase_of_its_own(
    house: CliWorkspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEALYARD_PASSPHRASE", "of the others")
    monkeypatch.setenv("SEALYARD_PASSPHRASE_ACME_EU", PASSPHRASE)
    with serving(house, tmp_path / "log", *ANY_PORT, "--tenant", f"acme-eu={house.folder}") as server:
        assert server.ends(signal.SIGTERM) == 0


@pytest.mark.parametrize(
    ("text", "said"),
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
def test_a_settings_file_that_is_wrong_is_named_with_key_and_what_was_expected(
    house: CliWorkspace, tmp_path: Path, text: str, said: tuple[str, ...]
) -> None:
    path = tmp_path / "server.toml"
    path.write_text(text)
    ran = house.run("admin", "serve", "--config", path)
    assert ran.code == 2
    for each in (str(path), *said):
        assert each in ran.err


def test_a_settings_file_that_is_not_there_is_said(house: CliWorkspace, tmp_path: Path) -> None:
    ran = house.run("admin", "serve", "--config", tmp_path / "nowhere.toml")
    assert ran.code == 2
    assert "nowhere.toml not found" in ran.err
    assert "config example --server" in ran.err


def test_the_example_reads_back_as_the_defaults(house: CliWorkspace, tmp_path: Path) -> None:
    path = tmp_path / "server.toml"
    path.write_text(house.run("admin", "config", "example", "--server").out)
    assert load_server_settings(path) == ServerSettings()
    assert set(read_toml(path)) == set(ServerSettings.__struct_fields__)


def test_options_count_more_than_the_file(house: CliWorkspace, tmp_path: Path) -> None:
    path = tmp_path / "server.toml"
    path.write_text(f"listen = '0.0.0.0:0'\nlog_format = 'text'\n[tenants]\nacme = '{house.folder}'\n")
    with serving(house, tmp_path / "log", "--config", path, *ANY_PORT, "--log-format", "json") as server:
        assert httpx.get(f"{server.address}/healthz").status_code == 200
        assert server.ends(signal.SIGTERM) == 0
        assert server.lines


# ---- TLS


def make_pair(certificate: Path, key: Path) -> None:
    making = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    naming = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
    subprocess.run([*making, *naming, "-keyout", key, "-out", certificate], check=True, capture_output=True)


def test_a_service_that_is_hung_up_on_shows_its_renewed_certificate(house: CliWorkspace, tmp_path: Path) -> None:
    certificate, key = tmp_path / "server.pem", tmp_path / "server.key"
    make_pair(certificate, key)
    with serving(house, tmp_path / "log", *ANY_PORT, "--tls-certificate", certificate, "--tls-key", key) as server:
        place = ("127.0.0.1", int(server.address.rpartition(":")[2]))
        before = ssl.get_server_certificate(place)
        make_pair(certificate, key)
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: ssl.get_server_certificate(place) != before)
        assert "certificate reloaded" in server.log
        assert server.ends(signal.SIGTERM) == 0


def test_a_service_without_a_certificate_goes_on_when_it_is_hung_up_on(house: CliWorkspace, tmp_path: Path) -> None:
    with serving(house, tmp_path / "log") as server:
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "no certificate" in server.log)
        assert httpx.get(f"{server.address}/healthz").status_code == 200
        assert server.ends(signal.SIGTERM) == 0


def test_at_a_terminal_that_hangs_up_it_ends_in_good_order(house: CliWorkspace) -> None:
    """Needs SIGHUP not to be ignored in the child, also under `nohup`: see `default_child_signals`."""
    words = command(*house.as_user("admin", "serve", *ANY_PORT))
    pid, terminal = pty.fork()
    if not pid:
        os.execv(words[0], words)
    try:
        wait_for_output(terminal, b"(press Ctrl-C to stop)")
        os.close(terminal)
        wait_until(lambda: not lives(pid))
    finally:
        kill_all([pid])
        _, status = os.waitpid(pid, 0)
    assert not os.WIFSIGNALED(status)
    assert WorkspaceLock.holder(house.folder / "lock") is None
    assert not (house.folder / "socket").exists()


def wait_for_output(terminal: int, words: bytes) -> None:
    """Read from the terminal until the process has printed ``words``."""
    seen, deadline = b"", time.monotonic() + LIMIT
    while words not in seen:
        assert time.monotonic() < deadline, seen
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                seen += os.read(terminal, 65536)
            except OSError as error:  # the process has closed the terminal
                raise AssertionError(seen) from error


def test_curl_trusts_its_certificate(house: CliWorkspace, tmp_path: Path) -> None:
    certificate, key = tmp_path / "server.pem", tmp_path / "server.key"
    make_pair(certificate, key)
    secret = token(house, "USER:developer")
    options = ("--listen", "0.0.0.0:0", "--tls-certificate", certificate, "--tls-key", key)
    with serving(house, tmp_path / "log", *options) as server:
        url = server.address.replace("0.0.0.0", "localhost") + "/api/v1/workspace"
        asking = ["curl", "-s", "-H", f"Authorization: Bearer {secret}", url]
        trusting = subprocess.run([*asking, "--cacert", certificate], capture_output=True, timeout=LIMIT, check=False)
        assert json.loads(trusting.stdout)["subject"] == "USER:developer"
        assert subprocess.run(asking, capture_output=True, timeout=LIMIT, check=False).returncode == 60


# ---- the log


def test_the_log_is_lines_of_json_without_a_secret(house: CliWorkspace, tmp_path: Path) -> None:
    secret = token(house, "USER:developer")
    with serving(house, tmp_path / "log") as server:
        calls = httpx.Client(base_url=server.address, headers={"Authorization": f"Bearer {secret}"}, timeout=LIMIT)
        done = calls.get(f"/api/v1/task/{house.done}").json()
        link = done["downloadUrl"]
        assert httpx.get(link).status_code == 200
        assert httpx.get(link.replace("expires=", "expires=1")).status_code == 403
        calls.get("/api/v1/workspace", params={"token": secret})
        calls.get(f"/api/v1/task/{secret}")
        calls.post("/api/v1/signingTask", json={"deviceConfigId": secret, "inputBase64": 7})
        assert server.ends(signal.SIGTERM) == 0
        signature = link.rpartition("signature=")[2]
        for canary in (secret, secret.rpartition("_")[2], signature, PASSPHRASE):
            assert canary not in server.log
        asked = [each for each in server.lines if "path" in each]
        assert {"GET", "POST"} == {each["method"] for each in asked}
        assert {200, 403, 404} <= {each["status"] for each in asked}
        assert "USER:developer" in {each["subject"] for each in asked}
