"""Test two users in two terminals on one workspace: without a server, and on a server whose connection breaks."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.e2e.conftest import PASSPHRASE
from tests.e2e.test_story import approve, create_file, create_package
from tests.support.limits import TIMEOUT
from tests.support.ports import ReservedPort
from tests.support.processes import killed_at_exit
from tests.support.root import ALLOW_ROOT
from tests.support.tmux_terminal import SEALYARD, TmuxTerminal, environment, terminal


class Workspace:
    """The workspace in the folder ``root``; runs commands and opens terminals."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environ = self.home_environment(
            "", SEALYARD_WORKSPACE=str(root / "workspace"), SEALYARD_PASSPHRASE=PASSPHRASE
        )

    def home_environment(self, name: str, **variables: str) -> dict[str, str]:
        """Return an environment with the home directory of one user."""
        return environment(self.root / f"home{name}", **variables)

    def command(self, *arguments: str, environ: Mapping[str, str] | None = None, stdin_text: str | None = None) -> str:
        result = subprocess.run(
            [SEALYARD, *arguments],
            env=environ or self.environ,
            check=True,
            capture_output=True,
            text=True,
            input=stdin_text,
        )
        return result.stdout

    @contextmanager
    def terminal(self, name: str, *options: str) -> Iterator[TmuxTerminal]:
        environ = {**self.environ, "SEALYARD_DOWNLOAD_DIR": str(self.root / "downloads" / name)}
        with terminal([SEALYARD, "--profile", name, *options], environ, (120, 40)) as app:
            app.wait_for(rf"USER:{name} \(", "● ready")
            yield app

    def downloads(self, name: str) -> list[Path]:
        return sorted((self.root / "downloads" / name).rglob("*.se-1"))


@pytest.fixture
def workspace(workspace_folder: Path) -> Workspace:
    return Workspace(workspace_folder.parent)


def test_second_application_connects_and_takes_over(workspace: Workspace, tmp_path: Path) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(workspace.terminal("dev"))
        second = stack.enter_context(workspace.terminal("owner"))
        second.press("?")
        second.wait_for("Connected to another process on this machine")
        second.press("Escape")
        second.wait_until_gone("Help: ")

        create_package(first, create_file(tmp_path / "fw" / "one.bin", 500_000))
        approve(second, "gateway", "one.bin")
        first.press("1")
        first.wait_for("Downloaded one.bin", "signature and digest")
        assert len(workspace.downloads("dev")) == 1
        first.press("Escape")
        first.wait_until_gone("Downloaded one.bin")

        create_package(first, create_file(tmp_path / "fw" / "two.bin", 500_000))
        first.quit()
        assert first.exit_code() == 0
        second.wait_for("The previous owner exited")
        second.wait_for("● ready")
        approve(second, "gateway", "two.bin")
        second.press("1")
        second.wait_for("DONE +two.bin")

        # A new application connects to the one that took over, and downloads the new package.
        third = stack.enter_context(workspace.terminal("dev"))
        third.wait_for("Downloaded two.bin")
        assert len(workspace.downloads("dev")) == 2
        third.press("?")
        third.wait_for("Connected to another process")


def test_application_takes_over_from_killed_owner(workspace: Workspace) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(workspace.terminal("dev"))
        second = stack.enter_context(workspace.terminal("owner"))
        os.kill(first.pid_of("sealyard --profile dev"), signal.SIGKILL)
        second.wait_for("The previous owner exited")
        second.wait_for("● ready")


# ---- on a server


