"""Tests of the workspace's Unix socket: access and the identity of callers."""

from __future__ import annotations

import asyncio
import os
import pwd
import stat
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from sealyard.client.engine_handle import EngineHandle
from sealyard.client.sharing.socket import SOCKET
from sealyard.model.access import SubjectState
from sealyard.model.errors import PermissionDeniedError, UsageError
from sealyard.server.auth.authentication import account_name, subject_for_uid
from sealyard.server.local_socket import LocalSocketServer, bind_socket
from tests.support.key_holders import unlock
from tests.support.limits import TIMEOUT
from tests.support.server_harness import ADMIN, DEV, PASSPHRASE, run_server
from tests.support.workspace_copies import copy_workspace

pytestmark = pytest.mark.anyio

NOBODY_UID = 65534
GROUP, OTHER_GROUP = "games", "news"
requires_root = pytest.mark.skipif(os.getuid() != 0, reason="requires root to run as another user")


@pytest.fixture
def shared_folder(workspace_template: Path) -> Iterator[Path]:
    """A workspace in a directory that other users may enter, so that only its own permissions restrict access."""
    with tempfile.TemporaryDirectory() as root:
        Path(root).chmod(0o711)
        folder = copy_workspace(workspace_template, Path(root) / "workspace")
        folder.chmod(0o700)
        yield folder


@asynccontextmanager
async def run_socket_server(folder: Path, group: str = "") -> AsyncIterator[EngineHandle]:
    engine = await EngineHandle.open(folder, purpose="test", key_holder=unlock(PASSPHRASE), work=False)
    server = LocalSocketServer(engine, os_group=group)
    try:
        await server.start()
        yield engine
    finally:
        await server.stop()
        await engine.close()


class SocketResponse(NamedTuple):
    """``status`` is 0 if the connection failed."""

    status: int
    body: Any


async def send_request(
    folder: Path, subject: str | None = None, *, path: str = "workspace", **process_options: Any
) -> SocketResponse:
    """Request `path` with curl. ``process_options``: user and groups of the process."""
    header = ["-H", f"X-SE-SUBJECT: {subject}"] if subject else []
    url = f"http://localhost/api/v1/{path}"
    result = await run_command(
        "curl", "-s", "-w", "%{http_code}", *header, "--unix-socket", folder / SOCKET, url, **process_options
    )
    status = int(result.stdout[-3:])
    return SocketResponse(status, msgspec.json.decode(result.stdout[:-3]) if status else None)


async def run_command(*command: object, **process_options: Any) -> subprocess.CompletedProcess[bytes]:
    arguments = [str(each) for each in command]

    def run_process() -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(arguments, capture_output=True, timeout=TIMEOUT, check=False, cwd="/", **process_options)

    return await asyncio.to_thread(run_process)


def file_mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


# ---- identity


def test_own_user_may_select_subject() -> None:
    assert subject_for_uid("USER:anna", os.getuid()) == "USER:anna"
    assert subject_for_uid("CLIENT:ci", os.getuid()) == "CLIENT:ci"


@pytest.mark.parametrize("subject", [None, ""])
def test_own_user_without_subject_is_rejected(subject: str | None) -> None:
    with pytest.raises(UsageError, match="No subject selected"):
        subject_for_uid(subject, os.getuid())


def test_other_user_gets_own_account_only() -> None:
    other = next(each for each in pwd.getpwall() if each.pw_uid != os.getuid())
    expected = f"USER:{other.pw_name}"
    assert subject_for_uid(None, other.pw_uid) == expected
    assert subject_for_uid(expected, other.pw_uid) == expected
    for spoofed in ("USER:admin", f"CLIENT:{other.pw_name}", f"GROUP:{other.pw_name}"):
        with pytest.raises(PermissionDeniedError, match=expected):
            subject_for_uid(spoofed, other.pw_uid)


def test_unnamed_account_is_identified_by_uid() -> None:
    unknown_uid = next(each for each in range(70_000, 80_000) if each not in {known.pw_uid for known in pwd.getpwall()})
    assert account_name(unknown_uid) == str(unknown_uid)
    assert subject_for_uid(None, unknown_uid) == f"USER:{unknown_uid}"


