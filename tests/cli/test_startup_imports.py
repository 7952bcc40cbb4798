"""Test that a command only imports the modules that it needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.cli_runner import CliWorkspace
from tests.support.limits import TIMEOUT

HEAVY_MODULES = ("textual", "cryptography", "keyring", "httpx", "watchfiles", "sealyard_tui")

PRINT_MODULES = f"import sys; print([each for each in {HEAVY_MODULES!r} if each in sys.modules])"


def _run(code: str) -> str:
    """Run ``code`` in a new process, and return the last line that it prints."""
    script = [sys.executable, "-c", code]
    process = subprocess.run(script, capture_output=True, text=True, timeout=TIMEOUT, check=True)
    return process.stdout.splitlines()[-1]


def _list_heavy_modules(code: str) -> str:
    return _run(f"{code}\n{PRINT_MODULES}")


def test_parser_imports_no_heavy_modules() -> None:
    assert _list_heavy_modules("import sealyard.cli.main, sealyard.cli.parser as parser; parser.build_parser()") == "[]"


def test_command_imports_no_other_command_module() -> None:
    code = "from sealyard.cli.parser import parse_arguments; parse_arguments(['tasks'])"
    print_modules = "print([each for each in sys.modules if each.startswith('sealyard.cli.commands.')])"
    loaded = _run(f"import sys; {code}; {print_modules}")
    assert "sealyard.cli.commands.tasks" in loaded
    assert "sealyard.cli.commands.audit" not in loaded


@pytest.mark.parametrize(
    ("profile", "command"),
    [("developer", ["tasks"]), ("developer", ["device", "list"]), ("owner", ["show"]), ("auditor", ["audit", "list"])],
)
def test_read_command_imports_no_heavy_modules(workspace: CliWorkspace, profile: str, command: list[str]) -> None:
    arguments = [str(each) for each in workspace.as_user(profile, *command)]
    if command == ["show"]:
        arguments.append(workspace.waiting)
    code = f"from sealyard.cli.main import main; assert main({arguments!r}) == 0"
    assert _list_heavy_modules(code) == "[]"


def test_approve_command_imports_no_heavy_modules(workspace: CliWorkspace) -> None:
    arguments = [str(each) for each in workspace.as_user("owner", "approve", workspace.waiting)]
    code = f"from sealyard.cli.main import main; assert main({arguments!r}) == 0"
    assert _list_heavy_modules(code) == "[]"


def test_missing_command_imports_no_command_module() -> None:
    code = "from sealyard.cli.main import main; assert main([]) == 2"
    print_modules = (
        "print([each for each in sys.modules if each in ('sealyard.cli.parser', 'sealyard.cli.commands.tasks')])"
    )
    assert _run(f"import sys; {code}; {print_modules}") == "[]"
