"""Two people in two terminals on one workspace: without a server, and on one; and the line between them breaks."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.e2e.test_story import approve, ask_for_package, real_file
from tests.support.ports import ReservedPort
from tests.support.processes import killed_at_exit
from tests.support.tmux_terminal import SEALYARD, TmuxTerminal, environment, terminal

LIMIT = 60.0


class Yard:
    """A workspace with a developer, an owner and one configuration; commands in it, and terminals of its people."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environ = self.of("", SEALYARD_WORKSPACE=str(root / "yard"), SEALYARD_PASSPHRASE="for this test")
        self.command("init", "--name", "yard", "--admin", "USER:olga", "--key-store", "passphrase")
        for name in ("dev", "owner"):
            self.command("subject", "add", f"USER:{name}")
            self.command("profile", "add", name, "--identity", f"USER:{name}")
        self.command(
            "device", "create", "gateway", "--encryption", "AES128_CTR_NO_PAD", "--signing", "ED25519",
            "--use", "USER:dev", "--approve", "USER:owner",
        )  # fmt: skip

    def of(self, name: str, **more: str) -> dict[str, str]:
        """The environment of one person's home."""
        return environment(self.root / f"home{name}", **more)

    def command(self, *words: str, environ: Mapping[str, str] | None = None, given: str | None = None) -> str:
        run = subprocess.run(
            [SEALYARD, *words], env=environ or self.environ, check=True, capture_output=True, text=True, input=given
        )
        return run.stdout

    @contextmanager
    def terminal(self, name: str, *options: str) -> Iterator[TmuxTerminal]:
        environ = {**self.environ, "SEALYARD_DOWNLOAD_DIR": str(self.root / "downloads" / name)}
        with terminal([SEALYARD, "--profile", name, *options], environ, (120, 40)) as found:
            found.wait_for(rf"USER:{name} \(", "● ready")
            yield found

    def downloads(self, name: str) -> list[Path]:
        return sorted((self.root / "downloads" / name).rglob("*.se-1"))


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    return Yard(tmp_path)


def test_the_second_application_attaches_approves_and_takes_over_from_the_first(yard: Yard, tmp_path: Path) -> None:
    with ExitStack() as both:
        first = both.enter_context(yard.terminal("dev"))
        second = both.enter_context(yard.terminal("owner"))
        second.press("?")
        second.wait_for("Connected to another process on this machine")
        second.press("Escape")
        second.wait_until_gone("Help: ")

        ask_for_package(first, real_file(tmp_path / "fw" / "one.bin", 500_000))
        approve(second, "gateway", "one.bin")
        first.press("1")
        first.wait_for("Downloaded one.bin", "signature and digest", limit=LIMIT)
        assert len(yard.downloads("dev")) == 1
        first.press("Escape")
        first.wait_until_gone("Downloaded one.bin")

        ask_for_package(first, real_file(tmp_path / "fw" / "two.bin", 500_000))
        first.quit()
        assert first.exit_code() == 0
        second.wait_for("The previous owner exited", limit=LIMIT)
        second.wait_for("● ready")
        approve(second, "gateway", "two.bin")
        second.press("1")
        second.wait_for("DONE +two.bin", limit=LIMIT)

        # Who comes now attaches to the one that took over, and what was made meanwhile comes down.
        again = both.enter_context(yard.terminal("dev"))
        again.wait_for("Downloaded two.bin", limit=LIMIT)
        assert len(yard.downloads("dev")) == 2
        again.press("?")
        again.wait_for("Connected to another process")


def test_an_application_whose_holder_is_killed_takes_over(yard: Yard) -> None:
    with ExitStack() as both:
        first = both.enter_context(yard.terminal("dev"))
        second = both.enter_context(yard.terminal("owner"))
        os.kill(first.pid_of("sealyard --profile dev"), signal.SIGKILL)
        second.wait_for("The previous owner exited", limit=LIMIT)
        second.wait_for("● ready")


# ---- on a server


class Server:
    """`sealyard serve` as a process of its own, to be stopped and started again on the same port."""

    def __init__(self, yard: Yard) -> None:
        self._yard = yard
        self._process: subprocess.Popen[str] | None = None
        self._port = ReservedPort()
        self.address = f"http://127.0.0.1:{self._port.number}"

    def start(self) -> None:
        self._process = subprocess.Popen(
            [SEALYARD, "serve", "--listen", f"127.0.0.1:{self._port.number}", "--shutdown-timeout", "0s"],
            env=self._yard.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if f"Serving yard on {self.address} " in line:
                return
        raise AssertionError("it did not start")

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.communicate(timeout=LIMIT)
            self._process = None

    def end(self) -> None:
        """Kill the server, if it still runs, and release the port; its workers end with it."""
        if self._process is not None:
            with killed_at_exit(self._process):
                self._process = None
        self._port.close()


@pytest.fixture
def server(yard: Yard) -> Iterator[Server]:
    made = Server(yard)
    try:
        made.start()
        yield made
        made.stop()
    finally:
        made.end()


@contextmanager
def at(server: Server, yard: Yard, name: str) -> Iterator[TmuxTerminal]:
    """A person on a machine of their own, with a token for the server."""
    made = yard.command("--profile", name, "token", "create", "laptop")
    token = re.search(r"\bsy_\w+", made)
    assert token is not None
    environ = yard.of(
        f"-{name}", SEALYARD_PASSPHRASE=f"of {name} alone", SEALYARD_DOWNLOAD_DIR=str(yard.root / "downloads" / name)
    )
    yard.command("login", server.address, environ=environ, given=token[0])
    with terminal([SEALYARD], environ, (120, 40)) as found:
        found.wait_for(rf"USER:{name} \(", "yard on 127.0.0.1", "● ready")
        yield found


def test_two_people_on_a_server_make_a_package_over_a_line_that_breaks(
    yard: Yard, server: Server, tmp_path: Path
) -> None:
    with ExitStack() as both:
        developer = both.enter_context(at(server, yard, "dev"))
        owner = both.enter_context(at(server, yard, "owner"))
        developer.press("?")
        developer.wait_for("Separation of duties: enforced .on a server", "Connected to the server 127.0.0.1")
        developer.press("Escape")
        developer.wait_until_gone("Help: ")

        ask_for_package(developer, real_file(tmp_path / "fw" / "one.bin", 3_000_000))
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
            each.wait_until_gone("reconnecting", limit=LIMIT)
        owner.press("Enter")
        owner.wait_for("one.bin.* approved .status: ")
        developer.press("1")
        developer.wait_for("Downloaded one.bin", "signature and digest", limit=LIMIT)
        assert len(yard.downloads("dev")) == 1
        assert yard.downloads("owner") == []
