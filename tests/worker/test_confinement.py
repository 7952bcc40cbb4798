"""Tests of the confinement: nothing is refused on this kernel, and the filter denies what it lists."""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import os
import resource
import struct
from functools import partial
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sealyard.confinement import namespaces, seccomp
from sealyard.model.algorithms import KeyPurpose, KeyType, SigningAlgorithm
from sealyard.model.device_configs import SigningKey
from sealyard.model.errors import WorkspaceError
from sealyard.model.key_commands import (
    AuditPublicKey,
    CreateCertificateRequest,
    ExportKey,
    GenerateKey,
    ImportCertificate,
    ImportKey,
    KeyCommand,
    ProbeEncryptionKey,
    ProbeSigningKey,
    RotateKey,
    SignCheckpoint,
)
from sealyard.model.worker_messages import JobFinished, KeyRequest, KeyResponse, WorkerReady, WorkerStartFailed
from tests.support.key_files import certificate_for
from tests.support.ordinary_user import (
    ORDINARY_USER,
    give_to_ordinary_user,
    open_to_ordinary_user,
    run_as_ordinary_user,
)
from tests.support.programs import skip_missing
from tests.support.worker_harness import CIPHER, WorkerProcess, WorkerWorkspace

REFUSING_SCRIPT = """
import sys
from sealyard.worker import __main__
from sealyard.confinement import process, seccomp
process.forbid_new_privileges()
denied_calls = seccomp.DENIED_CALLS
seccomp.DENIED_CALLS = {"unshare": (272, 97), "capset": (126, 91), "landlock_create_ruleset": (444, 444)}
seccomp.install_filter()
seccomp.DENIED_CALLS = denied_calls
sys.exit(__main__.main())
"""
"""A worker in a container whose own filter denies namespaces and Landlock."""


def read_status(worker: WorkerProcess) -> dict[str, str]:
    text = Path(f"/proc/{worker.process.pid}/status").read_text()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


def test_nothing_is_refused_on_this_kernel(workspace: WorkerWorkspace, worker: WorkerProcess) -> None:
    assert worker.messages_of(WorkerReady)[0].refused == ()
    status = read_status(worker)
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert status["CapEff"] == status["CapPrm"] == "0000000000000000"
    assert isinstance(worker.wait_for_end(workspace.package(b"firmware")), JobFinished)


@pytest.mark.skipif(os.geteuid() != 0, reason="the tests run as an ordinary user already")
def test_nothing_is_refused_to_an_ordinary_user(workspace: WorkerWorkspace) -> None:
    command = run_as_ordinary_user()
    with open_to_ordinary_user(workspace) as accessible_workspace:
        worker = WorkerProcess(accessible_workspace, prefix=command)
        try:
            worker.open_key_store(accessible_workspace)
            assert read_status(worker)["Uid"].split() == [str(ORDINARY_USER)] * 4
            assert worker.messages_of(WorkerReady)[0].refused == ()
            for job in (accessible_workspace.package(b"firmware"), accessible_workspace.signing(b"message")):
                give_to_ordinary_user(accessible_workspace.root)
                assert isinstance(worker.wait_for_end(job), JobFinished)
        finally:
            worker.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="the tests do not run as root")
def test_root_is_refused_the_workspace_of_another_user(workspace: WorkerWorkspace) -> None:
    give_to_ordinary_user(workspace.root)
    worker = WorkerProcess(workspace)
    try:
        worker.give_keys(workspace)
        assert worker.next(WorkerStartFailed).error.code == WorkspaceError.code
    finally:
        worker.close()


def test_confined_worker_executes_every_command(workspace: WorkerWorkspace, worker: WorkerProcess) -> None:
    """The lazily imported modules and all files that the commands need are reachable."""
    private = ed25519.Ed25519PrivateKey.generate()
    content = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    renewed = certificate_for(private, name="renewed").public_bytes(Encoding.PEM)
    import_key = partial(ImportKey, purpose=KeyPurpose.BOTH, created_by="USER:a")
    version = workspace.keys["both"].current
    commands: tuple[KeyCommand, ...] = (
        GenerateKey(uri="local:new", kind=KeyType.EC_P256, purpose=KeyPurpose.BOTH, subject="new", created_by="USER:a"),
        import_key(uri="local:bought", content=content, kind=KeyType.ED25519),
        ImportCertificate(uri="local:bought", version=1, content=renewed),
        import_key(uri="local:aes", content=bytes(range(16)), kind=KeyType.AES_128),
        RotateKey(uri="local:aes"),
        CreateCertificateRequest(uri="local:new", version=1),
        AuditPublicKey(),
        SignCheckpoint(size=5, root="00" * 32),
        ProbeSigningKey(
            key=SigningKey(algorithm=SigningAlgorithm.ED25519, uri="local:both", version=1),
            certificate=version.certificate or "",
        ),
        ProbeEncryptionKey(key=CIPHER),
    )
    for number, command in enumerate(commands):
        worker.send(KeyRequest(request_id=number, command=command))
        response = worker.next(KeyResponse)
        assert (response.request_id, response.error) == (number, None)
    worker.send(KeyRequest(request_id=100, command=ExportKey(uri="local:aes", version=1)))
    assert worker.next(KeyResponse).secret == bytes(range(16))
    for job in (workspace.package(b"firmware"), workspace.signing(b"message"), workspace.encryption(b"firmware")):
        assert isinstance(worker.wait_for_end(job), JobFinished)


