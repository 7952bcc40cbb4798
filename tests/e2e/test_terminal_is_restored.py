"""Test that every way of exiting restores the terminal and sets the exit code."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.tmux_terminal import SEALYARD, TmuxTerminal, environment, terminal

RESTORED_MODES = (False, False, True)


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[TmuxTerminal]:
    with terminal([SEALYARD, "demo"], environment(tmp_path / "home")) as app:
        app.wait_for("● ready", "demo-gateway")
        yield app


def test_quit_restores_terminal_and_exits_0(demo: TmuxTerminal) -> None:
    assert demo.modes[0]
    demo.quit()
    assert demo.exit_code() == 0
    assert demo.modes == RESTORED_MODES


@pytest.mark.parametrize(
    ("signal_number", "code"),
    [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130), (signal.SIGQUIT, 131)],
)
def test_signal_restores_terminal_and_sets_exit_code(
    demo: TmuxTerminal, signal_number: signal.Signals, code: int
) -> None:
    os.kill(demo.pid_of("sealyard demo"), signal_number)
    assert demo.exit_code() == code
    assert demo.modes == RESTORED_MODES


def test_application_runs_in_unwritable_home(tmp_path: Path) -> None:
    variables = dict.fromkeys(
        ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"), "/dev/null"
    )
    with terminal([SEALYARD, "demo"], environment(tmp_path / "home", **variables)) as found:
        found.wait_for("● ready", "demo-gateway")
        found.quit()
        assert found.exit_code() == 0


def test_crash_restores_terminal_without_showing_secrets(tmp_path: Path) -> None:
    """Inject a fault into the application: the audit screen cannot be imported."""
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
    with terminal([SEALYARD, "demo"], environ) as app:
        app.wait_for("● ready", "demo-gateway")
        app.press("4")
        assert app.exit_code() == 1
        assert app.modes == RESTORED_MODES
        screen = app.screen()
        assert "Sealyard crashed" in screen
        assert "a-secret-that-must-not-be-seen" not in screen


def test_suspended_application_resumes_on_fg(tmp_path: Path) -> None:
    """Run the application under a shell with job control."""
    environ = environment(tmp_path / "home", PS1="prompt> ")
    with terminal(["bash", "--norc", "--noprofile", "-i"], environ) as app:
        app.wait_for("prompt>")
        app.type(f"{SEALYARD} demo")
        app.press("Enter")
        app.wait_for("● ready", "demo-gateway")
        app.press("C-z")
        app.wait_for("prompt>", "Stopped")
        assert not app.modes[0]
        app.type("fg")
        app.press("Enter")
        app.wait_for("● ready", "demo-gateway")
        app.quit("prompt>")
        app.wait_until(lambda text: text.rstrip().endswith("prompt>"), "the prompt")
        assert app.modes == RESTORED_MODES


def test_start_without_terminal_reports_error(tmp_path: Path) -> None:
    environ = environment(tmp_path / "home", SEALYARD_PASSPHRASE="p")
    status = tmp_path / "status"
    with terminal(["sh", "-c", f"({SEALYARD} </dev/null 2>&1; echo $? >{status}) | cat"], environ) as app:
        assert app.exit_code() == 0
        assert "Not a terminal" in app.screen()
    assert status.read_text() == "2\n"
