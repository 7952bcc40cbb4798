"""The readers that are fuzzed, each with real files or messages that it accepts."""

from __future__ import annotations

import asyncio
import contextlib
import io
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat

from sealyard.audit.checkpoint import verify_note
from sealyard.audit.proof import ConsistencyProof, InclusionProof, parse_proof, prove_consistency, prove_inclusion
from sealyard.audit.reader import AuditReader
from sealyard.audit.segment_files import CHECKPOINTS, PUBLIC_KEY, read_notes, segment_paths
from sealyard.audit.verify import verify_log
from sealyard.client.config.profiles import Profile, ProfileFile, read_profiles, write_profiles
from sealyard.containers.se1.format import SE1Format
from sealyard.containers.ustar import pack as pack_archive
from sealyard.containers.ustar import unpack
from sealyard.engine.state.clock_guard import ClockReading
from sealyard.engine.state.clock_record import ClockRecord
from sealyard.engine.workspace import load_metadata
from sealyard.fs.workspace_lock import WorkspaceLock
from sealyard.jobs.framing import decode_report, decode_request, encode_line
from sealyard.keyholder.file_state import FileWorkerState
from sealyard.keyholder.legacy_intents import read_legacy_intents
from sealyard.keyholder.state import Intent, SignedCheckpoint
from sealyard.keyholder.state_queue import StateQueue
from sealyard.keyholder.worker_channel import WorkerChannel
from sealyard.keys.file_keyring import EncryptedFileKeyring
from sealyard.keys.key_files import parse_certificates, parse_key_file
from sealyard.keys.key_import import load_key
from sealyard.keys.local import LocalKeyProvider
from sealyard.model.algorithms import KeyPurpose, KeyType, SigningAlgorithm
from sealyard.model.base import JSON_ERRORS
from sealyard.model.errors import SealyardError, StorageError
from sealyard.model.key_commands import ImportKey
from sealyard.model.key_holder_messages import (
    FromKeyHolder,
    GetWorkerState,
    HolderResponse,
    KeyHolderToWorker,
    KeyStoreLocation,
    OpenKeyHolder,
    OpenKeys,
    PassphraseSource,
    RecordCheckpoint,
    RecordIntent,
    StartWorker,
    ToKeyHolder,
    WorkerStarted,
    WorkerToKeyHolder,
)
from sealyard.model.worker_messages import Heartbeat, JobFailed, KeyRequest, StopJob
from sealyard.model.workspace import LAYOUT_VERSION, KeyStore, WorkspaceMetadata, WorkspacePaths
from sealyard.storage import generation
from sealyard.storage.batch import WriteBatch
from sealyard.storage.documents import TinyDocumentStore
from sealyard.storage.upload_dir import UploadDir, UploadRecord
from tests.support.factories.audit import START, make_log, public_pem
from tests.support.factories.containers import certificate, cipher_for, now, pack
from tests.support.factories.key_stores import MASTER_KEY, WORKSPACE_ID, make_key_store
from tests.support.key_files import PASSWORD, certificate_for, private_key, write_pem, write_pkcs12
from tests.support.key_holders import LOW_COST
from tests.support.store_helpers import open_test_store

Read = Callable[[bytes], object]


class Reader(NamedTuple):
    """``read`` accepts each of the ``samples``, and raises only ``errors`` for anything else."""

    samples: tuple[bytes, ...]
    read: Read
    errors: tuple[type[Exception], ...] = (SealyardError,)


def read_file(path: Path, read: Callable[[], object]) -> Read:
    """Return a reader of content that is written to ``path`` first."""

    def write_and_read(content: bytes) -> object:
        path.write_bytes(content)
        return read()

    return write_and_read


def decode(text: bytes) -> str:
    return text.decode(errors="replace")


# ---- worker state


