"""Calls for subjects, access rules, the policy and credentials, in the engine of this process."""

from __future__ import annotations

from collections.abc import Mapping

from sealyard.client.embedded_calls import EngineCalls
from sealyard.model.access import AclRule, Action, Membership, Subject, SubjectState
from sealyard.model.credentials import AccessToken, IssuedToken, OtpEnrollment, OtpStatus, TokenRequest
from sealyard.model.policy import Policy
from sealyard.model.requests import AccessControlList


class AccessCalls(EngineCalls):
    """Calls for subjects, groups, access rules, the policy, access tokens and one-time passwords."""

    async def access(self) -> AccessControlList:
        return await self._query("ACL", lambda: self._engine.access.access(self._subject))

    async def subject_names(self) -> Mapping[str, str]:
        return await self._query("ACL", self._engine.access.subject_names)

    async def identities(self) -> tuple[str, ...]:
        return await self._query("ACL", self._engine.access.user_ids)

    async def own_subjects(self) -> tuple[str, ...]:
        return await self._query("ACL", lambda: self._engine.access.own_subjects(self._subject))

    async def own_device_rules(self) -> tuple[AclRule, ...]:
        return await self._query("ACL", lambda: self._engine.access.effective_device_rules(self._subject))

    async def add_subject(self, subject: str, display_name: str = "") -> Subject:
        use_case = self._engine.access.add_subject(self._subject, subject, display_name)
        return await self._execute(f"SUBJECT:{subject}", use_case)

    async def set_subject_state(
        self, subject: str, state: SubjectState, reason: str = "", *, confirmed: bool = False
    ) -> Subject:
        change = self._engine.subject_states.change(self._subject, subject, state, reason, confirmed=confirmed)
        return await self._execute(f"SUBJECT:{subject}", change)

    async def unlink_subject(self, subject: str) -> None:
        await self._execute(f"SUBJECT:{subject}", self._engine.account_links.unlink(self._subject, subject))

    async def add_member(self, group: str, member: str, *, confirmed: bool = False) -> Membership:
        use_case = self._engine.access.add_member(self._subject, group, member, confirmed=confirmed)
        return await self._execute(f"SUBJECT:{group}", use_case)

    async def remove_member(self, group: str, member: str, *, confirmed: bool = False) -> None:
        use_case = self._engine.access.remove_member(self._subject, group, member, confirmed=confirmed)
        await self._execute(f"SUBJECT:{group}", use_case)

    async def add_rule(self, subject: str, resource: str, action: Action, *, confirmed: bool = False) -> AclRule:
        use_case = self._engine.access.add_rule(self._subject, subject, resource, action, confirmed=confirmed)
        return await self._execute("ACL", use_case)

    async def remove_rule(self, rule_id: str, *, confirmed: bool = False) -> None:
        use_case = self._engine.access.remove_rule(self._subject, rule_id, confirmed=confirmed)
        await self._execute(f"ACL:{rule_id}", use_case)

    async def policy(self) -> Policy:
        return await self._query("POLICY", self._engine.access.policy)

    async def set_policy(self, policy: Policy) -> Policy:
        return await self._execute("POLICY", self._engine.access.set_policy(self._subject, policy))

    # ---- credentials

    async def tokens(self) -> tuple[AccessToken, ...]:
        return await self._query("TOKEN", lambda: self._engine.tokens.list_tokens(self._subject))

    async def create_token(self, request: TokenRequest) -> IssuedToken:
        resource = f"SUBJECT:{request.subject or self._subject}"
        return await self._execute(resource, self._engine.tokens.create(self._subject, request, self._presented_token))

    async def revoke_token(self, token_id: str) -> None:
        await self._execute(f"TOKEN:{token_id}", self._engine.tokens.revoke(self._subject, token_id))

    async def one_time_password(self) -> OtpStatus:
        return await self._query("SUBJECT", lambda: self._engine.otp.state(self._subject))

    async def enroll_otp(self, current: str | None = None) -> OtpEnrollment:
        use_case = self._engine.otp.enroll(self._subject, current)
        return await self._execute(f"SUBJECT:{self._subject}", use_case)

    async def confirm_one_time_password(self, password: str) -> None:
        use_case = self._engine.otp.confirm(self._subject, password)
        await self._execute(f"SUBJECT:{self._subject}", use_case)

    async def reset_one_time_password(self, subject: str) -> None:
        use_case = self._engine.otp.reset(self._subject, subject)
        await self._execute(f"SUBJECT:{subject}", use_case)
