"""The state of the session: identity, permissions, workspace and connection."""

from __future__ import annotations

import msgspec

from sealyard.client.http.status import ConnectionStatus
from sealyard.model.access import Action, ResourceType, Role, is_allowed, resource_type_uri
from sealyard.model.base import FrozenStruct
from sealyard.model.subject_names import SubjectNames
from sealyard_tui.session.messages import DISCONNECTED, ConnectionChanged, ConnectionMode, EngineState

_BLOCKED_REASONS = {
    EngineState.STARTING: "the engine is starting",
    EngineState.UNVERIFIED: "the data is not verified yet",
    EngineState.FAILED: "the workspace could not be opened",
}


class SessionState(FrozenStruct, frozen=True, kw_only=True):
    """A snapshot of the state of the session.

    ``rights``: the permissions, as pairs of resource and action; empty until the engine is open.
    ``running``: the number of tasks that workers are executing.
    """

    profile: str
    identity: str
    engine: EngineState = EngineState.STARTING
    mode: ConnectionMode = ConnectionMode.OWNER
    host: str = ""
    """Host and port of the server; empty for a local workspace."""
    connection: ConnectionStatus = DISCONNECTED
    roles: tuple[Role, ...] = ()
    rights: tuple[tuple[str, Action], ...] = ()
    has_permissions: bool = False
    """Whether the permissions are loaded. Before, nothing is known about what the user may do."""
    workspace: str = ""
    workspace_id: str = ""
    location: str = ""
    demo: bool = False
    self_approval: bool = False
    one_time_password: bool = False
    """Whether each approval requires a one-time password."""
    separation_of_duties_note: str = ""
    """Why separation of duties is or is not enforced, as described by the engine or the server. Untrusted text."""
    read_only: bool = False
    read_only_reason: str = ""
    """The error text if the workspace is read-only because another process has locked it; otherwise empty."""
    clock_warning: str = ""
    """Why changes wait until the system clock of the engine is trusted; empty if none does. May be untrusted text."""
    store_verified: bool = True
    """Whether the data was verified with the key of the store, as far as is known."""
    key_failures: tuple[str, ...] = ()
    """What is wrong with the active keys that failed their last check. Untrusted texts."""
    provider_failures: tuple[str, ...] = ()
    """Why key providers do not work. Untrusted texts."""
    running: int = 0
    awaiting_my_approval: int = 0
    subject_names: SubjectNames = {}
    """Display names of the subjects of the workspace."""

    def is_allowed(self, action: Action, resource: str) -> bool:
        return is_allowed(self.rights, action, resource)

    @property
    def can_write(self) -> bool:
        """Whether changes can be requested.

        This is possible even while disconnected: requests are sent after reconnecting, or fail with an error.
        """
        return self.engine in (EngineState.READY, EngineState.RECONNECTING) and not self.read_only

    @property
    def write_blocked_reason(self) -> str:
        """Why no change can be requested; empty if :attr:`can_write`."""
        if self.can_write:
            return ""
        return "the workspace is read-only" if self.read_only else _BLOCKED_REASONS[self.engine]

    @property
    def can_read_results(self) -> bool:
        """Whether results and logs may be saved to files: not before the data is verified."""
        return self.engine not in (EngineState.UNVERIFIED, EngineState.FAILED)

    @property
    def can_confirm_clock(self) -> bool:
        """Whether the user may confirm the system clock of the engine: an administrator, with write access."""
        return self.can_write and self.is_administrator

    @property
    def is_administrator(self) -> bool:
        """Whether the user may change the policy of the workspace."""
        return self.is_allowed(Action.UPDATE, resource_type_uri(ResourceType.POLICY))

    @property
    def is_connected(self) -> bool:
        """Whether the engine or the server can be reached, as far as is known."""
        return self.engine not in (EngineState.STARTING, EngineState.RECONNECTING)

    def with_connection(self, event: ConnectionChanged, reason: str) -> SessionState:
        """Return the state after the connection has changed. ``reason``: the text of the error in ``event``, if any."""
        is_disconnected = event.state is EngineState.RECONNECTING
        return msgspec.structs.replace(
            self,
            engine=event.state,
            mode=event.mode,
            connection=event.status,
            read_only=self.read_only if is_disconnected else event.state is EngineState.READ_ONLY,
            read_only_reason=reason if event.state is EngineState.READ_ONLY else "",
        )
