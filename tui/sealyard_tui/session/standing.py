"""Who one is, where, and what four eyes means there: what the top of every screen says."""

from __future__ import annotations

from sealyard.model.access import Action, Role, may
from sealyard.model.value import Value
from sealyard_tui.session.messages import EngineState


class Standing(Value, frozen=True, kw_only=True):
    """``rights`` are empty until the engine is there; ``running`` counts tasks that a worker holds."""

    profile: str
    identity: str
    engine: EngineState = EngineState.STARTING
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
    why_read_only: str = ""
    """Who holds the workspace; empty where it is not held, or was asked for to be read only."""
    running: int = 0
    waiting_for_me: int = 0

    def may(self, action: Action, resource: str) -> bool:
        return may(self.rights, action, resource)

    @property
    def writable(self) -> bool:
        return self.engine is EngineState.READY
