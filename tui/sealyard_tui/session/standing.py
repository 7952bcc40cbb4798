"""Who one is, where, and what four eyes means there: what the top of every screen says."""

from __future__ import annotations

import msgspec

from sealyard.client.http.status import ConnectionStatus
from sealyard.model.access import Action, Role, is_allowed
from sealyard.model.base import FrozenStruct
from sealyard_tui.session.messages import NO_LINK, EngineMoved, EngineState, Way


class Standing(FrozenStruct, frozen=True, kw_only=True):
    """``rights`` are empty until the engine is there; ``running`` counts tasks that a worker holds."""

    profile: str
    identity: str
    engine: EngineState = EngineState.STARTING
    way: Way = Way.HOLDS
    host: str = ""
    """Of the server; empty where there is none."""
    link: ConnectionStatus = NO_LINK
    roles: tuple[Role, ...] = ()
    rights: tuple[tuple[str, Action], ...] = ()
    workspace: str = ""
    workspace_id: str = ""
    place: str = ""
    demo: bool = False
    trial: bool = False
    one_time_password: bool = False
    """Each approval wants one."""
    four_eyes: str = ""
    read_only: bool = False
    why_read_only: str = ""
    """Who holds the workspace; empty where it is not held, or was asked for to be read only."""
    running: int = 0
    waiting_for_me: int = 0

    def may(self, action: Action, resource: str) -> bool:
        return is_allowed(self.rights, action, resource)

    @property
    def writable(self) -> bool:
        """While the line is lost, too: what is done then is handed in when it is back, or kept and said."""
        return self.engine in (EngineState.READY, EngineState.RECONNECTING) and not self.read_only

    def moved(self, event: EngineMoved, why: str) -> Standing:
        """``why``: in words what came with it."""
        lost = event.state is EngineState.RECONNECTING
        return msgspec.structs.replace(
            self,
            engine=event.state,
            way=event.way,
            link=event.link,
            read_only=self.read_only if lost else event.state is EngineState.READ_ONLY,
            why_read_only=why if event.state is EngineState.READ_ONLY else "",
        )
