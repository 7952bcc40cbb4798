"""Tests of the launcher: first start, passphrase prompts, the demo and server profiles."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import select
import shutil
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from sealyard.client.config.key_holder import KeyHolder
from sealyard.client.config.profiles import Profile, add_profile, read_profiles, user_profiles_path
from sealyard.client.config.server_tokens import save_token
from sealyard.client.config.settings_loader import Settings
from sealyard.client.config.workspaces import create_workspace
from sealyard.model.errors import AuthenticationError, KeyStoreLockedError, StorageError
from sealyard.model.workspace import KeyStore
from sealyard_tui import launcher as front
from sealyard_tui.screens.welcome import app as welcome_app
from sealyard_tui.screens.welcome.app import WelcomeApp
from sealyard_tui.screens.welcome.choices import CreateWorkspaceChoice, OpenDemoChoice, StartChoice
from sealyard_tui.session.connections import LocalConnection, WorkspaceConnection
from sealyard_tui.session.messages import ConnectionMode
from tests.support.key_holders import unlock
from tests.support.limits import TIMEOUT

PASSPHRASE = "a canary among passphrases"


class Terminal:
    """The ``sealyard`` command on a pseudo-terminal of 80x24."""

    def __init__(self, *arguments: str) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sealyard.cli.main", *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"},
        )
        os.close(slave)
        self.written = b""
        self._offset = 0

    def wait_for_text(self, words: str) -> None:
        """Wait until ``words`` are written after the text of the previous call."""
        expected, deadline = words.encode(), time.monotonic() + TIMEOUT
        while (position := self.written.find(expected, self._offset)) < 0:
            assert time.monotonic() < deadline, f"{words!r} was not written: {self.written[-2000:]!r}"
            self._read()
        self._offset = position + len(expected)

    def send_keys(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def wait_for_exit(self) -> int:
        deadline = time.monotonic() + TIMEOUT
        while self.process.poll() is None:
            assert time.monotonic() < deadline, "the command does not exit"
            self._read()
        self._read()
        return self.process.returncode

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)

    def _read(self) -> None:
        if select.select([self._master], [], [], 0.05)[0]:
            try:
                self.written += os.read(self._master, 65536)
            except OSError:  # no process has the terminal open
                time.sleep(0.01)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    for name in ("SEALYARD_PASSPHRASE", "SEALYARD_WORKSPACE", "SEALYARD_PROFILE", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    running_terminal = Terminal()
    yield running_terminal
    running_terminal.close()


def test_first_start_creates_workspace_from_answers(terminal: Terminal) -> None:
    terminal.wait_for_text("Create a workspace")
    terminal.send_keys("n")
    terminal.wait_for_text("Master key")
    terminal.send_keys("\x13")
    terminal.wait_for_text("New passphrase for the key store: ")
    terminal.send_keys("one\r")
    terminal.wait_for_text("Repeat: ")
    terminal.send_keys("other\r")
    terminal.wait_for_text("Passphrases do not match.")
    terminal.wait_for_text("New passphrase for the key store: ")
    terminal.send_keys(f"{PASSPHRASE}\r")
    terminal.wait_for_text("Repeat: ")
    terminal.send_keys(f"{PASSPHRASE}\r")
    terminal.wait_for_text("ready")
    terminal.send_keys("q")
    assert terminal.wait_for_exit() == 0
    assert PASSPHRASE.encode() not in terminal.written
    assert read_profiles(user_profiles_path()).current == "workspace"


@pytest.fixture
def terminal_with_wrong_passphrase(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    monkeypatch.setenv("SEALYARD_PASSPHRASE", "wrong")
    running_terminal = Terminal()
    yield running_terminal
    running_terminal.close()


def test_quit_at_first_start_creates_nothing(terminal: Terminal) -> None:
    terminal.wait_for_text("Quit")
    terminal.send_keys("q")
    assert terminal.wait_for_exit() == 0
    assert not user_profiles_path().exists()


@pytest.fixture(scope="module")
def template_profile(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    """The profile of a workspace to copy."""
    root = tmp_path_factory.mktemp("template")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("XDG_CONFIG_HOME", str(root / "config"))
        return asyncio.run(
            create_workspace(
                root / "yard",
                name="yard",
                administrator="olga",
                key_store=KeyStore.PASSPHRASE,
                key_holder=unlock(PASSPHRASE),
            )
        )


@pytest.fixture
def workspace(template_profile: Profile, tmp_path: Path) -> Path:
    folder = tmp_path / "yard"
    shutil.copytree(template_profile.workspace, folder)
    add_profile(user_profiles_path(), msgspec.structs.replace(template_profile, workspace=str(folder)), current=True)
    return folder


def test_wrong_passphrase_prompts_again(workspace: Path, terminal: Terminal) -> None:
    terminal.wait_for_text("Passphrase of the key store: ")
    terminal.send_keys("wrong\r")
    terminal.wait_for_text("Wrong passphrase for the key store.")
    terminal.wait_for_text("Passphrase of the key store: ")
    terminal.send_keys(f"{PASSPHRASE}\r")
    terminal.wait_for_text("ready")
    terminal.send_keys("q")
    assert terminal.wait_for_exit() == 0


def test_empty_passphrase_exits_with_code_7(workspace: Path, terminal: Terminal) -> None:
    terminal.wait_for_text("Passphrase of the key store: ")
    terminal.send_keys("\r")
    assert terminal.wait_for_exit() == 7
    assert b"SEALYARD_PASSPHRASE" in terminal.written


# ---- without a terminal


class FakeRun:
    """Replaces the application: returns the given outcomes, and records its arguments."""

    def __init__(self, *outcomes: int | KeyStoreLockedError) -> None:
        self._outcomes = list(outcomes)
        self.profiles: list[Profile] = []
        self.has_key_holder: list[bool] = []
        self.logs: list[Path | None] = []

    def __call__(
        self, profile: Profile, key_holder: KeyHolder | None, settings: Settings, *, log: Path | None = None
    ) -> int:
        self.logs.append(log)
        self.profiles.append(profile)
        self.has_key_holder.append(key_holder is not None)
        outcome = self._outcomes.pop(0)
        if isinstance(outcome, KeyStoreLockedError):
            raise outcome
        return outcome


def profile_of(workspace: Path) -> Profile:
    return read_profiles(user_profiles_path()).profiles[0]


def test_passphrase_prompt_fails_after_three_attempts(workspace: Path, terminal: Terminal) -> None:
    for answer in ("a", "b", "c"):
        terminal.wait_for_text("Passphrase of the key store: ")
        terminal.send_keys(f"{answer}\r")
    assert terminal.wait_for_exit() == 7
    assert terminal.written.count(b"Wrong passphrase") == 3, "the command reports the last error"


def test_wrong_environment_passphrase_fails_without_prompt(
    workspace: Path, terminal_with_wrong_passphrase: Terminal
) -> None:
    assert terminal_with_wrong_passphrase.wait_for_exit() == 7
    assert b"Passphrase of the key store" not in terminal_with_wrong_passphrase.written


def test_read_only_needs_no_passphrase(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = FakeRun(0)
    monkeypatch.setattr(front, "run", runs)
    assert front.open_workspace(profile_of(workspace), Settings(read_only=True)) == 0
    assert runs.has_key_holder == [False]


def answer_welcome(monkeypatch: pytest.MonkeyPatch, *starts: StartChoice | None) -> list[WelcomeApp]:
    """Answer the welcome screen with ``starts``; return the applications that were run."""
    answers, welcome_apps = list(starts), []

    def run(self: WelcomeApp, *, mouse: bool) -> StartChoice | None:
        welcome_apps.append(self)
        return answers.pop(0)

    monkeypatch.setattr(welcome_app.WelcomeApp, "run", run)
    return welcome_apps


def test_workspace_creation_error_returns_to_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SEALYARD_PASSPHRASE", PASSPHRASE)
    wrong = CreateWorkspaceChoice(
        folder=tmp_path / "file" / "yard", name="yard", administrator="USER:olga", key_store=KeyStore.PASSPHRASE
    )
    welcome_apps = answer_welcome(monkeypatch, wrong, None)
    assert front.welcome(Settings()) == 0
    assert welcome_apps[0].error is None
    assert welcome_apps[1].previous_choice == wrong
    assert isinstance(welcome_apps[1].error, StorageError)


def test_differing_passphrases_return_to_form(terminal: Terminal) -> None:
    terminal.wait_for_text("Create a workspace")
    terminal.send_keys("n")
    terminal.wait_for_text("Master key")
    terminal.send_keys("\x13")
    for number in range(3):
        terminal.wait_for_text("New passphrase for the key store: ")
        terminal.send_keys(f"{number}\r")
        terminal.wait_for_text("Repeat: ")
        terminal.send_keys("other\r")
    terminal.wait_for_text("passphrases do not match")
    terminal.wait_for_text("Master key")
    assert read_profiles(user_profiles_path()).profiles == ()


def test_demo_opens_as_developer_and_is_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    from sealyard.client import demo

    monkeypatch.setattr(demo, "create_populated_demo", demo.create_demo)
    runs = FakeRun(0)
    monkeypatch.setattr(front, "run", runs)
    answer_welcome(monkeypatch, OpenDemoChoice())
    assert front.welcome(Settings()) == 0
    assert runs.profiles[0].identity == demo.DEVELOPER
    assert runs.has_key_holder == [True]
    assert not Path(runs.profiles[0].workspace).exists()


def test_demo_log_is_kept_after_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    from sealyard.client import demo

    monkeypatch.setattr(demo, "create_populated_demo", demo.create_demo)
    runs = FakeRun(1)
    monkeypatch.setattr(front, "run", runs)
    answer_welcome(monkeypatch, OpenDemoChoice())
    assert front.welcome(Settings()) == 1
    (log,) = runs.logs
    assert log is not None
    assert not log.is_relative_to(Path(runs.profiles[0].workspace).parent)


# ---- server profiles


SERVER = "https://seal.example:8443"


def add_server_profile(server: str, name: str, **more: str) -> Profile:
    profile = Profile(name=name, identity=f"USER:{name}", server=server, **more)
    add_profile(user_profiles_path(), profile, current=True)
    return profile


class FakeServerRun:
    """Replaces the application, and records its arguments."""

    def __init__(self) -> None:
        self.connections: list[WorkspaceConnection] = []
        self.profiles: list[tuple[Profile, ...]] = []
        self.logs: list[Path] = []

    def __call__(
        self,
        connection: WorkspaceConnection,
        profile: Profile,
        profiles: tuple[Profile, ...],
        settings: Settings,
        log: Path,
    ) -> int:
        self.connections.append(connection)
        self.profiles.append(profiles)
        self.logs.append(log)
        return 0


@pytest.fixture
def server_run(monkeypatch: pytest.MonkeyPatch) -> FakeServerRun:
    recorder = FakeServerRun()
    monkeypatch.setattr(front, "run_app", recorder)
    for name in ("SEALYARD_PASSPHRASE", "SEALYARD_WORKSPACE", "SEALYARD_PROFILE", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    return recorder


def test_server_profile_opens_without_passphrase(
    server_run: FakeServerRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEALYARD_TOKEN", "sy_token")
    monkeypatch.setattr(front, "prompt", pytest.fail)
    add_server_profile("https://other.example", "elsewhere")
    others = add_server_profile(SERVER, "owner"), add_server_profile(SERVER, "dev")
    assert front.main() == 0
    (connection,) = server_run.connections
    assert (connection.mode, connection.host) == (ConnectionMode.SERVER, "seal.example:8443")
    assert set(server_run.profiles[0]) == set(others), "only profiles of the same server can be chosen"
    assert server_run.logs[0].is_relative_to(tmp_path), "the log is stored in the user's folders"


def test_missing_token_raises_before_start(server_run: FakeServerRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEALYARD_TOKEN", raising=False)
    monkeypatch.setattr("sealyard.keys.master_key.os_keyring_available", lambda: False)
    add_server_profile(SERVER, "dev")
    with pytest.raises(AuthenticationError, match="No token"):
        front.main()
    assert server_run.connections == []


def test_token_passphrase_prompt_fails_after_three_attempts(
    server_run: FakeServerRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SEALYARD_TOKEN", raising=False)
    monkeypatch.setattr("sealyard.keys.master_key.os_keyring_available", lambda: False)
    profile = add_server_profile(SERVER, "dev")
    save_token(profile, "sy_token", {}, lambda: PASSPHRASE)
    answers = ["wrong", PASSPHRASE, "a", "b", "c", "d"]
    monkeypatch.setattr(front, "prompt", lambda _: answers.pop(0))
    assert front.main() == 0
    assert answers == ["a", "b", "c", "d"]
    with pytest.raises(KeyStoreLockedError):
        front.main()
    assert answers == ["d"]


def test_read_only_applies_to_server(server_run: FakeServerRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALYARD_TOKEN", "sy_token")
    profile = add_server_profile(SERVER, "dev")
    front.open_server(profile, Settings(read_only=True))
    assert server_run.connections[0].read_only


def test_sharing_and_key_checks_follow_settings(
    workspace: Path, server_run: FakeServerRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEALYARD_PASSPHRASE", PASSPHRASE)
    settings = Settings(socket_group="firmware", allow_private_webhooks=True, key_check_minutes=3)
    front.open_workspace(profile_of(workspace), settings)
    (connection,) = server_run.connections
    assert isinstance(connection, LocalConnection)
    assert (connection._group, connection._allow_private_webhooks) == ("firmware", True)
    assert connection._key_check_interval == 180
