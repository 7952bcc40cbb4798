"""The whole story, played in a terminal by keys alone: two people, real files, real keys, a real engine."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import command_line
from tests.support.tmux_terminal import SEALYARD, TmuxTerminal, descendants, environment, terminal

COMMAND = ".venv/bin/sealyard demo"
"""As the README has it, from the folder of the repository."""

DEMO = (SEALYARD, "demo")
READY = ("● ready", "gateway 1.5.0")


@pytest.fixture
def editor(tmp_path: Path) -> Path:
    """An editor that a person would not like, but that edits."""
    script = tmp_path / "editor.sh"
    script.write_text('#!/bin/sh\necho "written in the editor" >> "$1"\n')
    script.chmod(0o755)
    return script


@pytest.fixture
def demo(tmp_path: Path, editor: Path) -> Iterator[TmuxTerminal]:
    environ = environment(tmp_path / "home", EDITOR=str(editor))
    with terminal(DEMO, environ, (120, 40)) as found:
        found.wait_for(*READY)
        yield found


def real_file(path: Path, size: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))
    return path


def become(found: TmuxTerminal, identity: str) -> None:
    """F2 makes one the next person; round and round until it is the one."""
    for _ in range(5):
        seen = found.wait_for(r"USER:\w+ \(")
        if f"{identity} (" in seen:
            return
        before = re.search(r"USER:\w+ \(", seen)
        assert before is not None
        found.press("F2")
        found.wait_until(lambda text, old=before[0]: old not in text and "● ready" in text, "another user")
    raise AssertionError(f"{identity} is no profile of the demo")


def ask_for_package(found: TmuxTerminal, *paths: Path, metadata: int = 0, device: str = "1") -> str:
    """On the upload place; the last ``metadata`` files are metadata. The task's id."""
    found.press("2")
    found.wait_for("No files yet")
    found.press("a")
    found.wait_for(r"\^o Browse")
    found.type(" ".join(f"'{each}'" for each in paths))
    found.press("Enter")
    found.wait_for(f"Files: {len(paths)} firmware")
    found.press("Escape")
    found.wait_for("m Metadata")
    for _ in range(metadata):
        found.press("m", "k")
    found.wait_for(f"Files: {len(paths) - metadata} firmware, {metadata} metadata")
    found.press("d")
    found.wait_for("Choose a device configuration")
    found.press(device)
    found.wait_for("● ready.*\n(.*\n)*.*Submit.*● ready")
    found.press("C-s")
    shown_before = set(made_tasks(found.wait_for("Submit\\?")))
    found.press("y")
    seen = found.wait_until(lambda text: set(made_tasks(text)) - shown_before, "a new task")
    (task,) = set(made_tasks(seen)) - shown_before
    return task


def made_tasks(text: str) -> list[str]:
    """The ids in the messages about new tasks; the message of an earlier task may still be shown."""
    return re.findall(r"Created task (\w+) ", text)


def approve(found: TmuxTerminal, device: str, name: str) -> None:
    """Approve the first task of the queue, which is called ``name``."""
    found.press("3")
    found.wait_for("✓ approve", re.escape(name))
    found.press("A")
    found.wait_for(f"Type {device} to confirm")
    found.settle()
    found.type(device)
    found.press("Enter")
    found.wait_for(rf"{re.escape(name)}.* approved .status: ")


def test_the_story_begins_with_the_command_of_the_readme() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    assert f"<!-- application -->\n```sh\n{COMMAND}\n```" in readme
    assert tuple(shlex.split(COMMAND))[1:] == DEMO[1:]


def test_two_people_make_a_package_and_it_comes_down_checked(demo: TmuxTerminal, tmp_path: Path) -> None:
    bootloader = real_file(tmp_path / "fw" / "bootloader.bin", 300_000)
    application = real_file(tmp_path / "fw" / "application.bin", 5_000_000)
    notes = tmp_path / "fw" / "release.json"
    notes.write_text('{"version": "2.0.0", "notes": "fixes the watchdog"}')
    task = ask_for_package(demo, bootloader, application, notes, metadata=1)

    # Nobody approves their own: the screen says so before one tries.
    demo.press("3")
    demo.press("m")
    demo.wait_for("You cannot decide on your own task")

    become(demo, "USER:owner")
    demo.press("3")
    demo.wait_for("✓ approve")
    demo.wait_for("USER:developer", hashlib.sha256(bootloader.read_bytes()).hexdigest())
    approve(demo, "demo-gateway", "bootloader.bin")

    become(demo, "USER:developer")
    demo.press("1")
    demo.wait_for("Downloaded bootloader.bin", "signature and digest")
    container = next((tmp_path / "home").rglob(f"*{task}*.se-1"))
    opened = subprocess.run([SEALYARD, "verify", "--help"], capture_output=True, text=True, check=True)
    assert "certificate" in opened.stdout
    assert container.stat().st_size > 5_300_000
    demo.quit()
    assert demo.exit_code() == 0


