"""Grants for the crypto host that runs a task: to read the inputs of the task, and to write its result."""

from __future__ import annotations

from sealyard.model.errors import UsageError
from sealyard.model.grants import InputGrant, ResultContent, ResultGrant
from sealyard.model.tasks import Task
from sealyard.model.zone_messages import GrantsRequested
from sealyard.storage.artifacts import OUTPUT_NAMES, RemoteArtifacts, ResultId

GRANT_SECONDS = 3600
"""How long a grant is valid. An agent requests others if a transfer takes longer."""

MAX_OVERHEAD_BYTES = 64 << 20
"""How much larger a result can be than the inputs and metadata of its task."""


def grant_inputs(task: Task, artifacts: RemoteArtifacts) -> tuple[InputGrant, ...]:
    """Return a grant for each input of the task.

    Blocks. Raises :class:`NotFoundError` if an input is not stored, and :class:`ArtifactStoreError`.
    """
    return tuple(artifacts.grant_input(sha256, GRANT_SECONDS) for sha256 in _list_inputs(task))


def answer_request(
    task: Task, request: GrantsRequested, artifacts: RemoteArtifacts
) -> tuple[tuple[InputGrant, ...], ResultGrant | None]:
    """Return the requested grants.

    Blocks. Requests are not signed: raises :class:`UsageError` if this one is for anything that the task does not need.
    """
    if not set(request.inputs) <= _list_inputs(task).keys():
        raise UsageError("The requested inputs are not those of the task.")
    inputs = tuple(artifacts.grant_input(sha256, GRANT_SECONDS) for sha256 in dict.fromkeys(request.inputs))
    if request.result is None:
        return inputs, None
    _check_result(task, request.result)
    return inputs, artifacts.grant_result(ResultId.of(task), request.result, GRANT_SECONDS)


def _list_inputs(task: Task) -> dict[str, None]:
    """Return the SHA-256 of each stored input, without duplicates."""
    return dict.fromkeys(file.sha256 for file in (*task.inputs, *task.metadata) if file.inline is None)


def _check_result(task: Task, content: ResultContent) -> None:
    max_size = sum(file.size for file in (*task.inputs, *task.metadata)) + MAX_OVERHEAD_BYTES
    if task.kind not in OUTPUT_NAMES or content.size > max_size:
        raise UsageError("The task has no such result.")