class ServerProcess:
    """`sealyard serve` in its own process, which can be stopped and restarted on the same port."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._process: subprocess.Popen[str] | None = None
        self._port = ReservedPort()
        self.address = f"http://127.0.0.1:{self._port.number}"

    def start(self) -> None:
        self._process = subprocess.Popen(
            [SEALYARD, "serve", *ALLOW_ROOT, "--listen", f"127.0.0.1:{self._port.number}", "--shutdown-timeout", "0s"],
            env=self._workspace.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if f"Serving acme on {self.address} " in line:
                return
        raise AssertionError("the server did not start")

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.communicate(timeout=TIMEOUT)
            self._process = None

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.communicate(timeout=TIMEOUT)
        self._process = None

    def close(self) -> None:
        """Kill the server, if it still runs, and release the port; its workers end with it."""
        if self._process is not None:
            with killed_at_exit(self._process):
                self._process = None
        self._port.close()


@pytest.fixture
def server(workspace: Workspace) -> Iterator[ServerProcess]:
    process = ServerProcess(workspace)
    try:
        process.start()
        yield process
        process.stop()
    finally:
        process.close()


@contextmanager
def open_remote_terminal(server: ServerProcess, workspace: Workspace, name: str) -> Iterator[TmuxTerminal]:
    """Open the application of a user on another machine, signed in to the server with a token."""
    output = workspace.command("--profile", name, "token", "create", "laptop")
    token = re.search(r"\bsy_\w+", output)
    assert token is not None
    environ = workspace.home_environment(
        f"-{name}",
        SEALYARD_PASSPHRASE=f"of {name} alone",
        SEALYARD_DOWNLOAD_DIR=str(workspace.root / "downloads" / name),
    )
    workspace.command("login", server.address, environ=environ, stdin_text=token[0])
    with terminal([SEALYARD], environ, (120, 40)) as app:
        app.wait_for(rf"USER:{name} \(", "acme on 127.0.0.1", "● ready")
        yield app


def test_server_restart_keeps_typed_approval(workspace: Workspace, server: ServerProcess, tmp_path: Path) -> None:
    with ExitStack() as stack:
        developer = stack.enter_context(open_remote_terminal(server, workspace, "dev"))
        owner = stack.enter_context(open_remote_terminal(server, workspace, "owner"))
        developer.press("?")
        developer.wait_for("Separation of duties: enforced .on a server", "Connected to the server 127.0.0.1")
        developer.press("Escape")
        developer.wait_until_gone("Help: ")

        create_package(developer, create_file(tmp_path / "fw" / "one.bin", 3_000_000))
        owner.press("3")
        owner.wait_for("✓ approve", "one.bin")
        owner.press("A")
        owner.wait_for("Type gateway to confirm")
        owner.settle()
        owner.type("gateway")
        owner.press("Tab")
        owner.settle()
        owner.type("tested on the bench")
        owner.wait_for("tested on the bench")

        server.stop()
        for each in (developer, owner):
            each.wait_for(r"reconnecting since \d\d:\d\d:\d\d \(last response \d\d:\d\d:\d\d\)")
        assert "tested on the bench" in owner.screen()
        server.start()
        for each in (developer, owner):
            each.wait_until_gone("reconnecting")
        owner.press("Enter")
        owner.wait_for("Approved: one.bin.* .status: ")
        developer.press("1")
        developer.wait_for("Downloaded one.bin", "signature and digest")
        assert len(workspace.downloads("dev")) == 1
        assert workspace.downloads("owner") == []


def test_approval_to_killed_server_is_pending_until_cancelled(
    workspace: Workspace, server: ServerProcess, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        developer = stack.enter_context(open_remote_terminal(server, workspace, "dev"))
        owner = stack.enter_context(open_remote_terminal(server, workspace, "owner"))
        create_package(developer, create_file(tmp_path / "fw" / "one.bin", 500_000))
        owner.press("3")
        owner.wait_for("✓ approve", "one.bin")
        owner.press("A")
        owner.wait_for("Type gateway to confirm")
        owner.type("gateway")
        server.kill()
        owner.press("Enter")
        owner.wait_for("Sending… waiting for the server", "1 pending")
        owner.press("Escape")
        owner.wait_for("Cancelled. The request was not sent; nothing has changed.")
        owner.press("Escape")
        owner.wait_until_gone("Type gateway to confirm")

        server.start()
        for each in (developer, owner):
            each.wait_until_gone("reconnecting")
        owner.wait_for("✓ approve", "one.bin")
        developer.press("1")
        developer.wait_for("WAITING +one.bin")
        approve(owner, "gateway", "one.bin")
        developer.wait_for("Downloaded one.bin", "signature and digest")
