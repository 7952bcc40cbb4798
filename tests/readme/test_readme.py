"""What the README tells people to type works, in the order in which it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from programs import require

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(marker: str) -> list[str]:
    return re.findall(rf"<!-- {re.escape(marker)} -->\n```sh\n(.*?)\n```", README, re.DOTALL)


def test_every_shell_block_is_run_by_ci_or_by_the_tour() -> None:
    """The application's own is played by ``tests/e2e``."""
    marked = sum(len(blocks(each)) for each in ("tour", "command: run", "command: test", "application"))
    assert marked == README.count("```sh\n")


def test_the_tour_works_from_its_first_line_to_its_last(tmp_path: Path) -> None:
    require("openssl")
    require("curl")
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        "HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "LANG": "C.UTF-8",
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(blocks("tour"))],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Verified OK" in done.stdout
    assert "segment1.enc: OK" in done.stdout


def test_the_script_for_the_audit_root_is_the_one_that_is_tested() -> None:
    """The README's copy may differ in layout only."""
    script = (ROOT / "tests" / "interop" / "audit_root.py").read_text()
    for line in ("1 << ((len(hashes) - 1).bit_length() - 1)", 'b"\\x01" + root(hashes[:split]) + root(hashes[split:])'):
        assert line in script
        assert line in README
