"""Routes for the access control list (subjects, groups, rules) and the policy."""

from __future__ import annotations

from litestar import Controller, delete, get, patch, post, put
from litestar.params import FromPath, FromQuery, JSONBody

from sealyard.model.access import Membership, Subject
from sealyard.model.policy import Policy
from sealyard.model.requests import AccessControlList
from sealyard.server.api.wire_access import (
    MemberBody,
    RuleBody,
    RuleResponse,
    SubjectBody,
    SubjectResponse,
    SubjectStateBody,
    rule_response,
    subject_of,
    subject_response,
)
from sealyard.server.auth.caller import CallerDependency


class AccessController(Controller):
    """Endpoints for the access control list of a tenant: subjects, groups and rules."""

    path = "/acl"
    tags = ["access control"]

    @get("/", summary="List rules")
    async def rules(self, caller: CallerDependency) -> list[RuleResponse]:
        return [rule_response(rule) for rule in (await caller.client.access()).rules]

    @get("/all", summary="Return subjects, groups and rules")
    async def all_rules(self, caller: CallerDependency) -> AccessControlList:
        return await caller.client.access()

    @get("/names", summary="Return the display names of subjects")
    async def subject_names(self, caller: CallerDependency) -> dict[str, str]:
        return dict(await caller.client.subject_names())

    @get("/identities", summary="List the users that you can act as")
    async def identities(self, caller: CallerDependency) -> list[str]:
        return list(await caller.client.identities()) if caller.can_act_as_others else [caller.subject]

    @get("/subjects", summary="List your subject and groups")
    async def my_subjects(self, caller: CallerDependency) -> list[SubjectResponse]:
        return [subject_response(subject) for subject in await caller.client.own_subjects()]

    @get("/subjects/rules", summary="List your rules for device configurations")
    async def my_rules(self, caller: CallerDependency) -> list[RuleResponse]:
        return [rule_response(rule) for rule in await caller.client.own_device_rules()]

    @post("/", summary="Add a rule")
    async def add_rule(self, caller: CallerDependency, data: JSONBody[RuleBody]) -> RuleResponse:
        subject = subject_of(data.subject)
        rule = await caller.client.add_rule(subject, data.resource, data.action, confirmed=data.confirmed)
        return rule_response(rule)

    @delete("/{rule_id:str}", summary="Remove a rule")
    async def remove_rule(
        self, caller: CallerDependency, rule_id: FromPath[str], confirmed: FromQuery[bool] = False
    ) -> None:
        await caller.client.remove_rule(rule_id, confirmed=confirmed)

    @post("/subjects", summary="Add a user, group or machine client")
    async def add_subject(self, caller: CallerDependency, data: JSONBody[SubjectBody]) -> Subject:
        return await caller.client.add_subject(data.subject, data.display_name)

    @patch("/subjects/{subject:str}", summary="Disable, enable or remove a user, group or machine client")
    async def set_subject_state(
        self, caller: CallerDependency, subject: FromPath[str], data: JSONBody[SubjectStateBody]
    ) -> Subject:
        return await caller.client.set_subject_state(subject, data.state, data.reason, confirmed=data.confirmed)

    @delete("/subjects/{subject:str}/account", summary="Unlink a subject from its identity-provider account")
    async def unlink_subject(self, caller: CallerDependency, subject: FromPath[str]) -> None:
        await caller.client.unlink_subject(subject)

    @post("/groups", summary="Add a member to a group")
    async def add_member(self, caller: CallerDependency, data: JSONBody[MemberBody]) -> Membership:
        return await caller.client.add_member(data.group, data.member, confirmed=data.confirmed)

    @delete("/groups/{group:str}/{member:str}", summary="Remove a member from a group")
    async def remove_member(
        self, caller: CallerDependency, group: FromPath[str], member: FromPath[str], confirmed: FromQuery[bool] = False
    ) -> None:
        await caller.client.remove_member(group, member, confirmed=confirmed)


class PolicyController(Controller):
    """Endpoints for the policy of a tenant: approval requirements and task timeouts."""

    path = "/policy"
    tags = ["policy"]

    @get("/", summary="Return the policy")
    async def policy(self, caller: CallerDependency) -> Policy:
        return await caller.client.policy()

    @put("/", summary="Replace the policy")
    async def set_policy(self, caller: CallerDependency, data: JSONBody[Policy]) -> Policy:
        return await caller.client.set_policy(data)
