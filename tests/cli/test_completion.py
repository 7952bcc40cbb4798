"""Test the completion scripts with the shells themselves."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sealyard.cli.commands.completion import SHELLS
from sealyard.model.tasks import TaskStatus
from tests.support.cli_runner import sealyard, value_of
from tests.support.limits import TIMEOUT
from tests.support.processes import killed_at_exit
from tests.support.programs import require

ZSH_SETUP = "autoload -Uz compinit; compinit -D -u"
BASH = """
source "$1"
COMP_LINE="$2" COMP_POINT=${#2}
read -ra COMP_WORDS <<< "$2"
[[ "$2" == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_shtab_sealyard
printf '%s\\n' "${COMPREPLY[@]}"
"""
ESCAPE_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
FISH = 'source $argv[1]; complete --do-complete "$argv[2]"'


def _write_script(folder: Path, shell: str) -> Path:
    path = folder / f"completion.{shell}"
    path.write_text(sealyard("completion", shell).out)
    return path


def _run(*command: str) -> list[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.run(
        command, capture_output=True, text=True, timeout=TIMEOUT, check=True, env={**os.environ, "PATH": path}
    )
    assert process.stderr == ""
    return process.stdout.splitlines()


def _complete(shell: str, folder: Path, line: str) -> set[str]:
    """Return the candidates with which the shell completes a command line."""
    script = str(_write_script(folder, shell))
    if shell == "bash":
        candidates = _run(require("bash"), "--norc", "-c", BASH, "bash", script, line)
    elif shell == "fish":
        candidates = _run(require("fish"), "--no-config", "-c", FISH, script, line)
    else:
        return set(
            _complete_in_terminal([require("zsh"), "-f", "-i"], f'{ZSH_SETUP}; eval "$(<{script})"', line).split()
        )
    return {candidate.partition("\t")[0] for candidate in candidates}


def _complete_in_terminal(shell: list[str], setup: str, line: str) -> str:
    """Start an interactive shell, run ``setup``, type a command line and Tab, and return what the shell displays."""
    controller_fd, terminal_fd = pty.openpty()
    environment = {**os.environ, "PS1": "", "TERM": "xterm", "LINES": "200", "COLUMNS": "250"}
    process = subprocess.Popen(
        shell,
        stdin=terminal_fd,
        stdout=terminal_fd,
        stderr=terminal_fd,
        start_new_session=True,
        env=environment,
    )
    os.close(terminal_fd)
    with killed_at_exit(process):
        os.write(controller_fd, f'stty rows 200 cols 250; {setup}; PS1="REA""DY "\n'.encode())
        _read_until(controller_fd, "READY")  # the prompt is displayed once the shell reads single keys
        os.write(controller_fd, line.encode() + b"\t\t")
        # Ctrl-U deletes the line, so that the text is not a command, and Enter executes the next one.
        os.write(controller_fd, b"\x15echo EN''D\n")
        screen = _read_until(controller_fd, "END")
    os.close(controller_fd)
    return ESCAPE_SEQUENCE.sub(" ", screen)


def _read_until(fd: int, text: str) -> str:
    output, deadline = b"", time.monotonic() + TIMEOUT
    while text.encode() not in output:
        assert time.monotonic() < deadline, output.decode(errors="replace")
        if select.select([fd], [], [], 0.1)[0]:
            output += os.read(fd, 65536)
    return output.decode(errors="replace")


@pytest.mark.interop
@pytest.mark.parametrize("shell", SHELLS)
def test_shell_completes_command_line(shell: str, tmp_path: Path) -> None:
    for name in ("boot.bin", "boot.txt"):
        (tmp_path / name).touch()
    assert {"package", "profile", "policy"} <= _complete(shell, tmp_path, "sealyard p")
    assert {"create", "update", "show"} <= _complete(shell, tmp_path, "sealyard device ")
    assert {"--encryption", "--encryption-key"} <= _complete(shell, tmp_path, "sealyard device create --enc")
    assert set(TaskStatus) <= _complete(shell, tmp_path, "sealyard tasks --status ")
    assert {"AES256_CBC_PKCS7_PAD", "AES128_CTR_NO_PAD"} <= _complete(
        shell, tmp_path, "sealyard device create --encryption AES"
    )
    names = {Path(candidate).name for candidate in _complete(shell, tmp_path, f"sealyard encrypt {tmp_path}/boo")}
    assert {"boot.bin", "boot.txt"} <= names
    arguments = f"sealyard package --firmware {tmp_path}/boot.bin {tmp_path}/boo"
    assert {"boot.bin", "boot.txt"} <= {Path(candidate).name for candidate in _complete(shell, tmp_path, arguments)}


@pytest.mark.interop
def test_bash_completes_name_with_space(tmp_path: Path) -> None:
    (tmp_path / "boot loader.bin").touch()
    (tmp_path / "boot folder").mkdir()
    setup = f"source {_write_script(tmp_path, 'bash')}"
    shell = [require("bash"), "--norc", "-i"]
    for typed_word, completed_word in (
        (f"encrypt {tmp_path}/boot\\ l", "boot\\ loader.bin"),
        (f'encrypt "{tmp_path}/boot l', "boot loader.bin"),
        (f"watch {tmp_path}/boot\\ f", "boot\\ folder/"),
    ):
        assert completed_word in _complete_in_terminal(shell, setup, f"sealyard {typed_word}")


@pytest.mark.parametrize("shell", SHELLS)
def test_json_output_contains_script(shell: str) -> None:
    assert value_of("completion", shell) == {"shell": shell, "script": sealyard("completion", shell).out}


def test_unknown_shell_is_usage_error() -> None:
    assert sealyard("completion", "tcsh").code == 2
