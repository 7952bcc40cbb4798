"""Certificates of configurations, and warnings about those that are not valid or expire soon, and failing keys."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import lru_cache

import msgspec

from sealyard.engine.state.repository import Repository
from sealyard.engine.state.tables import DEVICE_VERSIONS, KEY_FAILURES, KEYS, version_id
from sealyard.model.certificate_validity import certificate_warnings
from sealyard.model.device_configs import CertificateSummary, DeviceConfig, EncryptionKey, KeyChain, SigningKey
from sealyard.model.keys import KeyVersion
from sealyard.model.tasks import Task, TaskKind, TaskStatus


def key_warnings(repository: Repository, keys: Iterable[SigningKey], needed_until: datetime | None = None) -> list[str]:
    """Return a warning for each certificate of ``keys``, or of their chains, that is not valid now or expires soon.

    Soon means within 30 days, or before ``needed_until``.
    """
    now = repository.clock.now()
    warnings: list[str] = []
    for key in keys:
        info = repository.get(KEYS, key.uri)
        version = info.version(key.version) if info is not None else None
        if info is not None and version is not None:
            warnings += certificate_warnings(info, version, now, needed_until)
    return warnings


def add_certificate_state(repository: Repository, device: DeviceConfig, *, with_generated: bool = True) -> DeviceConfig:
    """Return the configuration with its chains, and warnings about them and about keys that failed their last check.

    ``with_generated``: whether to add the certificates of generated keys, which have no chain. Parsing them takes time.
    """
    warnings = key_warnings(repository, device.signing_keys)
    used_keys = {(key.uri, key.version) for key in device.keys}
    for failure in repository.list_all(KEY_FAILURES):
        if (failure.uri, failure.version) in used_keys and failure.error not in warnings:
            warnings.append(failure.warning)
    chains = tuple(
        chain
        for key in device.signing_keys
        if (with_generated or not _is_generated(repository, key)) and (chain := find_chain(repository, key))
    )
    return msgspec.structs.replace(device, warnings=(*warnings, *device.warnings), chains=chains)


def _is_generated(repository: Repository, key: SigningKey) -> bool:
    version = find_version(repository, key)
    return version is not None and version.is_generated


def find_chain(repository: Repository, key: SigningKey) -> KeyChain | None:
    """Return the chain of the certificate of ``key``; None if the workspace has no certificate for it."""
    version = find_version(repository, key)
    if version is None or version.certificate is None:
        return None
    issuers = (
        CertificateSummary(
            subject=each.subject, issuer=each.issuer, valid_from=each.valid_from, expires_at=each.expires_at
        )
        for each in version.issuer_certificates
    )
    return KeyChain(uri=key.uri, version=key.version, certificates=(_summarize(version.certificate), *issuers))


@lru_cache(maxsize=1000)
def _summarize(pem: str) -> CertificateSummary:
    from sealyard.crypto.certificates import describe_certificate  # imported here, so that commands start faster

    details = describe_certificate(pem)
    return CertificateSummary(
        subject=details.subject, issuer=details.issuer, valid_from=details.valid_from, expires_at=details.expires_at
    )


def find_version(repository: Repository, key: EncryptionKey | SigningKey) -> KeyVersion | None:
    """Return the version of a configuration's key; None if the workspace does not have it."""
    info = repository.get(KEYS, key.uri)
    return info.version(key.version) if info is not None else None


def add_task_warnings(repository: Repository, task: Task) -> Task:
    """Return the task with warnings about the current state of the certificates it signs with.

    Those that expire while the package is retained are included. The warnings are not stored: they depend on the time,
    and approvers can decide days after the task was created.
    """
    if task.signing_key is None or (task.status.is_final and task.status is not TaskStatus.DONE):
        return task
    warnings = key_warnings(repository, (task.signing_key,), _find_end_of_retention(repository, task))
    return msgspec.structs.replace(task, warnings=(*warnings, *task.warnings)) if warnings else task


def _find_end_of_retention(repository: Repository, task: Task) -> datetime | None:
    """Return until when the package of the task is retained; for an unfinished task, if it were finished now."""
    if task.kind is not TaskKind.PACKAGING:
        return None
    if task.result is not None:
        return task.result.retained_until
    device = repository.get(DEVICE_VERSIONS, version_id(task.config_id, task.config_version))
    return repository.clock.now() + timedelta(seconds=device.retention_seconds) if device is not None else None
