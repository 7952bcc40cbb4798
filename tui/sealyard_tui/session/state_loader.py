"""Loader for the part of the session state that comes from the engine."""

from __future__ import annotations

import msgspec

from sealyard.client.protocol import Client
from sealyard.model.access import roles_for
from sealyard.model.tasks import TaskStatus
from sealyard_tui.session.state import SessionState


async def load_workspace_state(client: Client, state: SessionState, *, reload_names: bool) -> SessionState:
    """Load the permissions, settings and counts of the workspace, and return ``state`` updated with them.

    ``reload_names``: whether to reload the display names of subjects as well.
    """
    info, policy, counts = await client.workspace(), await client.policy(), await client.counts()
    names = await client.subject_names() if reload_names else state.subject_names
    return msgspec.structs.replace(
        state,
        roles=roles_for(info.rights),
        rights=info.rights,
        has_permissions=True,
        workspace=info.name,
        workspace_id=info.id,
        location=info.location,
        demo=info.demo,
        self_approval=policy.allow_self_approval,
        one_time_password=policy.require_otp,
        separation_of_duties_note=info.trust_note,
        running=counts.by_status.get(TaskStatus.RUNNING, 0),
        awaiting_my_approval=counts.awaiting_my_approval,
        subject_names=names,
    )
