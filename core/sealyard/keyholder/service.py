"""The key holder's main loop: open the key store, then start and kill workers on request."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from sealyard.fs.private import open_log
from sealyard.keyholder.connection import ParentConnection
from sealyard.keyholder.prompt import TerminalPrompt
from sealyard.keyholder.providers import ProviderGroup
from sealyard.keyholder.state_access import WorkerStateAccess
from sealyard.keyholder.state_inspector import StateInspector
from sealyard.keyholder.state_queue import StateQueue
from sealyard.keyholder.store_generations import StoreGenerations
from sealyard.keyholder.unlock import unlock_key_store
from sealyard.keyholder.workers import WorkerGroup
from sealyard.keyholder.zone_pins import open_zone
from sealyard.keys.derived_keys import derive_engine_keys
from sealyard.keys.master_key import OpenedKeyStore
from sealyard.model.errors import SealyardError
from sealyard.model.key_holder_messages import (
    GetStoreGeneration,
    InspectState,
    KeyHolderFailed,
    KeyHolderReady,
    KeyStoreLocation,
    KillWorker,
    OpenKeyHolder,
    OpenKeys,
    PassphraseSource,
    RecordStoreGeneration,
    RecoverState,
    ReleaseWorkerState,
    StartWorker,
    TerminalReleased,
    ToKeyHolder,
)
from sealyard.model.workspace import WorkspacePaths
from sealyard.model.zones import ZoneIdentity

_decoder: msgspec.json.Decoder[ToKeyHolder] = msgspec.json.Decoder(ToKeyHolder)


class _OpenedKeys(NamedTuple):
    """An opened key store, and the zone that it has pinned if it is that of a crypto host."""

    key_store: OpenedKeyStore
    zone: ZoneIdentity | None


def serve(connection: socket.socket, passphrase_fd: int | None) -> int:
    """Run the key holder until the process that started it closes its end of ``connection``.

    Returns the exit code: 2 if the first message is not :class:`OpenKeyHolder`.
    """
    parent = ParentConnection(connection)
    with connection.makefile("rb") as requests:
        line = requests.readline()
        request = _decoder.decode(line) if line else None
        if not isinstance(request, OpenKeyHolder):
            return 2
        paths = WorkspacePaths(Path(request.location.workspace))
        providers = ProviderGroup.load(paths, request.tenant)
        workers = WorkerGroup(parent, paths.worker_log, providers)
        opened = _open(parent, request, passphrase_fd)
        _leave_terminal(paths)
        parent.send(TerminalReleased())
        if opened is None:
            workers.discard_standby()
            return 0
        access = WorkerStateAccess(request.location, opened.key_store)
        state = StateQueue(access.open)
        workers.open(_build_open_keys(request.location, opened, providers), state)
        store_generations = StoreGenerations(parent, state)
        inspector = StateInspector(parent, access, may_recover=request.may_recover)
        _handle_requests(requests, workers, store_generations, inspector)
        providers.close()
        store_generations.release()
        state.flush()
    return 0


def _open(parent: ParentConnection, request: OpenKeyHolder, passphrase_fd: int | None) -> _OpenedKeys | None:
    """Open the key store. Returns None if that is not possible. Reports the result to the parent process."""
    prompt = None
    if request.source is PassphraseSource.TERMINAL:
        prompt = TerminalPrompt()
        prompt.end_with(parent)
    try:
        key_store = unlock_key_store(request, passphrase_fd, prompt)
        zone = open_zone(request, key_store, WorkspacePaths(Path(request.location.workspace)))
    except SealyardError as error:
        parent.send(KeyHolderFailed(error=error.to_info()))
        return None
    keys = derive_engine_keys(key_store.master_key) if zone is None else None
    parent.send(KeyHolderReady(keys=keys, zone=zone))
    return _OpenedKeys(key_store, zone)


def _build_open_keys(location: KeyStoreLocation, opened: _OpenedKeys, providers: ProviderGroup) -> OpenKeys:
    return OpenKeys(
        workspace=location.workspace,
        workspace_id=location.workspace_id,
        master_key=opened.key_store.master_key,
        providers=providers.routes,
        providers_error=providers.error,
        order_key=None if opened.zone is None else opened.zone.enrollment.order_key,
    )


def _leave_terminal(paths: WorkspacePaths) -> None:
    """Leave the session of the terminal, so that its signals do not end this process, and log to the worker's log."""
    null_fd = os.open(os.devnull, os.O_RDWR)
    os.dup2(null_fd, 0)
    os.dup2(null_fd, 1)
    os.close(null_fd)
    log_fd = open_log(paths.worker_log)
    os.dup2(log_fd, 2)
    os.close(log_fd)
    if os.getpgrp() != os.getpid():
        os.setsid()


def _handle_requests(
    requests: BinaryIO, workers: WorkerGroup, store_generations: StoreGenerations, inspector: StateInspector
) -> None:
    for line in requests:
        match _decoder.decode(line):
            case GetStoreGeneration() | RecordStoreGeneration() as request:
                store_generations.handle(request)
            case ReleaseWorkerState():
                store_generations.release()
            case StartWorker(request_id=request_id):
                workers.start(request_id)
            case KillWorker(pid=pid):
                workers.kill(pid)
            case InspectState() | RecoverState() as message:
                inspector.handle(message)
