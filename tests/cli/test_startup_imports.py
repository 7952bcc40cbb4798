"""Looking at a workspace must be quick: what is heavy is not loaded for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.cli_runner import LIMIT, CliWorkspace

HEAVY = ("textual", "cryptography", "keyring", "httpx", "watchfiles", "sealyard_tui")

LOADED = f"import sys; print([each for each in {HEAVY!r} if each in sys.modules])"


def _loaded_after(code: str) -> str:
    script = [sys.executable, "-c", f"{code}\n{LOADED}"]
    done = subprocess.run(script, capture_output=True, text=True, timeout=LIMIT, check=True)
    return done.stdout.splitlines()[-1]


def test_the_command_line_alone_loads_nothing_heavy() -> None:
    assert _loaded_after("import sealyard.cli.main, sealyard.cli.parser") == "[]"


@pytest.mark.parametrize(
    ("profile", "words"),
    [("developer", ["tasks"]), ("developer", ["device", "list"]), ("owner", ["show"]), ("auditor", ["audit", "list"])],
)
def test_looking_loads_nothing_heavy(house: CliWorkspace, profile: str, words: list[str]) -> None:
    arguments = [str(each) for each in house.as_user(profile, *words)]
    if words == ["show"]:
        arguments.append(house.waiting)
    code = f"from sealyard.cli.main import main; assert main({arguments!r}) == 0"
    assert _loaded_after(code) == "[]"


def test_asking_for_work_loads_no_application_and_no_crypto_here(house: CliWorkspace) -> None:
    arguments = [str(each) for each in house.as_user("owner", "approve", house.waiting)]
    code = f"from sealyard.cli.main import main; assert main({arguments!r}) == 0"
    assert _loaded_after(code) == "[]"


def test_without_a_command_no_command_is_loaded() -> None:
    code = "from sealyard.cli.main import main; assert main([]) == 2"
    look = "print([each for each in sys.modules if each in ('sealyard.cli.parser', 'sealyard.cli.commands.tasks')])"
    script = [sys.executable, "-c", f"import sys; {code}; {look}"]
    done = subprocess.run(script, capture_output=True, text=True, timeout=LIMIT, check=True)
    assert done.stdout == "[]\n"