def worker_state(folder: Path) -> Reader:
    paths, key_store = WorkspacePaths(folder), make_key_store()

    def open_and_close() -> None:
        FileWorkerState.open(paths, WORKSPACE_ID, key_store).close()

    state = FileWorkerState.open(paths, WORKSPACE_ID, key_store)
    state.record_intents([Intent(task_id=f"t{number}", fencing_token=1, sha256="11" * 32) for number in range(3)])
    state.record_checkpoint(SignedCheckpoint(size=3, root="11" * 32), ())
    state.close()
    return Reader((paths.worker_state.read_bytes(),), read_file(paths.worker_state, open_and_close))


def legacy_intents(folder: Path) -> Reader:
    line = b'{"task":"t1","fencingToken":2,"sha256":"' + b"11" * 32 + b'","at":1.5}\n'
    path = folder / "intents.jsonl"
    path.write_bytes(line)
    read_legacy_intents(path)
    return Reader((line * 3,), read_file(path, lambda: read_legacy_intents(path)))


# ---- audit log


def audit_segment(folder: Path) -> Reader:
    make_log(folder, (4, 7), uncheckpointed=2)
    (path,) = segment_paths(folder)

    def read_entries() -> None:
        list(AuditReader(folder).entries(limit=5))
        list(AuditReader(folder).all_entries())
        verify_log(AuditReader(folder))

    return Reader((path.read_bytes(),), read_file(path, read_entries))


def audit_checkpoints(folder: Path) -> Reader:
    make_log(folder, (4, 7), uncheckpointed=2)
    path = folder / CHECKPOINTS

    def read_checkpoints() -> None:
        list(read_notes(folder))
        AuditReader(folder).last_checkpoint()
        verify_log(AuditReader(folder))

    return Reader((path.read_bytes(),), read_file(path, read_checkpoints))


def audit_key(folder: Path) -> Reader:
    make_log(folder, (4, 7))
    return Reader((public_pem(),), read_file(folder / PUBLIC_KEY, lambda: verify_log(AuditReader(folder))))


def checkpoint_note(folder: Path) -> Reader:
    note = make_log(folder, (4, 7)).last_note()
    assert note is not None
    return Reader((note.encode(),), lambda content: verify_note(decode(content), public_pem()))


def audit_proof(folder: Path) -> Reader:
    make_log(folder, tuple(range(1, 40)))
    old_note = next(note for note in read_notes(folder) if "\n5\n" in note)

    def verify_proof(content: bytes) -> None:
        proof = parse_proof(decode(content))
        if isinstance(proof, InclusionProof):
            proof.verify(public_pem())
        else:
            proof.verify(public_pem(), old_note)

    proofs: tuple[InclusionProof | ConsistencyProof, ...] = (
        prove_inclusion(AuditReader(folder), 11),
        prove_consistency(AuditReader(folder), 5),
    )
    return Reader(tuple(proof.format().encode() for proof in proofs), verify_proof)


# ---- messages


def messages(decoder_type: Any, *samples: Any) -> Reader:
    decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(decoder_type)
    return Reader(tuple(encode_line(sample) for sample in samples), decoder.decode, JSON_ERRORS)


def messages_to_key_holder(_folder: Path) -> Reader:
    location = KeyStoreLocation(workspace="/w", workspace_id="w1", key_store="passphrase")
    request = OpenKeyHolder(location=location, source=PassphraseSource.ENVIRONMENT)
    return messages(ToKeyHolder, request, StartWorker(request_id=1))


def messages_from_key_holder(_folder: Path) -> Reader:
    return messages(FromKeyHolder, WorkerStarted(request_id=1, pid=2))


def messages_from_key_holder_to_worker(_folder: Path) -> Reader:
    open_keys = OpenKeys(workspace="/w", workspace_id=WORKSPACE_ID, master_key=MASTER_KEY)
    return messages(KeyHolderToWorker, open_keys, HolderResponse(request_id=1))


