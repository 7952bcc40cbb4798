"""Tests of the key holder process: sources of the passphrase, secrecy, and its death."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealyard.jobs import key_holder as key_holder_module
from sealyard.jobs.environment import select_environment
from sealyard.jobs.key_holder import KeyHolder
from sealyard.jobs.pipe_bus import PipeBus
from sealyard.model.errors import KeyStoreLockedError, SealyardError
from sealyard.model.key_commands import AuditPublicKey
from sealyard.model.key_holder_messages import KeyStoreLocation, PassphraseSource
from sealyard.model.worker_messages import JobFinished, SigningPermissionRequested, WorkerLost
from sealyard.model.workspace import KeyStore
from tests.support.bus_driver import BusDriver, ConstantClock, drive_bus, is_alive, run_within
from tests.support.key_holders import unlock
from tests.support.limits import TIMEOUT
from tests.support.processes import suspend
from tests.support.worker_harness import PASSPHRASE, WorkerWorkspace

VARIABLE = "SEALYARD_PASSPHRASE"


@pytest.fixture(autouse=True)
def _no_passphrase_in_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(key_holder_module, "RESTART_INTERVAL", 0.0)


@pytest.fixture
def key_holder(workspace: WorkerWorkspace) -> Iterator[KeyHolder]:
    """A key holder that received its passphrase through a descriptor."""
    key_holder = unlock(PASSPHRASE)(workspace.location)
    yield key_holder
    key_holder.close()


def start_from_environment(workspace: WorkerWorkspace, passphrase: str = PASSPHRASE, tenant: str = "") -> KeyHolder:
    name = f"{VARIABLE}_{tenant.upper()}" if tenant else VARIABLE
    return KeyHolder.start(workspace.location, environment={name: passphrase}, tenant=tenant)


def open_error(key_holder: KeyHolder) -> SealyardError:
    with pytest.raises(SealyardError) as caught:
        asyncio.run(key_holder.wait_until_open())
    return caught.value


def child_pids(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def wait_until_gone(*pids: int) -> None:
    async with asyncio.timeout(TIMEOUT):
        while any(is_alive(pid) and not _is_zombie(pid) for pid in pids):
            await asyncio.sleep(0.01)


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


# ---- sources of the passphrase


@pytest.mark.parametrize("tenant", ["", "acme"])
def test_environment_opens_key_store(workspace: WorkerWorkspace, tenant: str) -> None:
    key_holder = start_from_environment(workspace, tenant=tenant)
    asyncio.run(key_holder.wait_until_open())
    key_holder.close()


def test_credential_opens_key_store(workspace: WorkerWorkspace, tmp_path: Path) -> None:
    (tmp_path / "sealyard-passphrase").write_text(f"{PASSPHRASE}\n")
    key_holder = KeyHolder.start(workspace.location, environment={"CREDENTIALS_DIRECTORY": str(tmp_path)})
    asyncio.run(key_holder.wait_until_open())
    key_holder.close()


def test_descriptor_opens_key_store(key_holder: KeyHolder) -> None:
    asyncio.run(key_holder.wait_until_open())


def test_wrong_passphrase_is_reported(workspace: WorkerWorkspace) -> None:
    key_holder = start_from_environment(workspace, "wrong")
    error = open_error(key_holder)
    assert isinstance(error, KeyStoreLockedError)
    assert "Wrong passphrase" in error.message
    key_holder.close()


def test_late_request_raises_start_error(workspace: WorkerWorkspace) -> None:
    """The key holder has failed and exited before the engine uses it."""
    key_holder = start_from_environment(workspace, "wrong")

    async def scenario() -> None:
        await wait_until_gone(key_holder.pid)
        for _ in range(2):
            with pytest.raises(KeyStoreLockedError, match="Wrong passphrase"):
                await key_holder.start_worker()

    run_within(scenario())
    key_holder.close()


def test_missing_passphrase_names_all_sources(workspace: WorkerWorkspace) -> None:
    key_holder = KeyHolder.start(workspace.location)
    hint = open_error(key_holder).hint
    assert all(source in hint for source in (VARIABLE, "systemd credential", "terminal"))
    key_holder.close()


def test_random_passphrase_creates_key_store(tmp_path: Path) -> None:
    location = KeyStoreLocation(workspace=str(tmp_path), workspace_id="w2", key_store=KeyStore.PASSPHRASE, create=True)
    key_holder = KeyHolder.start(location, source=PassphraseSource.RANDOM)
    asyncio.run(key_holder.wait_until_open())
    assert (tmp_path / "keys" / "keyring.json").exists()
    key_holder.close()


# ---- secrecy


def test_command_line_and_files_have_no_passphrase(key_holder: KeyHolder, workspace: WorkerWorkspace) -> None:
    asyncio.run(key_holder.wait_until_open())
    process_files = [Path(f"/proc/{key_holder.pid}/{name}") for name in ("cmdline", "environ")]
    workspace_files = [path for path in workspace.root.rglob("*") if path.is_file()]
    for path in (*process_files, *workspace_files):
        content = path.read_bytes()
        assert PASSPHRASE.encode() not in content, path
        assert workspace.open_keys.master_key not in content, path


def test_environment_has_passphrase_of_one_tenant(workspace: WorkerWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{VARIABLE}_UMBRELLA", "of another tenant")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of another program")
    key_holder = start_from_environment(workspace, tenant="acme")
    asyncio.run(key_holder.wait_until_open())
    environ = Path(f"/proc/{key_holder.pid}/environ").read_bytes()
    assert b"of another" not in environ
    assert set(select_environment(os.environ)) >= {
        entry.partition(b"=")[0].decode() for entry in environ.split(b"\0") if entry
    } - {f"{VARIABLE}_ACME"}
    key_holder.close()


# ---- death


def test_workers_exit_with_killed_key_holder(key_holder: KeyHolder, workspace: WorkerWorkspace) -> None:
    async def scenario() -> None:
        bus = PipeBus(key_holder, workspace.paths.worker_log, ConstantClock())
        driver = BusDriver(bus)
        job = workspace.package(b"firmware")
        await driver.start_job(job)
        await driver.next(SigningPermissionRequested)
        pids = bus.pids
        os.kill(key_holder.pid, signal.SIGKILL)
        lost = await driver.next(WorkerLost)
        assert lost.task_id == job.task.id
        await wait_until_gone(*pids)
        assert bus.pids == ()
        await bus.close()

    run_within(scenario())
    assert workspace.intents == []


def test_suspended_worker_is_killed_after_key_holder(key_holder: KeyHolder, workspace: WorkerWorkspace) -> None:
    """The job is reported as lost only after the worker has exited, although the key holder cannot report that."""

    async def scenario() -> None:
        bus = PipeBus(key_holder, workspace.paths.worker_log, ConstantClock())
        driver = BusDriver(bus)
        await driver.start_job(workspace.package(b"firmware"))
        await driver.next(SigningPermissionRequested)
        [pid] = bus.pids
        suspend(pid)
        os.kill(key_holder.pid, signal.SIGKILL)
        await wait_until_gone(key_holder.pid)
        assert not _is_zombie(pid)
        await bus.close()
        await wait_until_gone(pid)

    run_within(scenario())


def test_dead_key_holder_without_passphrase_locks_key_store(workspace: WorkerWorkspace) -> None:
    async def scenario() -> None:
        async with drive_bus(workspace) as driver:
            await driver.bus.request(AuditPublicKey())
            [worker] = driver.bus.pids
            parent = int(Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[1])
            os.kill(parent, signal.SIGKILL)
            await wait_until_gone(worker, parent)
            while driver.bus.pids:
                await asyncio.sleep(0.01)
            for _ in range(2):
                with pytest.raises(KeyStoreLockedError, match="has ended") as caught:
                    await driver.bus.request(AuditPublicKey())
                assert "Restart Sealyard" in caught.value.hint
            assert driver.bus.pids == ()

    run_within(scenario())


RESTART_SCRIPT = """
import asyncio, os, signal, sys
from pathlib import Path
from sealyard.client.config.key_holder import forget_passphrases
from sealyard.jobs.key_holder import KeyHolder
from sealyard.jobs.pipe_bus import PipeBus
from sealyard.model.key_holder_messages import KeyStoreLocation
from sealyard.model.key_commands import AuditPublicKey
from tests.support.bus_driver import ConstantClock