def test_worker_has_namespaces_of_its_own(worker: WorkerProcess) -> None:
    for name in ("user", "net", "ipc", "uts"):
        own = Path(f"/proc/self/ns/{name}").readlink()
        assert Path(f"/proc/{worker.process.pid}/ns/{name}").readlink() != own


def test_worker_leaves_no_core_dump(worker: WorkerProcess) -> None:
    assert resource.prlimit(worker.process.pid, resource.RLIMIT_CORE) == (0, 0)


def test_refused_measures_are_reported_and_jobs_work(workspace: WorkerWorkspace) -> None:
    worker = WorkerProcess(workspace, ("-c", REFUSING_SCRIPT))
    try:
        worker.open_key_store(workspace)
        [ready] = worker.messages_of(WorkerReady)
        refused_names = [each.name for each in ready.refused]
        assert refused_names == ["user-namespace", "network-namespace", "capabilities", "landlock"]
        assert {each.reason for each in ready.refused} == {os.strerror(errno.EPERM)}
        assert isinstance(worker.wait_for_end(workspace.package(b"firmware")), JobFinished)
    finally:
        worker.close()


def test_refused_id_map_leaves_the_process_in_its_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    """AppArmor on Ubuntu permits the namespace, but not its id map."""

    def refuse() -> None:
        raise PermissionError(errno.EPERM, "refused")

    monkeypatch.setattr(namespaces, "_create_user_namespace", refuse)
    before = Path("/proc/self/ns/user").readlink()
    with pytest.raises(PermissionError):
        namespaces.enter_user_namespace()
    assert Path("/proc/self/ns/user").readlink() == before


# ---- the filter


ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
PID = 4711
ALLOW, KILL = 0x7FFF0000, 0x80000000
DENY = 0x00050000 | errno.EPERM
CLONE_THREAD, CLONE_NEWUSER = 0x00010000, 0x10000000


def run_filter(machine: str, number: int, argument: int = 0, architecture: int | None = None) -> int:
    """Execute the filter as the kernel does, with a small interpreter of classic BPF, and return its verdict."""
    data = struct.pack("<IIQQ", number, architecture or ARCHITECTURES[machine], 0, argument)
    program = seccomp.build_filter(machine, PID)
    position = accumulator = 0
    while True:
        code, jump_true, jump_false, operand = program[position]
        position += 1
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", data, operand)
            case 0x15:
                position += jump_true if accumulator == operand else jump_false
            case 0x45:
                position += jump_true if accumulator & operand else jump_false
            case 0x06:
                return operand


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_filter_denies_listed_calls_only(machine: str) -> None:
    column = list(ARCHITECTURES).index(machine)
    denied = {numbers[column] for numbers in seccomp.DENIED_CALLS.values()} - {None}
    special = {seccomp.CLONE[machine], seccomp.CLONE3, seccomp.TGKILL[machine]}
    for number in range(600):
        if number not in special:
            assert run_filter(machine, number) == (DENY if number in denied else ALLOW), number


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_filter_permits_threads_but_no_processes(machine: str) -> None:
    clone = seccomp.CLONE[machine]
    assert run_filter(machine, clone, CLONE_THREAD | 0x3D0F00) == ALLOW
    assert run_filter(machine, clone, 17) == DENY
    assert run_filter(machine, clone, CLONE_NEWUSER) == DENY
    assert run_filter(machine, seccomp.CLONE3) == 0x00050000 | errno.ENOSYS


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_filter_permits_signals_to_the_own_process_only(machine: str) -> None:
    assert run_filter(machine, seccomp.TGKILL[machine], PID) == ALLOW
    assert run_filter(machine, seccomp.TGKILL[machine], PID + 1) == DENY


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_filter_kills_calls_of_other_architectures(machine: str) -> None:
    assert run_filter(machine, 0, architecture=0x40000003) == KILL
    if machine == "x86_64":
        assert run_filter(machine, 0x40000000 | 41) == KILL


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_numbers_of_calls_are_those_of_libseccomp(machine: str) -> None:
    name = ctypes.util.find_library("seccomp")
    if name is None:
        skip_missing("libseccomp is not installed")
    resolve = ctypes.CDLL(name).seccomp_syscall_resolve_name_arch
    resolve.argtypes = (ctypes.c_uint32, ctypes.c_char_p)
    column = list(ARCHITECTURES).index(machine)
    special = {"clone": seccomp.CLONE[machine], "clone3": seccomp.CLONE3, "tgkill": seccomp.TGKILL[machine]}
    listed = {call: numbers[column] for call, numbers in seccomp.DENIED_CALLS.items()}
    for call, number in {**listed, **special}.items():
        resolved = resolve(ARCHITECTURES[machine], call.encode())
        # A call that the architecture lacks has a negative number.
        assert (resolved if resolved >= 0 else None) == number, call
