"""Test the commands and settings of the README of the backend ``vault``."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import textwrap
from pathlib import Path

from sealyard.keys.backends.vault import backend
from sealyard.keys.worker_settings import load_worker_settings
from sealyard.model.algorithms import KeyType
from sealyard.model.workspace import WorkspacePaths
from tests.support.limits import TIMEOUT
from tests.support.openbao import MOUNT, POLICY, opened_vault, require_openbao, run_openbao

DOCUMENT = (Path(backend.__file__).parent / "README.md").read_text()


def find_block(mark: str) -> str:
    """Return the code block after a mark."""
    (block,) = re.findall(rf"<!-- {mark} -->\n *```\w+\n(.*?)\n *```", DOCUMENT, re.DOTALL)
    return textwrap.dedent(block)


def test_setup_commands_and_settings_open_a_server(tmp_path: Path) -> None:
    folder = tmp_path / "openbao"
    folder.mkdir()
    with run_openbao(folder) as server:
        for path in (f"sys/mounts/{MOUNT}", "sys/auth/approle", "sys/policies/acl/sealyard"):
            server.send("DELETE", path)
        (tmp_path / "sealyard.hcl").write_text(POLICY)
        environ = {
            "PATH": os.pathsep.join((str(require_openbao().parent), os.environ["PATH"])),
            "HOME": str(tmp_path),
            "BAO_ADDR": server.url,
            "BAO_TOKEN": server.root_token,
        }
        output = subprocess.run(
            ["bash", "-euc", find_block("commands: setup")],
            check=True,
            capture_output=True,
            cwd=tmp_path,
            env=environ,
            timeout=TIMEOUT,
        ).stdout.decode()
        settings = find_block("settings: setup")
        for option, value in (("address", server.url), ("role_id", output.splitlines()[-1]), ("ca_file", "")):
            settings, count = re.subn(f"(?m)^{option} = .*$", f'{option} = "{value}"', settings)
            assert count == 1
        (tmp_path / "worker.toml").write_text(settings)
        environ = {"SEALYARD_WORKER_SETTINGS": str(tmp_path / "worker.toml"), "CREDENTIALS_DIRECTORY": str(tmp_path)}
        (section,) = load_worker_settings(WorkspacePaths(tmp_path / "workspace"), environ)
        assert (tmp_path / section.secret_sources["secret_id"].credential).stat().st_mode & 0o077 == 0

        async def scenario() -> None:
            async with opened_vault(section.settings, section.read_secrets(environ)) as opened:
                await opened.generate(f"{MOUNT}/gateway-sign", KeyType.EC_P256)

        asyncio.run(scenario())
