"""The access control list: people, groups, rules; and the policy."""

from __future__ import annotations

from litestar import Controller, delete, get, post, put
from litestar.params import FromPath, FromQuery, JSONBody

from sealyard.model.access import AclRule, Membership, Subject
from sealyard.model.policy import Policy
from sealyard.model.requests import AccessControlList
from sealyard.server.api.wire import MemberBody, RuleBody, SubjectBody, SubjectResponse, own_subject
from sealyard.server.auth.caller import CallerDependency


class AccessController(Controller):
    """One list for each tenant."""

    path = "/acl"
    tags = ["access control"]

    @get("/", summary="All rules")
    async def rules(self, caller: CallerDependency) -> list[AclRule]:
        return list((await caller.client.access()).rules)

    @get("/all", summary="Subjects, groups and rules at once")
    async def all_rules(self, caller: CallerDependency) -> AccessControlList:
        return await caller.client.access()

    @get("/subjects", summary="Oneself, and the groups one is inside of")
    async def my_subjects(self, caller: CallerDependency) -> list[SubjectResponse]:
        return [own_subject(each) for each in await caller.client.own_subjects()]

    @get("/subjects/rules", summary="One's own rules about device configurations")
    async def my_rules(self, caller: CallerDependency) -> list[AclRule]:
        return list(await caller.client.own_device_rules())

    @post("/", summary="Adds a rule")
    async def add_rule(self, caller: CallerDependency, data: JSONBody[RuleBody]) -> AclRule:
        return await caller.client.add_rule(data.subject, data.resource, data.action, confirmed=data.confirmed)

    @delete("/{rule_id:str}", summary="Removes a rule")
    async def remove_rule(
        self, caller: CallerDependency, rule_id: FromPath[str], confirmed: FromQuery[bool] = False
    ) -> None:
        await caller.client.remove_rule(rule_id, confirmed=confirmed)

    @post("/subjects", summary="Adds a person, a group or a machine client")
    async def add_subject(self, caller: CallerDependency, data: JSONBody[SubjectBody]) -> Subject:
        return await caller.client.add_subject(data.subject, data.display_name)

    @delete("/subjects/{subject:str}/account", summary="Lets go of the issuer's account that a subject is bound to")
    async def unlink_subject(self, caller: CallerDependency, subject: FromPath[str]) -> None:
        await caller.client.unlink_subject(subject)

    @post("/groups", summary="Puts a subject into a group")
    async def add_member(self, caller: CallerDependency, data: JSONBody[MemberBody]) -> Membership:
        return await caller.client.add_member(data.group, data.member, confirmed=data.confirmed)

    @delete("/groups/{group:str}/{member:str}", summary="Takes a subject out of a group")
    async def remove_member(
        self, caller: CallerDependency, group: FromPath[str], member: FromPath[str], confirmed: FromQuery[bool] = False
    ) -> None:
        await caller.client.remove_member(group, member, confirmed=confirmed)


class PolicyController(Controller):
    """What needs approval, and within which periods a task must move."""

    path = "/policy"
    tags = ["policy"]

    @get("/", summary="The policy")
    async def policy(self, caller: CallerDependency) -> Policy:
        return await caller.client.policy()

    @put("/", summary="Sets the policy")
    async def set_policy(self, caller: CallerDependency, data: JSONBody[Policy]) -> Policy:
        return await caller.client.set_policy(data)