async def test_own_user_may_use_socket(folder: Path) -> None:
    async with run_socket_server(folder):
        assert file_mode(folder / SOCKET) == 0o600
        response = await send_request(folder, DEV)
        assert (response.status, response.body["subject"]) == (200, DEV)
        assert (await send_request(folder)).status == 400
        assert (await send_request(folder, "GROUP:owners")).status == 403
        assert (await send_request(folder, "USER:unknown")).status == 403
    assert not (folder / SOCKET).exists()


async def test_disabled_subject_is_refused_on_socket(folder: Path) -> None:
    async with run_socket_server(folder) as engine:
        await engine.client(ADMIN).set_subject_state(DEV, SubjectState.DISABLED, "on leave")
        for path in ("workspace", "task", "upload/an-upload-of-dev-0000"):
            refused = await send_request(folder, DEV, path=path)
            assert (refused.status, refused.body["detail"]) == (403, "USER:dev is disabled in this workspace.")


@requires_root
async def test_socket_without_group_is_private(shared_folder: Path) -> None:
    async with run_socket_server(shared_folder):
        assert (file_mode(shared_folder), file_mode(shared_folder / SOCKET)) == (0o700, 0o600)
        assert (await send_request(shared_folder, user=NOBODY_UID, group=GROUP, extra_groups=[])).status == 0


@requires_root
async def test_group_member_reaches_only_socket(shared_folder: Path) -> None:
    member: dict[str, Any] = {"user": NOBODY_UID, "group": OTHER_GROUP, "extra_groups": [GROUP]}
    async with run_socket_server(shared_folder, GROUP) as engine:
        assert (file_mode(shared_folder), file_mode(shared_folder / SOCKET)) == (0o710, 0o660)
        stranger = await send_request(shared_folder, **member)
        assert stranger.status == 403
        assert "USER:nobody is unknown" in stranger.body["detail"]

        await engine.client(ADMIN).add_subject("USER:nobody")
        response = await send_request(shared_folder, **member)
        assert (response.status, response.body["subject"]) == (200, "USER:nobody")
        spoofed = await send_request(shared_folder, ADMIN, **member)
        assert spoofed.status == 403
        assert "you are USER:nobody" in spoofed.body["detail"]

        assert (await send_request(shared_folder, user=NOBODY_UID, group=OTHER_GROUP, extra_groups=[])).status == 0
        assert (await run_command("ls", shared_folder, **member)).returncode != 0
        for each in shared_folder.iterdir():
            if each.name != SOCKET:
                read_attempt = await run_command("ls" if each.is_dir() else "cat", each, **member)
                assert read_attempt.returncode != 0, each


def test_unknown_group_is_rejected(folder: Path) -> None:
    with pytest.raises(UsageError, match="Unknown group no-such-group"):
        bind_socket(folder, "no-such-group")
    assert not (folder / SOCKET).exists()


def test_group_without_membership_is_rejected(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny_chown(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", deny_chown)
    mode_before = file_mode(folder)
    with pytest.raises(UsageError, match=f"not a member of the group {GROUP}"):
        bind_socket(folder, GROUP)
    assert not (folder / SOCKET).exists()
    assert file_mode(folder) == mode_before


# ---- network requests


async def test_network_request_cannot_spoof_socket_identity(folder: Path) -> None:
    spoofed = {
        "X-SE-SUBJECT": ADMIN,
        "X-Forwarded-For": "127.0.0.1",
        "X-Forwarded-Proto": "unix",
        "Forwarded": "for=unix:;proto=unix",
        "X-Real-IP": "127.0.0.1",
        "sealyard.peer": str(os.getuid()),
        "X-Sealyard-Peer": str(os.getuid()),
    }
    async with run_server({"acme": folder}, proxies="127.0.0.1") as harness:
        rejected = await harness.anonymous_client(spoofed).get("/api/v1/workspace")
        assert (rejected.status_code, rejected.json()["code"]) == (401, "unauthenticated")
        token = {"Authorization": f"Bearer {await harness.token(DEV)}"}
        response = await harness.anonymous_client({**spoofed, **token}).get("/api/v1/workspace")
        assert (response.status_code, response.json()["subject"]) == (200, DEV)
        assert (await harness.anonymous_client({**spoofed, **token}).get("/api/v1/key")).status_code == 403