def test_the_review_shows_metadata_and_what_changed_since_the_last_package(demo: TmuxTerminal) -> None:
    become(demo, "USER:owner")
    demo.press("3")
    demo.wait_for("✓ approve")
    demo.press("g", "Enter")
    demo.wait_for("gateway-1.5.0.bin")
    seen = demo.settle()
    for _ in range(6):
        demo.press("PageDown")
        seen += demo.settle()
    for words in ("Since the last approved package", "gateway-1.4.0.bin → gateway-1.5.0.bin", '"version"'):
        assert words in seen, f"{words} is not in the review:\n{seen}"


def test_a_rejection_with_a_reason_from_the_editor_reaches_the_developer(demo: TmuxTerminal) -> None:
    become(demo, "USER:owner")
    demo.press("3")
    demo.wait_for("✓ approve")
    demo.press("x")
    demo.wait_for("The requester sees the reason")
    demo.settle()
    demo.type("not this one: ")
    demo.press("C-e")
    demo.wait_for("written in the editor")
    demo.press("C-s")
    demo.wait_for("reject")
    become(demo, "USER:developer")
    demo.press("1")
    demo.wait_for("Rejected by USER:owner: not th")


def test_killed_workers_are_replaced_and_the_package_still_arrives(demo: TmuxTerminal, tmp_path: Path) -> None:
    """They are stopped first, so that the kill meets them in the middle of the work."""
    firmware = real_file(tmp_path / "fw" / "large.bin", 30_000_000)
    task = ask_for_package(demo, firmware)
    become(demo, "USER:owner")
    workers = worker_pids(demo)
    assert workers
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    approve(demo, "demo-gateway", "large.bin")
    demo.press("1")
    demo.wait_for("RUNNING +large.bin")
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    become(demo, "USER:developer")
    demo.wait_for("Downloaded large", limit=60)
    assert list((tmp_path / "home").rglob(f"*{task}*.se-1"))
    assert not set(workers) & set(worker_pids(demo))


def worker_pids(found: TmuxTerminal) -> list[int]:
    return [pid for pid in descendants(found.shell_pid()) if "sealyard.worker" in command_line(pid)]


def test_hostile_names_change_neither_the_title_nor_the_screen(demo: TmuxTerminal, tmp_path: Path) -> None:
    title = demo.title
    names = ("fw[bold red]signed.bin", "[@click=app.quit]x.bin", "a\x1b]2;PWNED\x07b.bin", "gnp\u202eexe.bin")
    folder = tmp_path / "fw"
    for name in names:
        real_file(folder / name, 5000)
    demo.press("2")
    demo.wait_for("No files yet")
    demo.press("b")
    demo.wait_for("Choose files", "As metadata")
    demo.press("p")
    demo.wait_until_gone("As metadata")
    demo.type(f"{folder}/")
    demo.press("Enter")
    demo.wait_for(
        re.escape(r"a\x1b]2;PWNED\x07b.bin"), re.escape("fw[bold red]signed.bin"), re.escape(r"gnp\u202eexe.bin")
    )
    for _ in names:
        demo.press("Space")
    demo.press("Enter")
    demo.wait_for("Files: 4 firmware", re.escape(r"a\x1b]2;PWNED\x07b.bin"))
    demo.press("d")
    demo.wait_for("Choose a device configuration")
    demo.press("1")
    demo.press("C-s")
    demo.wait_for("Submit\\?")
    demo.press("y")
    demo.wait_for("Created task")
    become(demo, "USER:owner")
    demo.press("3")
    demo.wait_for(re.escape("fw[bold red]signed.bin"))
    assert demo.title == title
    demo.quit()
    assert demo.exit_code() == 0


def test_a_terminal_that_becomes_small_and_large_again_shows_everything_again(demo: TmuxTerminal) -> None:
    for columns, rows in ((80, 24), (60, 18), (40, 10), (120, 40)):
        demo.resize(columns, rows)
        demo.wait_until(lambda text, high=rows: len(text.rstrip("\n").split("\n")) <= high, f"{columns}x{rows}")
    demo.wait_for("1 Dashboard", "gateway 1.5.0", "● ready", "Detail")


def test_what_is_copied_reaches_the_terminals_clipboard(demo: TmuxTerminal) -> None:
    demo.wait_for("gateway 1.5.0")
    demo.press("y")
    demo.wait_for("[Cc]opied")
    assert re.fullmatch(r"\w{10}", demo.clipboard.strip())
