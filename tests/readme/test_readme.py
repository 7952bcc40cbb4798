"""Run the examples of the README and of the documents next to the code."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.processes import children_of, command_line, find_by_environment, kill_all, wait_for_exit
from tests.support.programs import require
from tests.support.root import ALLOW_ROOT

ROOT = Path(__file__).parents[2]
TOUR = (
    "README.md",
    "core/sealyard/cli/README.md",
    "core/sealyard/containers/se1/README.md",
    "core/sealyard/audit/README.md",
    "core/sealyard/server/README.md",
)
"""The documents with examples, in the order in which their examples are run."""

DOCUMENTS = {name: (ROOT / name).read_text() for name in TOUR}
AUDIT_DOCUMENT = DOCUMENTS["core/sealyard/audit/README.md"]
MAX_README_LINES = 300
START_SERVER = "sealyard serve "
TOUR_TIMEOUT = 240.0
START_TIMEOUT = 120.0
EXIT_TIMEOUT = 30.0
"""How long a shell or a server may take to exit on a busy machine."""


def find_blocks(marker: str) -> list[str]:
    pattern = rf"<!-- {re.escape(marker)} -->\n```sh\n(.*?)\n```"
    return [block for text in DOCUMENTS.values() for block in re.findall(pattern, text, re.DOTALL)]


def find_documents() -> list[Path]:
    """Return the documents next to the code and the tests, without those of npm packages."""
    documents = (path for folder in ("core", "tui", "tests") for path in (ROOT / folder).rglob("*.md"))
    return [path for path in documents if "node_modules" not in path.parts]


def server_start_script() -> str:
    """Return the commands of the tour that create the workspace, and those that start the server."""
    setup, *others = find_blocks("tour")
    (start,) = (block for block in others if START_SERVER in block)
    create, _, _ = setup.partition("sealyard subject add ")
    start, is_cut, _ = start.partition("token() {")
    assert "sealyard init " in create
    assert is_cut
    return create + start


class Shell:
    """Runs a script in its own session, in an empty directory, with an empty home."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._home = folder / "home"
        self._output = folder / "output.txt"

    def start(self, script: str) -> subprocess.Popen[bytes]:
        self._home.mkdir()
        # A user who follows the documents is not root, but CI is.
        script = script.replace(START_SERVER, f"{START_SERVER}{' '.join(ALLOW_ROOT)} ")
        with self._output.open("wb") as output:
            return subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", script],
                cwd=self.folder,
                env={
                    "HOME": str(self._home),
                    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                    "LANG": "C.UTF-8",
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self._output.read_text(errors="replace")

    def processes(self) -> set[int]:
        """All running processes that the script started, also those in other sessions, such as crypto workers."""
        return find_by_environment(f"HOME={self._home}\0")


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    require("openssl")
    require("curl")
    runner = Shell(tmp_path)
    yield runner
    # Kill twice, because a process may start between listing and killing.
    for _ in range(2):
        kill_all(runner.processes())


def test_every_shell_block_is_run() -> None:
    """CI runs the commands, ``tests/e2e`` starts the application, ``tests/interop`` logs in; the tour is run below."""
    markers = ("tour", "command: run", "command: test", "application", "login")
    tested_blocks = sum(len(find_blocks(marker)) for marker in markers)
    assert tested_blocks == sum(text.count("```sh\n") for text in DOCUMENTS.values())


def test_every_document_with_shell_blocks_is_run() -> None:
    with_commands = {str(path.relative_to(ROOT)) for path in find_documents() if "```sh\n" in path.read_text()}
    assert with_commands == set(TOUR) - {"README.md"}


def test_links_between_documents_resolve() -> None:
    for document in (ROOT / "README.md", *find_documents()):
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document}: {target}"


def test_readme_is_short() -> None:
    assert DOCUMENTS["README.md"].count("\n") <= MAX_README_LINES


