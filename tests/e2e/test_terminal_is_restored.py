"""However the application ends, the person has the terminal back as it was, and the exit code tells."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.tmux_terminal import SEALYARD, TmuxTerminal, environment, terminal

AS_IT_WAS = (False, False, True)


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[TmuxTerminal]:
    with terminal([SEALYARD, "demo"], environment(tmp_path / "home")) as found:
        found.wait_for("● ready", "demo-gateway")
        yield found


def test_quitting_restores_the_terminal_and_answers_0(demo: TmuxTerminal) -> None:
    assert demo.modes[0]
    demo.quit()
    assert demo.exit_code() == 0
    assert demo.modes == AS_IT_WAS


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_restores_the_terminal_and_the_exit_code_names_it(
    demo: TmuxTerminal, number: signal.Signals, code: int
) -> None:
    os.kill(demo.pid_of("sealyard demo"), number)
    assert demo.exit_code() == code
    assert demo.modes == AS_IT_WAS


def test_application_runs_in_unwritable_home(tmp_path: Path) -> None:
    variables = dict.fromkeys(
        ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"), "/dev/null"
    )
    with terminal([SEALYARD, "demo"], environment(tmp_path / "home", **variables)) as found:
        found.wait_for("● ready", "demo-gateway")
        found.quit()
        assert found.exit_code() == 0


def test_a_fault_restores_the_terminal_and_answers_1_without_secrets(tmp_path: Path) -> None:
    """A fault is put into the application from outside: a place that cannot be made."""
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(
        "import sys\n"
        "class Broken:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'sealyard_tui.screens.audit.screen':\n"
        "            secret = 'a-secret-that-must-not-be-seen'\n"
        "            raise ZeroDivisionError('the fault')\n"
        "sys.meta_path.insert(0, Broken())\n"
    )
    environ = environment(tmp_path / "home", PYTHONPATH=str(broken))
    with terminal([SEALYARD, "demo"], environ) as found:
        found.wait_for("● ready", "demo-gateway")
        found.press("4")
        assert found.exit_code() == 1
        assert found.modes == AS_IT_WAS
        seen = found.screen()
        assert "Sealyard crashed" in seen
        assert "a-secret-that-must-not-be-seen" not in seen


def test_a_suspended_application_gives_the_terminal_back_and_comes_again(tmp_path: Path) -> None:
    """Under a shell with job control, as a person has it."""
    environ = environment(tmp_path / "home", PS1="prompt> ")
    with terminal(["bash", "--norc", "--noprofile", "-i"], environ) as found:
        found.wait_for("prompt>")
        found.type(f"{SEALYARD} demo")
        found.press("Enter")
        found.wait_for("● ready", "demo-gateway")
        found.press("C-z")
        found.wait_for("prompt>", "Stopped")
        assert not found.modes[0]
        found.type("fg")
        found.press("Enter")
        found.wait_for("● ready", "demo-gateway")
        found.quit("prompt>")
        found.wait_until(lambda text: text.rstrip().endswith("prompt>"), "the prompt")
        assert found.modes == AS_IT_WAS


def test_without_a_terminal_it_says_so_and_what_works(tmp_path: Path) -> None:
    environ = environment(tmp_path / "home", SEALYARD_PASSPHRASE="p")
    with terminal(["sh", "-c", f"{SEALYARD} </dev/null 2>&1 | cat"], environ) as found:
        assert found.exit_code() == 0  # of cat
        assert "Not a terminal" in found.screen()