def requests_to_worker_state(folder: Path) -> Reader:
    """Requests of a worker, through the channel that the key holder serves."""
    paths, key_store = WorkspacePaths(folder), make_key_store()
    open_keys = OpenKeys(workspace=str(folder), workspace_id=WORKSPACE_ID, master_key=MASTER_KEY)
    state = StateQueue(lambda: FileWorkerState.open(paths, WORKSPACE_ID, key_store))
    state.open()

    def serve(content: bytes) -> None:
        own_end, worker_end = socket.socketpair()
        with own_end, worker_end:
            sender = threading.Thread(target=_send, args=(worker_end, content))
            sender.start()
            WorkerChannel(own_end, state).serve(open_keys)
            own_end.shutdown(socket.SHUT_RD)
            sender.join()

    requests: tuple[WorkerToKeyHolder, ...] = (
        RecordIntent(request_id=1, task_id="t1", fencing_token=1, sha256="11" * 32),
        RecordCheckpoint(request_id=2, size=1, root="11" * 32, proof=("22" * 32,)),
        GetWorkerState(request_id=3),
    )
    return Reader((b"".join(encode_line(request) for request in requests),), serve)


def _send(worker_end: socket.socket, content: bytes) -> None:
    with contextlib.suppress(OSError):
        worker_end.sendall(content)
        worker_end.shutdown(socket.SHUT_WR)


def messages_to_worker(_folder: Path) -> Reader:
    command = ImportKey(
        uri="local:k", content=b"k" * 32, kind=KeyType.AES_256, purpose=KeyPurpose.BOTH, created_by="USER:a"
    )
    samples = (StopJob(task_id="t1"), KeyRequest(request_id=1, command=command))
    return Reader(tuple(encode_line(sample) for sample in samples), decode_request.decode, JSON_ERRORS)


def messages_from_worker(_folder: Path) -> Reader:
    error = StorageError("The disk is full.", "Free some space.").to_info()
    samples = (
        Heartbeat(task_id="t1", fencing_token=2, done=1, total=2),
        JobFailed(task_id="t1", fencing_token=2, error=error),
    )
    return Reader(tuple(encode_line(sample) for sample in samples), decode_report.decode, JSON_ERRORS)


# ---- store


def store_journal(folder: Path) -> Reader:
    _write_store(folder)
    path = generation.journal_path(folder, generation.newest_generation(folder))
    return Reader((path.read_bytes(),), read_file(path, lambda: generation.load(folder)))


def store_snapshot(folder: Path) -> Reader:
    _write_store(folder)
    path = generation.snapshot_path(folder, generation.newest_generation(folder))
    return Reader((path.read_bytes(),), read_file(path, lambda: generation.load(folder)))


def _write_store(folder: Path) -> None:
    store = open_test_store(folder, {"tasks": ("status",)})
    try:
        for number in range(4):
            _commit(store, f"t{number}")
        store.compact(-1)
        _commit(store, "last")
    finally:
        store.close()


def _commit(store: TinyDocumentStore, task_id: str) -> None:
    store.submit(WriteBatch(puts=(("tasks", task_id, {"id": task_id, "status": "DONE"}),))).result()


def upload_record(folder: Path) -> Reader:
    uploads = UploadDir(folder)
    uploads.records()
    record = UploadRecord(
        id="u", owner="USER:a", name="f.bin", size=10, expected_sha256=None, created_at=START, offset=4
    )
    uploads.save(record)
    (path,) = folder.glob("*.json")
    return Reader((path.read_bytes(),), read_file(path, uploads.records))


# ---- keys


def key_store_file(folder: Path) -> Reader:
    path = folder / "keyring.json"
    EncryptedFileKeyring(path, "passphrase", LOW_COST).set_password("sealyard", "w1", "secret")

    def get_password() -> object:
        return EncryptedFileKeyring(path, "passphrase", LOW_COST).get_password("sealyard", "w1")

    return Reader((path.read_bytes(),), read_file(path, get_password))


def local_key(folder: Path) -> Reader:
    keys = LocalKeyProvider(folder, MASTER_KEY)
    asyncio.run(keys.generate("k", KeyType.ED25519, KeyPurpose.BOTH, "USER:a"))
    path = folder / "k" / "key.json"

    def load_signer() -> object:
        return asyncio.run(LocalKeyProvider(folder, MASTER_KEY).signer("k", 1, SigningAlgorithm.ED25519))

    return Reader((path.read_bytes(),), read_file(path, load_signer))