def test_tour_runs_and_leaves_no_process(shell: Shell) -> None:
    code = shell.start("\n".join(find_blocks("tour"))).wait(TOUR_TIMEOUT)
    assert code == 0, shell.output
    assert "Verified OK" in shell.output
    assert "segment1.enc: OK" in shell.output
    assert wait_for_exit(shell.processes(), EXIT_TIMEOUT) == set()


def test_failed_tour_stops_its_server(shell: Shell) -> None:
    code = shell.start(f"{server_start_script()}false").wait(TOUR_TIMEOUT)
    assert code == 1, shell.output
    assert "Stopped." in (shell.folder / "serve.out").read_text()
    assert wait_for_exit(shell.processes(), EXIT_TIMEOUT) == set()


@pytest.mark.parametrize("signal_number", [signal.SIGHUP, signal.SIGTERM])
def test_tour_with_signalled_shell_stops_server(shell: Shell, signal_number: signal.Signals) -> None:
    """Only the shell gets the signal, so that nothing but the trap stops the server."""
    bash = shell.start(f"{server_start_script()}touch started\nwhile :; do sleep 0.1; done")
    wait_until((shell.folder / "started").exists, bash, shell)
    bash.send_signal(signal_number)
    assert bash.wait(EXIT_TIMEOUT) != 0, shell.output
    assert wait_for_exit(shell.processes(), EXIT_TIMEOUT) == set()
    assert "Stopped." in (shell.folder / "serve.out").read_text()


def test_tour_interrupted_in_terminal_stops_server(shell: Shell) -> None:
    """Ctrl-C reaches the whole process group.

    bash ignores it if its foreground command exits normally at that moment. So the command runs when it is sent.
    """
    bash = shell.start(f"{server_start_script()}sleep 600")
    wait_until(lambda: "sleep 600" in {command_line(pid) for pid in children_of(bash.pid)}, bash, shell)
    os.killpg(bash.pid, signal.SIGINT)
    assert bash.wait(EXIT_TIMEOUT) != 0, shell.output
    assert wait_for_exit(shell.processes(), EXIT_TIMEOUT) == set()
    assert "Stopped." in (shell.folder / "serve.out").read_text()


def wait_until(is_reached: Callable[[], bool], bash: subprocess.Popen[bytes], shell: Shell) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while not is_reached():
        assert bash.poll() is None, shell.output
        assert time.monotonic() < deadline, shell.output
        time.sleep(0.05)


def test_tour_waits_for_task_status(shell: Shell) -> None:
    """A subtask that is DONE does not end the wait, and a task that failed ends it with an error."""
    (function,) = re.findall(r"^wait_until_done\(\) \{.*?^\}", "\n".join(find_blocks("tour")), re.DOTALL | re.MULTILINE)
    (parser,) = re.findall(r"^get\(\) .*", "\n".join(find_blocks("tour")), re.MULTILINE)
    answers = shell.folder / "answers"
    subtasks = '"subtasks": [{"status":"DONE"}]'
    for name, final_status in (("good", "DONE"), ("bad", "FAILED")):
        (answers / name).mkdir(parents=True)
        for index, status in enumerate(("RUNNING", "RUNNING", final_status)):
            (answers / name / f"{index}").write_text(f'{{{subtasks}, "status":"{status}"}}')
    script = f"""
dev=token
as() {{ first=$(ls "answers/$2" | head -n 1); cat "answers/$2/$first"; rm "answers/$2/$first"; }}
{parser}
{function}
wait_until_done good
test -z "$(ls answers/good)"
wait_until_done bad && exit 9
exit 3
"""
    assert shell.start(script).wait(EXIT_TIMEOUT) == 3, shell.output
    assert "task bad is FAILED" in shell.output


def test_printed_audit_script_matches_tested_one() -> None:
    """The printed copy may differ in layout only."""
    script = (ROOT / "tests" / "interop" / "audit_root.py").read_text()
    for line in ("1 << ((len(hashes) - 1).bit_length() - 1)", 'b"\\x01" + root(hashes[:split]) + root(hashes[split:])'):
        assert line in script
        assert line in AUDIT_DOCUMENT
