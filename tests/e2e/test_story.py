"""Test the main scenario in a terminal, by keys alone: two users, real files, real keys, a real engine."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.processes import command_line, descendants_of, suspend
from tests.support.tmux_terminal import SEALYARD, TmuxTerminal, environment, terminal

COMMAND = ".venv/bin/sealyard demo"
"""The command in the README, run in the root of the repository."""

DEMO = (SEALYARD, "demo")
READY_TEXTS = ("● ready", "gateway 1.5.0")


@pytest.fixture
def editor(tmp_path: Path) -> Path:
    """A script that serves as $EDITOR and appends a line."""
    script = tmp_path / "editor.sh"
    script.write_text('#!/bin/sh\necho "written in the editor" >> "$1"\n')
    script.chmod(0o755)
    return script


@pytest.fixture
def demo(tmp_path: Path, editor: Path) -> Iterator[TmuxTerminal]:
    environ = environment(tmp_path / "home", EDITOR=str(editor))
    with terminal(DEMO, environ, (120, 40)) as app:
        app.wait_for(*READY_TEXTS)
        yield app


def create_file(path: Path, size: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))
    return path


UPLOAD_READY = "● ready.*\n(.*\n)*.*Submit.*● ready"
"""The status bar and, below it, the readiness of the form on the upload screen."""

DISPLAY_NAMES = {"developer": "Dana Developer", "owner": "Olga Owner", "auditor": "Aki Auditor"}


def profile_on(screen: str) -> str:
    """Return the profile of the user in the status bar, or an empty string until its roles are loaded."""
    status_bar = next((line for line in screen.splitlines() if re.search(r"\(.*@ demo.*● ready", line)), "")
    for name in ("developer", "owner", "auditor", "administrator"):
        if f"USER:{name}" in status_bar or DISPLAY_NAMES.get(name, "?") in status_bar:
            return name
    return ""


def shows_other_profile(profile: str, screen: str) -> bool:
    return profile_on(screen) not in ("", profile)


def switch_user(app: TmuxTerminal, identity: str) -> None:
    """Press F2, which selects the next profile, until the user is `identity`."""
    name = identity.partition(":")[2]
    for _ in range(8):
        profile = profile_on(app.wait_until(profile_on, "a user"))
        if profile == name:
            return
        app.press("F2")
        app.wait_until(partial(shows_other_profile, profile), "another user")
    raise AssertionError(f"{identity} has no profile in the demo")


def create_package(app: TmuxTerminal, *paths: Path, metadata: int = 0, device: str = "1") -> str:
    """Create a task on the upload screen; the last ``metadata`` paths are metadata files. Return the task's ID."""
    app.press("2")
    app.wait_for("No files yet")
    app.press("a")
    app.wait_for(r"\^o Browse")
    app.type(" ".join(f"'{each}'" for each in paths))
    app.press("Enter")
    app.wait_for(f"Files: {len(paths)} firmware")
    app.press("Escape")
    app.wait_for("m Metadata")
    for _ in range(metadata):
        app.press("m", "k")
    app.wait_for(f"Files: {len(paths) - metadata} firmware, {metadata} metadata")
    app.press("d")
    app.wait_for("Choose a device configuration")
    app.press(device)
    app.wait_for(UPLOAD_READY)
    app.press("C-s")
    earlier_ids = set(created_task_ids(app.wait_for("Submit\\?")))
    app.press("y")
    screen = app.wait_until(lambda text: set(created_task_ids(text)) - earlier_ids, "a new task")
    (task,) = set(created_task_ids(screen)) - earlier_ids
    return task


def created_task_ids(text: str) -> list[str]:
    """Return the IDs in the messages about new tasks, which may include an earlier task."""
    return re.findall(r"Created task (\w+) ", text)


def approve(app: TmuxTerminal, device: str, name: str) -> None:
    """Approve the first task of the queue, which is called ``name``."""
    app.press("3")
    app.wait_for("✓ approve", re.escape(name))
    app.press("A")
    app.wait_for(f"Type {device} to confirm")
    app.settle()
    app.type(device)
    app.press("Enter")
    app.wait_for(rf"Approved: {re.escape(name)}.* .status: ")


def test_demo_command_matches_readme() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    assert f"<!-- application -->\n```sh\n{COMMAND}\n```" in readme
    assert tuple(shlex.split(COMMAND))[1:] == DEMO[1:]