def key_file(folder: Path) -> Reader:
    key = private_key(KeyType.EC_P256)
    ed25519_key = private_key(KeyType.ED25519)
    samples = (
        write_pem(folder / "pem", key).read_bytes(),
        write_pem(folder / "traditional", key, layout=PrivateFormat.TraditionalOpenSSL).read_bytes(),
        certificate_for(ed25519_key).public_bytes(Encoding.PEM) + write_pem(folder / "ed", ed25519_key).read_bytes(),
        write_pkcs12(folder / "pkcs12", key, None).read_bytes(),
    )

    def read_key(content: bytes) -> None:
        parse_key_file(content, PASSWORD)
        for kind in (KeyType.EC_P256, KeyType.ED25519):
            load_key(content, kind, None)

    return Reader(samples, _ignore_wrong_type(read_key))


def certificate_file(_folder: Path) -> Reader:
    own_certificate = certificate_for(private_key(KeyType.EC_P256))
    samples = tuple(own_certificate.public_bytes(encoding) for encoding in (Encoding.PEM, Encoding.DER))
    return Reader(samples, parse_certificates)


def symmetric_key(_folder: Path) -> Reader:
    return Reader((b"00112233445566778899aabbccddeeff" * 2,), lambda content: load_key(content, KeyType.AES_256, None))


def _ignore_wrong_type(read: Read) -> Read:
    """Return a reader that accepts a file with a key of another type."""

    def read_leniently(content: bytes) -> object:
        try:
            return read(content)
        except SealyardError:
            return None

    return read_leniently


# ---- containers and other files


def container(_folder: Path) -> Reader:
    container_format = SE1Format(now)
    own_certificate = certificate(KeyType.ED25519)
    sample = pack([b"first firmware", b"second"], [("m", b"meta")])

    def read_container(content: bytes) -> None:
        encryption = container_format.encryption_of(io.BytesIO(content))
        container_format.verify(io.BytesIO(content), own_certificate)
        container_format.verify_digests(io.BytesIO(content), own_certificate, cipher_for(encryption), [14, 6])

    return Reader((sample,), read_container)


def archive(_folder: Path) -> Reader:
    return Reader((pack_archive([("one", b"content"), ("two", bytes(600))]),), unpack)


def workspace_metadata(folder: Path) -> Reader:
    paths = WorkspacePaths(folder)
    metadata = WorkspaceMetadata(
        id="w1",
        name="n",
        format=LAYOUT_VERSION,
        demo=False,
        key_store=KeyStore.PASSPHRASE,
        administrator="USER:a",
        created_at=START,
    )
    return Reader((msgspec.json.encode(metadata),), read_file(paths.file, lambda: load_metadata(paths)))


def profiles(folder: Path) -> Reader:
    path = folder / "profiles.json"
    write_profiles(path, ProfileFile(profiles=(Profile(name="a", identity="USER:a"),), current="a"))
    return Reader((path.read_bytes(),), read_file(path, lambda: read_profiles(path)))


def clock_record(folder: Path) -> Reader:
    reading = ClockReading(time=START, monotonic=1.5, boot_id="b")
    path = folder / "clock.json"
    return Reader((msgspec.json.encode(reading),), read_file(path, ClockRecord(path).load))


def lock_file(folder: Path) -> Reader:
    path = folder / "lock"
    WorkspaceLock.acquire(path, purpose="test").release()
    return Reader((path.read_bytes(),), read_file(path, lambda: WorkspaceLock.holder(path)))


READERS: tuple[Callable[[Path], Reader], ...] = (
    worker_state, legacy_intents, audit_segment, audit_checkpoints, audit_key, checkpoint_note, audit_proof,
    messages_to_key_holder, messages_from_key_holder, messages_from_key_holder_to_worker, requests_to_worker_state,
    messages_to_worker, messages_from_worker, store_journal, store_snapshot, upload_record, key_store_file, local_key,
    key_file, certificate_file, symmetric_key, container, archive, workspace_metadata, profiles, clock_record,
    lock_file,
)  # fmt: skip
