"""The OpenAPI document: made from the code, checked in, true to what is answered, shown without help from outside."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from sealyard.server.api.routes import docs as documents
from tests.support.server_harness import ADMIN, create_test_workspace, run_server

pytestmark = pytest.mark.anyio

CHECKED_IN = Path(__file__).parents[3] / "core" / "sealyard" / "server" / "openapi.json"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "unsupported_method",
)
EXAMPLES = 5


async def test_the_checked_in_document_is_the_one_that_the_server_tells(folder: Path) -> None:
    """Remake it: `python -m tests.support.update_openapi`."""
    async with run_server({"yard": folder}) as yard:
        told = (await yard.anonymous_client().get("/openapi.json")).content
    assert msgspec.json.format(told, indent=1) + b"\n" == CHECKED_IN.read_bytes()
    assert msgspec.json.decode(told)["openapi"].startswith("3.1")


def test_every_reference_of_the_checked_in_document_resolves() -> None:
    text = CHECKED_IN.read_text()
    names = set(re.findall(r'"\$ref": "#/components/schemas/([^"]+)"', text))
    assert names <= set(msgspec.json.decode(text)["components"]["schemas"])
    assert "ProblemDetails" in names


async def test_the_page_shows_every_call_and_loads_nothing(folder: Path) -> None:
    async with run_server({"yard": folder}) as yard:
        page = await yard.anonymous_client().get("/docs")
        described = (await yard.anonymous_client().get("/openapi.json")).json()
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert not re.search(r"<(script|link|img|iframe)|https?://|@import|url\(", page.text)
    for path in described["paths"]:
        assert path in page.text


async def test_what_strangers_may_ask_for_as_often_as_they_like_is_made_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with run_server({"yard": folder}) as yard:
        first = [(await yard.anonymous_client().get(path)).content for path in ("/docs", "/openapi.json")]
        monkeypatch.delattr(documents, "build_document")
        assert [(await yard.anonymous_client().get(path)).content for path in ("/docs", "/openapi.json")] == first


@pytest.mark.timeout(300)
async def test_whatever_is_sent_is_answered_as_the_document_says_and_never_with_a_fault_of_ours(tmp_path: Path) -> None:
    """Schemathesis makes the calls. Its own token stays, and the endless stream of events has tests of its own."""
    await create_test_workspace(tmp_path / "yard")
    async with run_server({"yard": tmp_path / "yard"}) as yard:
        token = await yard.token(ADMIN)
        ran = await asyncio.to_thread(lambda: _schemathesis(yard.base, token, tmp_path))
    assert ran.returncode == 0, ran.stdout[ran.stdout.find("= FAILURES") :][:6000]


def _schemathesis(base: str, token: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run it in ``folder``, where it writes its directory `.schemathesis`."""
    return subprocess.run(
        [
            *(Path(sys.executable).parent / "schemathesis", "run", f"{base}/openapi.json"),
            *("--header", f"Authorization: Bearer {token}", "--header", "X-SE-TENANT: yard"),
            *("--exclude-path", "/api/v1/events", "--exclude-path", "/api/v1/token/{token_id}"),
            *("--checks", ",".join(CHECKS), "--max-examples", str(EXAMPLES), "--no-color"),
            *("--request-timeout", "20", "--phases", "coverage,fuzzing,stateful", "--seed", "20261123"),
        ],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": str(Path(__file__).parent)},
        check=False,
    )