def test_approved_package_is_downloaded_and_verified(demo: TmuxTerminal, tmp_path: Path) -> None:
    bootloader = create_file(tmp_path / "fw" / "bootloader.bin", 300_000)
    application = create_file(tmp_path / "fw" / "application.bin", 700_000)
    notes = tmp_path / "fw" / "release.json"
    notes.write_text('{"version": "2.0.0", "notes": "fixes the watchdog"}')
    task = create_package(demo, bootloader, application, notes, metadata=1)

    # The requester cannot approve their own task; the screen shows that in advance.
    demo.press("3")
    demo.press("m")
    demo.wait_for("You cannot decide on your own task")

    switch_user(demo, "USER:owner")
    demo.press("3")
    demo.wait_for("✓ approve")
    demo.wait_for("USER:developer", hashlib.sha256(bootloader.read_bytes()).hexdigest())
    approve(demo, "demo-gateway", "bootloader and 1 more")

    switch_user(demo, "USER:developer")
    demo.press("1")
    demo.wait_for("Downloaded bootloader and 1 more", "signature and digest")
    container = next((tmp_path / "home").rglob(f"*{task}*.se-1"))
    assert container.stat().st_size > 1_000_000
    demo.quit()
    assert demo.exit_code() == 0


def test_owner_reviews_changes_and_rejects_with_reason_from_editor(demo: TmuxTerminal) -> None:
    switch_user(demo, "USER:owner")
    demo.press("3")
    demo.wait_for("✓ approve")
    demo.press("g", "Enter")
    demo.wait_for("gateway-1.5.0.bin")
    screen = demo.settle()
    for _ in range(6):
        demo.press("PageDown")
        screen += demo.settle()
    for text in ("Since the last released package", "gateway-1.4.0.bin → gateway-1.5.0.bin", '"version"'):
        assert text in screen, f"{text} is not in the review:\n{screen}"
    demo.press("x")
    demo.wait_for("The requester sees the reason")
    demo.settle()
    demo.type("not this one: ")
    demo.press("C-e")
    demo.wait_for("written in the editor")
    demo.press("C-s")
    demo.wait_for("Rejected: ")
    switch_user(demo, "USER:developer")
    demo.press("1")
    demo.wait_for("✗ REJECTED .*not this one")


def test_killed_workers_are_replaced(demo: TmuxTerminal, tmp_path: Path) -> None:
    """Stop the workers before they get the task, so that they are killed while it is running."""
    firmware = create_file(tmp_path / "fw" / "large.bin", 30_000_000)
    task = create_package(demo, firmware)
    switch_user(demo, "USER:owner")
    workers = worker_pids(demo)
    assert workers
    for pid in workers:
        suspend(pid)
    approve(demo, "demo-gateway", "large.bin")
    demo.press("1")
    demo.wait_for("RUNNING +large.bin")
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    switch_user(demo, "USER:developer")
    demo.wait_for("Downloaded large")
    assert list((tmp_path / "home").rglob(f"*{task}*.se-1"))
    assert not set(workers) & set(worker_pids(demo))


def worker_pids(app: TmuxTerminal) -> list[int]:
    return [pid for pid in descendants_of(app.shell_pid()) if "sealyard.worker" in command_line(pid)]


def test_hostile_file_names_are_escaped(demo: TmuxTerminal, tmp_path: Path) -> None:
    title = demo.title
    names = ("fw[bold red]signed.bin", "[@click=app.quit]x.bin", "a\x1b]2;PWNED\x07b.bin", "gnp\u202eexe.bin")
    folder = tmp_path / "fw"
    for name in names:
        create_file(folder / name, 5000)
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
    demo.wait_for(UPLOAD_READY)
    demo.press("C-s")
    demo.wait_for("Submit\\?")
    demo.press("y")
    demo.wait_for("Created task")
    switch_user(demo, "USER:owner")
    demo.press("3")
    demo.wait_for(re.escape("fw[bold red]signed.bin"))
    assert demo.title == title
    demo.quit()
    assert demo.exit_code() == 0


def fits_into_rows(rows: int, screen: str) -> bool:
    return len(screen.rstrip("\n").split("\n")) <= rows


def test_resized_terminal_is_redrawn_and_receives_copied_text(demo: TmuxTerminal) -> None:
    for columns, rows in ((80, 24), (60, 18), (40, 10), (120, 40)):
        demo.resize(columns, rows)
        demo.wait_until(partial(fits_into_rows, rows), f"{columns}x{rows}")
    demo.wait_for("1 Dashboard", "gateway 1.5.0", "● ready", "Detail")
    demo.press("y")
    demo.wait_for("[Cc]opied")
    assert re.fullmatch(r"\w{10}", demo.clipboard.strip())
