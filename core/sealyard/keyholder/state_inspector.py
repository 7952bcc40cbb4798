"""Requests of the parent process to inspect the worker state, and to recover from an older copy of the workspace."""

from __future__ import annotations

from sealyard.keyholder.connection import ParentConnection
from sealyard.keyholder.state_access import WorkerStateAccess
from sealyard.keyholder.state_queue import to_sealyard_error
from sealyard.model.errors import PermissionDeniedError
from sealyard.model.key_holder_messages import InspectState, RecoverState, StateInspected, StateReport


class StateInspector:
    """Answers the requests. The worker state must not be open, so that no worker is running.

    ``may_recover``: whether the process that started the key holder does it for a recovery. An engine that was breached
    later cannot change this.
    """

    def __init__(self, parent: ParentConnection, access: WorkerStateAccess, *, may_recover: bool) -> None:
        self._parent = parent
        self._access = access
        self._may_recover = may_recover

    def handle(self, request: InspectState | RecoverState) -> None:
        try:
            report = self._respond(request)
        except Exception as error:
            self._parent.send(StateInspected(request_id=request.request_id, error=to_sealyard_error(error).to_info()))
        else:
            self._parent.send(StateInspected(request_id=request.request_id, report=report))

    def _respond(self, request: InspectState | RecoverState) -> StateReport:
        if isinstance(request, InspectState):
            return self._access.inspect(request.audit_size)
        if not self._may_recover:
            raise PermissionDeniedError("This key holder was not started for a recovery.", "Start one for it.")
        return self._access.recover(request.note, request.generation, adopt=request.adopt)
