"""Who one is, where, and what four eyes means there: what the top of every screen says."""

from __future__ import annotations

import msgspec

from sealyard.client.http.status import ConnectionStatus
from sealyard.model.access import Action, Role, is_allowed
from sealyard.model.base import FrozenStruct
from sealyard_tui.session.messages import DISCONNECTED, ConnectionChanged, ConnectionMode, EngineState


class SessionState(FrozenStruct, frozen=True, kw_only=True):
    """``rights`` are empty until the engine is there; ``running`` counts tasks that a worker holds."""

    profile: str
    identity: str
    engine: EngineState = EngineState.STARTING
    mode: ConnectionMode = ConnectionMode.OWNER
    host: str = ""
    """Of the server; empty where there is none."""
    connection: ConnectionStatus = DISCONNECTED
    roles: tuple[Role, ...] = ()
    rights: tuple[tuple[str, Action], ...] = ()
    workspace: str = ""
    workspace_id: str = ""
    location: str = ""
    demo: bool = False
    self_approval: bool = False
    one_time_password: bool = False
    """Each approval wants one."""
    four_eyes: str = ""
    read_only: bool = False
    read_only_reason: str = ""
    """Who holds the workspace; empty where it is not held, or was asked for to be read only."""
    running: int = 0
    awaiting_my_approval: int = 0

    def is_allowed(self, action: Action, resource: str) -> bool:
        return is_allowed(self.rights, action, resource)

    @property
    def can_write(self) -> bool:
        """While the line is lost, too: what is done then is handed in when it is back, or kept and said."""
        return self.engine in (EngineState.READY, EngineState.RECONNECTING) and not self.read_only

    def with_connection(self, event: ConnectionChanged, why: str) -> SessionState:
        """``why``: in words what came with it."""
        lost = event.state is EngineState.RECONNECTING
        return msgspec.structs.replace(
            self,
            engine=event.state,
            mode=event.mode,
            connection=event.status,
            read_only=self.read_only if lost else event.state is EngineState.READ_ONLY,
            read_only_reason=why if event.state is EngineState.READ_ONLY else "",
        )
