"""Tests do not depend on the signals that the caller of pytest ignores."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tests.support.child_signals import TESTED_SIGNALS

PRINT_IGNORED = "import signal; print([each for each in {} if signal.getsignal(each) is signal.SIG_IGN])"


def test_child_process_ignores_no_tested_signal() -> None:
    code = PRINT_IGNORED.format([each.value for each in TESTED_SIGNALS])
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert found == "[]\n"


@pytest.mark.parametrize("workers", [0, 1])
def test_pytest_called_with_ignored_signals_resets_them_for_child_processes(workers: int) -> None:
    def ignore() -> None:
        for each in TESTED_SIGNALS:
            signal.signal(each, signal.SIG_IGN)

    name = f"{__file__}::{test_child_process_ignores_no_tested_signal.__name__}"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "xdist", "-n", f"{workers}", name],
        env={**environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},  # the imports of plugins take most of the time
        preexec_fn=ignore,  # pytest runs one thread here
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "1 passed" in ran.stdout
