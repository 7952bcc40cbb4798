"""Test the commands, settings and table of the README of the backend ``pkcs11``."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from pathlib import Path

import pytest

from sealyard.keys.backends.pkcs11 import backend
from sealyard.keys.worker_settings import load_worker_settings
from sealyard.model.algorithms import KeyType
from sealyard.model.errors import InvalidKeyError
from sealyard.model.workspace import WorkspacePaths
from tests.support.limits import TIMEOUT
from tests.support.softhsm import (
    OFFICER_PIN,
    PIN,
    TOKEN,
    SoftHsm,
    make_secrets,
    make_settings,
    open_token_backend,
    require_softhsm,
    set_environment,
    shared_softhsm,
    softhsm,
)

__all__ = ["shared_softhsm", "softhsm"]

DOCUMENT = (Path(backend.__file__).parent / "README.md").read_text()
FOLDER = "/var/lib/sealyard/softhsm"


def find_block(mark: str) -> str:
    """Return the code block after a mark."""
    (block,) = re.findall(rf"<!-- {mark} -->\n```\w+\n(.*?)```", DOCUMENT, re.DOTALL)
    return str(block)


def read_table() -> dict[KeyType, set[str]]:
    """Return the second column of the table of algorithms by the first one."""
    (table,) = re.findall(r"<!-- table: algorithms -->\n(.*?)\n\n", DOCUMENT, re.DOTALL)
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    return {KeyType(row[0]): set(row[1].split(", ")) for row in rows}


def test_setup_commands_and_settings_open_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_softhsm()
    commands = find_block("commands: softhsm").replace(FOLDER, str(tmp_path / "softhsm"))
    commands = commands.rstrip() + f" --so-pin '{OFFICER_PIN}' --pin '{PIN}'"
    subprocess.run(["bash", "-euc", commands], check=True, capture_output=True, timeout=TIMEOUT)
    (tmp_path / "worker.toml").write_text(find_block("settings: softhsm").replace(FOLDER, str(tmp_path / "softhsm")))
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "seal-pin").write_text(PIN + "\n")
    environ = {
        "SEALYARD_WORKER_SETTINGS": str(tmp_path / "worker.toml"),
        "CREDENTIALS_DIRECTORY": str(tmp_path / "credentials"),
    }
    (section,) = load_worker_settings(WorkspacePaths(tmp_path / "workspace"), environ)
    set_environment(monkeypatch, section.process.environment)
    assert os.environ["SOFTHSM2_CONF"].startswith(section.process.paths[0])

    async def scenario() -> None:
        async with open_token_backend(section.settings, section.read_secrets(environ)) as opened:
            await opened.generate(f"token={TOKEN};object=gateway-sign", KeyType.EC_P256)

    asyncio.run(scenario())


def test_table_lists_all_key_types_and_algorithms(softhsm: SoftHsm) -> None:
    async def scenario() -> None:
        async with open_token_backend(make_settings(), make_secrets()) as opened:
            table = {}
            for kind in KeyType:
                name = f"token={TOKEN};object=table-{kind}"
                try:
                    _, key = await opened.generate(name, kind)
                except InvalidKeyError:
                    continue
                table[kind] = (
                    {"wraps secrets"} if kind.symmetric else {str(name) for name in key.capabilities.algorithms}
                )
            assert table == read_table()

    asyncio.run(scenario())
