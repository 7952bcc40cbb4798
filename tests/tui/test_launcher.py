"""Before the application: who has no workspace is led to one, and passphrases are asked on the plain terminal alone."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealyard.client.config.profiles import Profile, add_profile, read_profiles, user_profiles_path
from sealyard.client.config.server_tokens import save_token
from sealyard.client.config.settings_loader import Settings
from sealyard.client.config.workspaces import create_workspace
from sealyard.model.errors import AuthenticationError, KeyStoreLockedError, StorageError, UsageError
from sealyard.model.workspace import KeyStore
from sealyard_tui import launcher as front
from sealyard_tui.screens.welcome import app as welcome_app
from sealyard_tui.screens.welcome.app import WelcomeApp
from sealyard_tui.screens.welcome.choices import CreateWorkspaceChoice, OpenDemoChoice, StartChoice
from sealyard_tui.session.connections import LocalConnection, WorkspaceConnection
from sealyard_tui.session.messages import ConnectionMode

PASSPHRASE = "a passphrase for this test alone"
LIMIT = 60.0


class Terminal:
    """The `sealyard` command on a terminal of 80x24: what it wrote, and keys for it."""

    def __init__(self, *arguments: str) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sealyard.cli.main", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"},
        )
        os.close(theirs)
        self.written = b""
        self._read_to = 0

    def shows(self, words: str) -> None:
        """Waits until ``words`` are written after what was waited for last."""
        wanted, end = words.encode(), time.monotonic() + LIMIT
        while (found_at := self.written.find(wanted, self._read_to)) < 0:
            assert time.monotonic() < end, f"{words!r} was not written: {self.written[-2000:]!r}"
            self._read()
        self._read_to = found_at + len(wanted)

    def types(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def ends(self) -> int:
        end = time.monotonic() + LIMIT
        while self.process.poll() is None:
            assert time.monotonic() < end, "it does not end"
            self._read()
        self._read()
        return self.process.returncode

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._ours)

    def _read(self) -> None:
        if select.select([self._ours], [], [], 0.05)[0]:
            try:
                self.written += os.read(self._ours, 65536)
            except OSError:  # the last one at the terminal has left
                time.sleep(0.01)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    for name in ("SEALYARD_PASSPHRASE", "SEALYARD_WORKSPACE", "SEALYARD_PROFILE", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    opened = Terminal()
    yield opened
    opened.close()


def test_a_first_start_leads_through_the_questions_into_a_workspace_of_ones_own(terminal: Terminal) -> None:
    terminal.shows("Create a workspace")
    terminal.types("n")
    terminal.shows("3 Master key")
    terminal.types("\x13")
    terminal.shows("New passphrase for the key store: ")
    terminal.types("one\r")
    terminal.shows("Repeat: ")
    terminal.types("other\r")
    terminal.shows("Passphrases do not match.")
    terminal.shows("New passphrase for the key store: ")
    terminal.types(f"{PASSPHRASE}\r")
    terminal.shows("Repeat: ")
    terminal.types(f"{PASSPHRASE}\r")
    terminal.shows("ready")
    terminal.types("q")
    assert terminal.ends() == 0
    assert PASSPHRASE.encode() not in terminal.written
    assert read_profiles(user_profiles_path()).current == "workspace"


def test_who_only_looks_in_leaves_with_nothing_made(terminal: Terminal) -> None:
    terminal.shows("Quit")
    terminal.types("q")
    assert terminal.ends() == 0
    assert not user_profiles_path().exists()


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    place = tmp_path / "yard"
    asyncio.run(
        create_workspace(place, name="yard", administrator="olga", key_store=KeyStore.PASSPHRASE, passphrase=PASSPHRASE)
    )
    return place


def test_a_wrong_passphrase_is_asked_for_again(workspace: Path, terminal: Terminal) -> None:
    terminal.shows("Passphrase of the key store: ")
    terminal.types("wrong\r")
    terminal.shows("Wrong passphrase for the key store.")
    terminal.shows("Passphrase of the key store: ")
    terminal.types(f"{PASSPHRASE}\r")
    terminal.shows("ready")
    terminal.types("q")
    assert terminal.ends() == 0


def test_nobody_saying_a_passphrase_is_exit_code_7(workspace: Path, terminal: Terminal) -> None:
    terminal.shows("Passphrase of the key store: ")
    terminal.types("\r")
    assert terminal.ends() == 7
    assert b"SEALYARD_PASSPHRASE" in terminal.written


# ---- without a terminal


class Runs:
    """Stands for the application: answers what it is told, and remembers whom it ran for."""

    def __init__(self, *outcomes: int | KeyStoreLockedError) -> None:
        self._outcomes = list(outcomes)
        self.profiles: list[Profile] = []
        self.passphrases: list[str | None] = []
        self.logs: list[Path | None] = []

    def __call__(self, profile: Profile, passphrase: str | None, settings: Settings, *, log: Path | None = None) -> int:
        self.logs.append(log)
        self.profiles.append(profile)
        self.passphrases.append(passphrase)
        outcome = self._outcomes.pop(0)
        if isinstance(outcome, KeyStoreLockedError):
            raise outcome
        return outcome


WRONG = KeyStoreLockedError("Wrong passphrase for the key store.", "Try again.")


def profile_of(workspace: Path) -> Profile:
    return read_profiles(user_profiles_path()).profiles[0]


def test_a_passphrase_is_asked_for_three_times_at_most(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = ["a", "b", "c", "d"]
    runs = Runs(WRONG, WRONG, WRONG, 0)
    monkeypatch.setattr(front, "run", runs)
    monkeypatch.setattr(front, "prompt", lambda _: answers.pop(0))
    with pytest.raises(KeyStoreLockedError):
        front.open_workspace(profile_of(workspace), Settings())
    assert runs.passphrases == ["a", "b", "c"]
    assert capsys.readouterr().err.count("Wrong passphrase") == 2, "the last time it is for the command to say"


def test_a_wrong_passphrase_that_nobody_typed_is_not_asked_for(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = Runs(WRONG, 0)
    monkeypatch.setattr(front, "run", runs)
    monkeypatch.setenv("SEALYARD_PASSPHRASE", "wrong")
    with pytest.raises(KeyStoreLockedError):
        front.open_workspace(profile_of(workspace), Settings())
    assert runs.passphrases == ["wrong"]


def test_who_only_reads_needs_no_passphrase(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs(0)
    monkeypatch.setattr(front, "run", runs)
    assert front.open_workspace(profile_of(workspace), Settings(read_only=True)) == 0
    assert runs.passphrases == [None]


def welcomes(monkeypatch: pytest.MonkeyPatch, *starts: StartChoice | None) -> list[WelcomeApp]:
    """What the person answers, time after time; the applications that asked."""
    answers, asked = list(starts), []

    def run(self: WelcomeApp, *, mouse: bool) -> StartChoice | None:
        asked.append(self)
        return answers.pop(0)

    monkeypatch.setattr(welcome_app.WelcomeApp, "run", run)
    return asked


def test_a_workspace_that_cannot_be_made_goes_back_to_the_questions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SEALYARD_PASSPHRASE", PASSPHRASE)
    wrong = CreateWorkspaceChoice(
        folder=tmp_path / "file" / "yard", name="yard", administrator="USER:olga", key_store=KeyStore.PASSPHRASE
    )
    asked = welcomes(monkeypatch, wrong, None)
    assert front.welcome(Settings()) == 0
    assert asked[0].error is None
    assert asked[1].previous_choice == wrong
    assert isinstance(asked[1].error, StorageError)


def test_two_passphrases_that_differ_go_back_to_the_questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEALYARD_PASSPHRASE", raising=False)
    numbers = iter(range(100))
    monkeypatch.setattr(front, "prompt", lambda _: f"another {next(numbers)}")
    wanted = CreateWorkspaceChoice(
        folder=tmp_path / "yard", name="yard", administrator="USER:olga", key_store=KeyStore.PASSPHRASE
    )
    asked = welcomes(monkeypatch, wanted, None)
    assert front.welcome(Settings()) == 0
    assert isinstance(asked[1].error, UsageError)
    assert not (tmp_path / "yard").exists()


def test_the_demo_opens_as_its_developer_and_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    from sealyard.client import demo

    monkeypatch.setattr(demo, "create_populated_demo", demo.create_demo)
    runs = Runs(0)
    monkeypatch.setattr(front, "run", runs)
    welcomes(monkeypatch, OpenDemoChoice())
    assert front.welcome(Settings()) == 0
    assert runs.profiles[0].identity == demo.DEVELOPER
    assert runs.passphrases[0]
    assert not Path(runs.profiles[0].workspace).exists()


def test_the_log_of_a_demo_is_there_when_the_demo_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    from sealyard.client import demo

    monkeypatch.setattr(demo, "create_populated_demo", demo.create_demo)
    runs = Runs(1)
    monkeypatch.setattr(front, "run", runs)
    welcomes(monkeypatch, OpenDemoChoice())
    assert front.welcome(Settings()) == 1
    (log,) = runs.logs
    assert log is not None
    assert not log.is_relative_to(Path(runs.profiles[0].workspace).parent)


# ---- at a server


SERVER = "https://seal.example:8443"


def at(server: str, name: str, **more: str) -> Profile:
    profile = Profile(name=name, identity=f"USER:{name}", server=server, **more)
    add_profile(user_profiles_path(), profile, current=True)
    return profile


class Opened:
    """Stands for the application, and remembers what it was opened with."""

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
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    made = Opened()
    monkeypatch.setattr(front, "run_app", made)
    for name in ("SEALYARD_PASSPHRASE", "SEALYARD_WORKSPACE", "SEALYARD_PROFILE", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    return made


def test_a_servers_profile_is_opened_without_a_workspace_and_without_a_passphrase(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEALYARD_TOKEN", "sy_token")
    monkeypatch.setattr(front, "prompt", pytest.fail)
    at("https://other.example", "elsewhere")
    others = at(SERVER, "owner"), at(SERVER, "dev")
    assert front.main() == 0
    (connection,) = opened.connections
    assert (connection.mode, connection.host) == (ConnectionMode.SERVER, "seal.example:8443")
    assert set(opened.profiles[0]) == set(others), "one can be those of this server only"
    assert opened.logs[0].is_relative_to(tmp_path), "the log is not where a workspace would be"


def test_who_has_no_token_is_told_before_the_terminal_is_taken(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEALYARD_TOKEN", raising=False)
    monkeypatch.setattr("sealyard.keys.master_key.os_keyring_available", lambda: False)
    at(SERVER, "dev")
    with pytest.raises(AuthenticationError, match="No token"):
        front.main()
    assert opened.connections == []


def test_the_passphrase_that_a_token_lies_under_is_asked_for_three_times_at_most(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SEALYARD_TOKEN", raising=False)
    monkeypatch.setattr("sealyard.keys.master_key.os_keyring_available", lambda: False)
    profile = at(SERVER, "dev")
    save_token(profile, "sy_token", {}, lambda: PASSPHRASE)
    answers = ["wrong", PASSPHRASE, "a", "b", "c", "d"]
    monkeypatch.setattr(front, "prompt", lambda _: answers.pop(0))
    assert front.main() == 0
    assert answers == ["a", "b", "c", "d"]
    with pytest.raises(KeyStoreLockedError):
        front.main()
    assert answers == ["d"]


def test_a_read_only_application_is_so_at_a_server_too(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALYARD_TOKEN", "sy_token")
    profile = at(SERVER, "dev")
    front.open_server(profile, Settings(read_only=True))
    assert opened.connections[0].read_only


def test_the_group_that_may_attach_is_what_the_settings_say(
    workspace: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEALYARD_PASSPHRASE", PASSPHRASE)
    front.open_workspace(profile_of(workspace), Settings(socket_group="firmware"))
    (connection,) = opened.connections
    assert isinstance(connection, LocalConnection)
    assert connection._group == "firmware"
