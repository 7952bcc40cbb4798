"""Tokens, and one-time passwords."""

from __future__ import annotations

from litestar import Controller, delete, get, post
from litestar.params import FromPath, JSONBody

from sealyard.model.credentials import (
    AccessToken,
    IssuedToken,
    OtpEnrollment,
    OtpStatus,
    TokenRequest,
)
from sealyard.server.api.wire import EnrolmentBody, PasswordBody
from sealyard.server.auth.caller import CallerDependency


class TokenController(Controller):
    """Bearer tokens of people and machine clients; the token itself is shown once, when it is made."""

    path = "/token"
    tags = ["credentials"]

    @get("/", summary="One's own tokens, or all")
    async def tokens(self, caller: CallerDependency) -> list[AccessToken]:
        return list(await caller.client.tokens())

    @post("/", summary="Makes a token")
    async def create(self, caller: CallerDependency, data: JSONBody[TokenRequest]) -> IssuedToken:
        caller.require_human()
        return await caller.client.create_token(data)

    @delete("/{token_id:str}", summary="Revokes a token")
    async def revoke(self, caller: CallerDependency, token_id: FromPath[str]) -> None:
        await caller.client.revoke_token(token_id)


class OtpController(Controller):
    """RFC 6238, for approvals."""

    path = "/oneTimePassword"
    tags = ["credentials"]

    @get("/", summary="Whether one is enrolled")
    async def state(self, caller: CallerDependency) -> OtpStatus:
        return await caller.client.one_time_password()

    @post("/", summary="Begins an enrolment")
    async def enrol(self, caller: CallerDependency, data: JSONBody[EnrolmentBody]) -> OtpEnrollment:
        caller.require_human()
        return await caller.client.enroll_otp(data.current)

    @post("/confirmation", status_code=204, summary="Ends the enrolment with a first password")
    async def confirm(self, caller: CallerDependency, data: JSONBody[PasswordBody]) -> None:
        caller.require_human()
        await caller.client.confirm_one_time_password(data.password)

    @delete("/{subject:str}", summary="Forgets somebody's enrolment")
    async def reset(self, caller: CallerDependency, subject: FromPath[str]) -> None:
        caller.require_human()
        await caller.client.reset_one_time_password(subject)
