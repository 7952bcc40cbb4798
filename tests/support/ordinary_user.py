"""Run Python as an ordinary user in tests that run as root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.programs import require, skip_missing
from tests.support.worker_harness import WorkerWorkspace

ORDINARY_USER = 12345
"""An id that no account has."""

OPEN_FOLDERS_SCRIPT = """
set -e
for entry in $1; do
    closed=${entry%%:*} name=${entry#*:}
    copy=$(mktemp -d)
    mount --bind "$closed" "$copy"
    mount -t tmpfs -o mode=755 none "$closed"
    mkdir "$closed/$name"
    mount --bind "$copy/$name" "$closed/$name"
    umount -l "$copy"
    rmdir "$copy"
done
shift
exec setpriv --reuid="$1" --regid="$1" --clear-groups --no-new-privs "${@:2}"
"""
"""In a mount namespace of its own, makes folders of root passable without changing them."""


def run_as_ordinary_user() -> tuple[str, ...]:
    """Return a command that runs the Python of the tests as :data:`ORDINARY_USER`. Skips the test if it cannot.

    Returns no command if the tests run as an ordinary user themselves.
    """
    if os.geteuid() != 0:
        return ()
    require("setpriv")
    closed = dict.fromkeys(filter(None, map(_find_closed_folder, (sys.executable, sys.base_prefix, __file__))))
    command: tuple[str, ...] = ("bash", "-c", OPEN_FOLDERS_SCRIPT, "bash", " ".join(closed), str(ORDINARY_USER))
    if closed:
        command = ("unshare", "--mount", *command)
    probe = subprocess.run(
        [*command, sys.executable, "-c", "import sealyard.worker.service"], cwd="/", capture_output=True, check=False
    )
    if probe.returncode:
        skip_missing(f"cannot run as an ordinary user: {probe.stderr.decode(errors='replace')[-200:]}")
    return command


def _find_closed_folder(path: str) -> str:
    """Return the first folder on the way to ``path`` that others cannot enter, and the next name: ``FOLDER:NAME``."""
    parts = Path(path).resolve().parts
    for number in range(1, len(parts)):
        folder = Path(*parts[:number])
        if not folder.stat().st_mode & 0o001:
            return f"{folder}:{parts[number]}"
    return ""


@contextmanager
def open_to_ordinary_user(workspace: WorkerWorkspace) -> Iterator[WorkerWorkspace]:
    """Yield a copy of the workspace that belongs to :data:`ORDINARY_USER`, in a folder that this user can enter."""
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o755)
        shutil.copytree(workspace.root, folder / "workspace")
        give_to_ordinary_user(folder / "workspace")
        yield WorkerWorkspace(folder / "workspace", workspace.keys)
    finally:
        shutil.rmtree(folder)


def give_to_ordinary_user(folder: Path) -> None:
    """Change the owner of a folder and of everything in it, if the tests run as root."""
    if os.geteuid() != 0:
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, ORDINARY_USER, ORDINARY_USER)
