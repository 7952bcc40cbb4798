"""Loading the part of the session state that the engine provides."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from sealyard.client.protocol import Client
from sealyard.model.access import roles_for
from sealyard.model.tasks import TaskStatus
from sealyard_tui.session.hints import error_text
from sealyard_tui.session.state import SessionState


async def load_workspace_state(
    client: Client, state: SessionState, keys: Mapping[str, str], *, reload_names: bool
) -> SessionState:
    """Return ``state`` with the current permissions, settings and counts of the workspace.

    ``keys``: the result of :func:`sealyard_tui.action_keys.action_keys`. ``reload_names``: whether to reload the
    display names of subjects.
    """
    info, policy, counts = await client.workspace(), await client.policy(), await client.counts()
    names = await client.subject_names() if reload_names else state.subject_names
    return msgspec.structs.replace(
        state,
        roles=roles_for(info.rights),
        rights=info.rights,
        workspace=info.name,
        workspace_id=info.id,
        location=info.location,
        demo=info.demo,
        self_approval=policy.allow_self_approval,
        one_time_password=policy.require_otp,
        separation_of_duties_note=info.trust_note,
        clock_warning=error_text(info.clock_warning, keys) if info.clock_warning is not None else "",
        running=counts.by_status.get(TaskStatus.RUNNING, 0),
        awaiting_my_approval=counts.awaiting_my_approval,
        subject_names=names,
    )
