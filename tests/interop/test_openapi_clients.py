"""Tests that clients generated from the OpenAPI document can upload files."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.node import require_node
from tests.support.programs import require_module
from tests.support.server_harness import DEV, GATEWAY, ServerHarness, create_test_workspace, run_server
from tests.support.update_openapi import DOCUMENT

pytestmark = [pytest.mark.interop, pytest.mark.anyio]

PYTHON_CLIENT = """\
import io, sys
from generated import AuthenticatedClient
from generated.api.encryption_tasks import api_v1_encryptiontask_create as create
from generated.models import ApiV1EncryptiontaskCreateFilesBody as Body
from generated.types import File

base_url, token, config = sys.argv[1:]
client = AuthenticatedClient(base_url=base_url, token=token)
file = File(payload=io.BytesIO(bytes([1, 2, 3])), file_name="firmware.bin")
task = create.sync(client=client, body=Body(device_config_id=config, input_file=file))
print(task.inputs[0].name, task.inputs[0].size)
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[ServerHarness]:
    await create_test_workspace(tmp_path / "workspace")
    async with run_server({"acme": tmp_path / "workspace"}) as harness:
        yield harness


async def run_client(harness: ServerHarness, *command: str, folder: Path) -> str:
    arguments = [*command, harness.base, await harness.token(DEV), GATEWAY]
    return await asyncio.to_thread(run_command, *arguments, folder=folder)


def run_command(*command: str, folder: Path) -> str:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    result = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


async def test_openapi_python_client_uploads_file(harness: ServerHarness, tmp_path: Path) -> None:
    require_module("openapi_python_client")
    generator = str(Path(sys.executable).with_name("openapi-python-client"))
    options = ["--path", str(DOCUMENT), "--output-path", str(tmp_path / "generated"), "--meta", "none"]
    await asyncio.to_thread(run_command, generator, "generate", *options, folder=tmp_path)
    assert await run_client(harness, sys.executable, "-c", PYTHON_CLIENT, folder=tmp_path) == "firmware.bin 3\n"


async def test_openapi_typescript_client_uploads_file(harness: ServerHarness, tmp_path: Path) -> None:
    node = require_node("openapi-typescript", "openapi-fetch", "typescript")
    (tmp_path / "node_modules").symlink_to(node.modules)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    shutil.copy(Path(__file__).with_name("upload_client.ts"), tmp_path)
    generator = str(node.modules / "openapi-typescript/bin/cli.js")
    compiler = str(node.modules / "typescript/bin/tsc")
    options = ["--strict", "--target", "es2023", "--module", "esnext", "--moduleResolution", "bundler"]
    options += ["--lib", "es2023,dom", "--skipLibCheck"]
    for command in (
        (generator, str(DOCUMENT), "-o", "api.ts"),
        (compiler, *options, "upload_client.ts", "node_process.d.ts"),
    ):
        (tmp_path / "node_process.d.ts").write_text("declare const process: { argv: string[] };")
        await asyncio.to_thread(run_command, node.command, *command, folder=tmp_path)
    assert await run_client(harness, node.command, "upload_client.js", folder=tmp_path) == "firmware.bin 3\n"