async def main():
    location = KeyStoreLocation(workspace=sys.argv[1], workspace_id="w1", key_store="passphrase")
    name = "SEALYARD_PASSPHRASE"
    key_holder = KeyHolder.start(location, environment={name: os.environ[name]} if name in os.environ else {})
    forget_passphrases(os.environ)
    bus = PipeBus(key_holder, Path(sys.argv[1]) / "logs" / "worker.log", ConstantClock())
    first = await bus.request(AuditPublicKey())
    pid = key_holder.pid
    os.kill(pid, signal.SIGKILL)
    while bus.pids:
        await asyncio.sleep(0.01)
    assert (await bus.request(AuditPublicKey())).text == first.text
    assert key_holder.pid != pid
    await bus.close()
    key_holder.close()
    print("restarted")

asyncio.run(main())
"""


def test_killed_key_holder_is_restarted_from_environment(workspace: WorkerWorkspace) -> None:
    """The process has removed the passphrase from its variables; the key holder reads its initial environment."""
    result = subprocess.run(
        [sys.executable, "-c", RESTART_SCRIPT, str(workspace.root)],
        env={**os.environ, VARIABLE: PASSPHRASE},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert result.stdout == "restarted\n", result.stderr


def test_job_runs_after_restart_from_credential(
    workspace: WorkerWorkspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sealyard-passphrase").write_text(PASSPHRASE)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))

    async def scenario() -> None:
        key_holder = KeyHolder.start(workspace.location, environment={"CREDENTIALS_DIRECTORY": str(tmp_path)})
        bus = PipeBus(key_holder, workspace.paths.worker_log, ConstantClock())
        driver = BusDriver(bus)
        await driver.start_job(workspace.signing(b"message"))
        await driver.next(SigningPermissionRequested)
        os.kill(key_holder.pid, signal.SIGKILL)
        await driver.next(WorkerLost)
        await driver.start_job(workspace.signing(b"message"))
        assert isinstance(await driver.wait_for_end(), JobFinished)
        await bus.close()
        key_holder.close()

    run_within(scenario())


def test_key_holder_exits_with_its_parent(workspace: WorkerWorkspace) -> None:
    script = (
        "import os, signal, sys, time\n"
        "from sealyard.jobs.key_holder import KeyHolder\n"
        "from sealyard.model.key_holder_messages import KeyStoreLocation\n"
        "location = KeyStoreLocation(workspace=sys.argv[1], workspace_id='w1', key_store='passphrase')\n"
        "key_holder = KeyHolder.start(location)\n"
        "print(key_holder.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(workspace.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    process.kill()
    process.communicate()
    asyncio.run(wait_until_gone(pid))


def test_close_ends_workers(key_holder: KeyHolder, workspace: WorkerWorkspace) -> None:
    async def scenario() -> None:
        bus = PipeBus(key_holder, workspace.paths.worker_log, ConstantClock())
        await bus.request(AuditPublicKey())
        pids = bus.pids
        await asyncio.to_thread(key_holder.close)
        await wait_until_gone(*pids)
        await bus.close()

    run_within(scenario())
