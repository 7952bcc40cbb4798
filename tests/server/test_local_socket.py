"""The workspace's own socket: who may use it, and who one is there."""

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
from sealyard.model.errors import PermissionDeniedError, UsageError
from sealyard.server.auth.authentication import account_name, subject_for_uid
from sealyard.server.local_socket import LocalSocketServer, bind_socket
from tests.support.server_harness import ADMIN, DEV, PASSPHRASE, copy_workspace, run_server

pytestmark = pytest.mark.anyio

NOBODY = 65534
GROUP, ANOTHER = "games", "news"
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")


@pytest.fixture
def open_folder(founded: Path) -> Iterator[Path]:
    """In a place that others may come to: how far they get is the workspace's own doing."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o711)
        folder = copy_workspace(founded, Path(place) / "yard")
        folder.chmod(0o700)
        yield folder


@asynccontextmanager
async def listening(folder: Path, group: str = "") -> AsyncIterator[EngineHandle]:
    engine = await EngineHandle.open(folder, purpose="test", passphrase=PASSPHRASE, work=False)
    server = LocalSocketServer(engine, os_group=group)
    try:
        await server.start()
        yield engine
    finally:
        await server.stop()
        await engine.close()


class Answer(NamedTuple):
    """``status`` 0: nobody could be asked."""

    status: int
    said: Any


async def asked(folder: Path, subject: str | None = None, *, path: str = "workspace", **who: Any) -> Answer:
    """``who``: user and groups of the process that asks."""
    named = ["-H", f"X-SE-SUBJECT: {subject}"] if subject else []
    url = f"http://localhost/api/v1/{path}"
    ran = await run("curl", "-s", "-w", "%{http_code}", *named, "--unix-socket", folder / SOCKET, url, **who)
    status = int(ran.stdout[-3:])
    return Answer(status, msgspec.json.decode(ran.stdout[:-3]) if status else None)


async def run(*command: object, **who: Any) -> subprocess.CompletedProcess[bytes]:
    words = [str(each) for each in command]

    def ran() -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(words, capture_output=True, timeout=30, check=False, cwd="/", **who)

    return await asyncio.to_thread(ran)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


# ---- who one is


def test_the_user_of_the_process_is_whom_it_says() -> None:
    assert subject_for_uid("USER:anna", os.getuid()) == "USER:anna"
    assert subject_for_uid("CLIENT:ci", os.getuid()) == "CLIENT:ci"


@pytest.mark.parametrize("named", [None, ""])
def test_the_user_of_the_process_must_say_who_asks(named: str | None) -> None:
    with pytest.raises(UsageError, match="No subject selected"):
        subject_for_uid(named, os.getuid())


def test_another_user_is_the_account_and_nobody_else() -> None:
    other = next(each for each in pwd.getpwall() if each.pw_uid != os.getuid())
    own = f"USER:{other.pw_name}"
    assert subject_for_uid(None, other.pw_uid) == own
    assert subject_for_uid(own, other.pw_uid) == own
    for pretended in ("USER:admin", f"CLIENT:{other.pw_name}", f"GROUP:{other.pw_name}"):
        with pytest.raises(PermissionDeniedError, match=own):
            subject_for_uid(pretended, other.pw_uid)


def test_an_account_without_a_name_goes_by_its_number() -> None:
    unknown = next(each for each in range(70_000, 80_000) if each not in {known.pw_uid for known in pwd.getpwall()})
    assert account_name(unknown) == str(unknown)
    assert subject_for_uid(None, unknown) == f"USER:{unknown}"


async def test_at_the_socket_the_own_user_is_believed_and_others_do_not_get_there(folder: Path) -> None:
    async with listening(folder):
        assert mode(folder / SOCKET) == 0o600
        found = await asked(folder, DEV)
        assert (found.status, found.said["subject"]) == (200, DEV)
        assert (await asked(folder)).status == 400
        assert (await asked(folder, "GROUP:owners")).status == 403
        assert (await asked(folder, "USER:unknown")).status == 403
    assert not (folder / SOCKET).exists()


@as_root
async def test_without_a_group_nobody_else_reaches_the_socket(open_folder: Path) -> None:
    async with listening(open_folder):
        assert (mode(open_folder), mode(open_folder / SOCKET)) == (0o700, 0o600)
        assert (await asked(open_folder, user=NOBODY, group=GROUP, extra_groups=[])).status == 0


@as_root
async def test_a_member_of_the_group_is_the_own_account_and_reads_nothing_else(open_folder: Path) -> None:
    member: dict[str, Any] = {"user": NOBODY, "group": ANOTHER, "extra_groups": [GROUP]}
    async with listening(open_folder, GROUP) as engine:
        assert (mode(open_folder), mode(open_folder / SOCKET)) == (0o710, 0o660)
        stranger = await asked(open_folder, **member)
        assert stranger.status == 403
        assert "USER:nobody is unknown" in stranger.said["detail"]

        await engine.client(ADMIN).add_subject("USER:nobody")
        found = await asked(open_folder, **member)
        assert (found.status, found.said["subject"]) == (200, "USER:nobody")
        pretended = await asked(open_folder, ADMIN, **member)
        assert pretended.status == 403
        assert "you are USER:nobody" in pretended.said["detail"]

        assert (await asked(open_folder, user=NOBODY, group=ANOTHER, extra_groups=[])).status == 0
        assert (await run("ls", open_folder, **member)).returncode != 0
        for each in open_folder.iterdir():
            if each.name != SOCKET:
                looked = await run("ls" if each.is_dir() else "cat", each, **member)
                assert looked.returncode != 0, each


def test_a_group_that_is_not_there_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="Unknown group no-such-group"):
        bind_socket(folder, "no-such-group")
    assert not (folder / SOCKET).exists()


def test_a_group_of_which_one_is_no_member_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refused)
    before = mode(folder)
    with pytest.raises(UsageError, match=f"not a member of the group {GROUP}"):
        bind_socket(folder, GROUP)
    assert not (folder / SOCKET).exists()
    assert mode(folder) == before


# ---- the network is not the socket


async def test_what_comes_over_the_network_is_never_taken_for_the_socket(folder: Path) -> None:
    pretended = {
        "X-SE-SUBJECT": ADMIN,
        "X-Forwarded-For": "127.0.0.1",
        "X-Forwarded-Proto": "unix",
        "Forwarded": "for=unix:;proto=unix",
        "X-Real-IP": "127.0.0.1",
        "sealyard.peer": str(os.getuid()),
        "X-Sealyard-Peer": str(os.getuid()),
    }
    async with run_server({"yard": folder}, proxies="127.0.0.1") as yard:
        refused = await yard.anonymous_client(pretended).get("/api/v1/workspace")
        assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")
        token = {"Authorization": f"Bearer {await yard.token(DEV)}"}
        found = await yard.anonymous_client({**pretended, **token}).get("/api/v1/workspace")
        assert (found.status_code, found.json()["subject"]) == (200, DEV)
        assert (await yard.anonymous_client({**pretended, **token}).get("/api/v1/key")).status_code == 403
