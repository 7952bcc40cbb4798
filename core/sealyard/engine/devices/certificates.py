"""Warnings for tasks and configurations: about certificates that are not valid or expire soon, and failing keys."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from sealyard.engine.state.repository import Repository
from sealyard.engine.state.tables import KEY_FAILURES, KEYS
from sealyard.model.device_configs import DeviceConfig, SigningKey
from sealyard.model.keys import certificate_warning
from sealyard.model.tasks import Task, TaskStatus


def certificate_warnings(repository: Repository, keys: Iterable[SigningKey]) -> list[str]:
    """Return a warning for each of ``keys`` whose certificate is not valid now, or expires within 30 days."""
    now = repository.clock.now()
    warnings = []
    for key in keys:
        info = repository.get(KEYS, key.uri)
        version = info.version(key.version) if info is not None else None
        if info is not None and version is not None:
            warnings.append(certificate_warning(info, version, now))
    return list(filter(None, warnings))


def add_device_warnings(repository: Repository, device: DeviceConfig) -> DeviceConfig:
    """Return the configuration with warnings about its certificates and about keys that failed their last check."""
    warnings = certificate_warnings(repository, device.signing_keys)
    used_keys = {(key.uri, key.version) for key in device.keys}
    for failure in repository.list_all(KEY_FAILURES):
        if (failure.uri, failure.version) in used_keys and failure.error not in warnings:
            warnings.append(failure.warning)
    return msgspec.structs.replace(device, warnings=(*warnings, *device.warnings)) if warnings else device


def add_task_warnings(repository: Repository, task: Task) -> Task:
    """Return the task with a warning about the current state of the certificate it signs with.

    The warning is not stored: it depends on the time, and approvers can decide days after the task was created.
    """
    if task.signing_key is None or (task.status.is_final and task.status is not TaskStatus.DONE):
        return task
    warnings = certificate_warnings(repository, (task.signing_key,))
    return msgspec.structs.replace(task, warnings=(*warnings, *task.warnings)) if warnings else task
