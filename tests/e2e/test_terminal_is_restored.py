"""Test that every way of exiting restores the terminal and sets the exit code."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import PASSPHRASE
from tests.support.extent import choose_cases
from tests.support.tmux_terminal import SEALYARD, TmuxTerminal, environment, terminal

RESTORED_MODES = (False, False, True)
READY_TEXTS = (r"USER:dev \(", "● ready")


@pytest.fixture
def variables(workspace_folder: Path) -> dict[str, str]:
    """Environment variables with which the application opens a workspace."""
    return {"SEALYARD_WORKSPACE": str(workspace_folder), "SEALYARD_PASSPHRASE": PASSPHRASE}


@pytest.fixture
def application(tmp_path: Path, variables: dict[str, str]) -> Iterator[TmuxTerminal]:
    with terminal([SEALYARD, "--profile", "dev"], environment(tmp_path / "home", **variables)) as app:
        app.wait_for(*READY_TEXTS)
        yield app


def test_quit_restores_terminal_and_exits_0(application: TmuxTerminal) -> None:
    assert application.modes[0]
    application.quit()
    assert application.exit_code() == 0
    assert application.modes == RESTORED_MODES


@pytest.mark.parametrize(
    ("signal_number", "code"),
    choose_cases([(signal.SIGTERM, 143), (signal.SIGQUIT, 131), (signal.SIGHUP, 129), (signal.SIGINT, 130)], share=2),
)
def test_signal_restores_terminal_and_sets_exit_code(
    application: TmuxTerminal, signal_number: signal.Signals, code: int
) -> None:
    os.kill(application.pid_of("sealyard --profile"), signal_number)
    assert application.exit_code() == code
    assert application.modes == RESTORED_MODES


def test_application_runs_in_unwritable_home(tmp_path: Path) -> None:
    variables = dict.fromkeys(
        ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"), "/dev/null"
    )
    with terminal([SEALYARD, "demo"], environment(tmp_path / "home", **variables)) as found:
        found.wait_for("● ready", "demo-gateway")
        found.quit()
        assert found.exit_code() == 0


def test_crash_restores_terminal_without_showing_secrets(tmp_path: Path, variables: dict[str, str]) -> None:
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
    environ = environment(tmp_path / "home", PYTHONPATH=str(broken), **variables)
    with terminal([SEALYARD, "--profile", "dev"], environ) as app:
        app.wait_for(*READY_TEXTS)
        app.press("4")
        assert app.exit_code() == 1
        assert app.modes == RESTORED_MODES
        screen = app.screen()
        assert "Sealyard crashed" in screen
        assert "a-secret-that-must-not-be-seen" not in screen


def test_suspended_application_resumes_on_fg(tmp_path: Path, variables: dict[str, str]) -> None:
    """Run the application under a shell with job control."""
    environ = environment(tmp_path / "home", PS1="prompt> ", **variables)
    with terminal(["bash", "--norc", "--noprofile", "-i"], environ) as app:
        app.wait_for("prompt>")
        app.type(f"{SEALYARD} --profile dev")
        app.press("Enter")
        app.wait_for(*READY_TEXTS)
        app.press("C-z")
        app.wait_for("prompt>", "Stopped")
        assert not app.modes[0]
        app.type("fg")
        app.press("Enter")
        app.wait_for(*READY_TEXTS)
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
