"""Loader for the part of the session state that comes from the engine."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from sealyard.client.protocol import Client
from sealyard.model.access import roles_for
from sealyard.model.base import FrozenStruct
from sealyard.model.policy import Policy
from sealyard.model.requests import TaskCounts, WorkspaceInfo
from sealyard.model.subject_names import SubjectNames
from sealyard.model.tasks import TaskStatus
from sealyard_tui.session.hints import error_text
from sealyard_tui.session.state import SessionState


class WorkspaceData(FrozenStruct, frozen=True, kw_only=True):
    """Permissions, settings and counts of the workspace, as loaded for one identity.

    ``subject_names``: the display names of subjects; None if they were not loaded.
    """

    info: WorkspaceInfo
    policy: Policy
    counts: TaskCounts
    subject_names: SubjectNames | None

    def apply_to(self, state: SessionState, keys: Mapping[str, str]) -> SessionState:
        """Return ``state`` updated with the data. ``keys``: those of :func:`sealyard_tui.action_keys.action_keys`."""
        info, counts = self.info, self.counts
        clock_warning = info.clock_warning
        return msgspec.structs.replace(
            state,
            roles=roles_for(info.rights),
            rights=info.rights,
            has_permissions=True,
            workspace=info.name,
            workspace_id=info.id,
            location=info.location,
            demo=info.demo,
            self_approval=self.policy.allow_self_approval,
            one_time_password=self.policy.require_otp,
            separation_of_duties_note=info.trust_note,
            clock_warning=error_text(clock_warning, keys) if clock_warning is not None else "",
            store_verified=info.store_verified,
            key_failures=tuple(failure.warning for failure in info.key_failures),
            provider_failures=tuple(failure.warning for failure in info.provider_failures),
            running=counts.by_status.get(TaskStatus.RUNNING, 0),
            awaiting_my_approval=counts.awaiting_my_approval,
            subject_names=state.subject_names if self.subject_names is None else self.subject_names,
        )


async def load_workspace_data(client: Client, *, with_names: bool) -> WorkspaceData:
    """Load the data of the workspace. ``with_names``: whether to load the display names of subjects as well."""
    return WorkspaceData(
        info=await client.workspace(),
        policy=await client.policy(),
        counts=await client.counts(),
        subject_names=await client.subject_names() if with_names else None,
    )
