"""Routes for access tokens and one-time passwords."""

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
from sealyard.server.api.wire import EnrollmentBody, PasswordBody
from sealyard.server.auth.caller import CallerDependency


class TokenController(Controller):
    """Endpoints for access tokens of people and machine clients. The token itself is returned only on creation."""

    path = "/token"
    tags = ["credentials"]

    @get("/", summary="List your tokens, or all if you may add subjects")
    async def tokens(self, caller: CallerDependency) -> list[AccessToken]:
        return list(await caller.client.tokens())

    @post("/", summary="Create a token")
    async def create(self, caller: CallerDependency, data: JSONBody[TokenRequest]) -> IssuedToken:
        caller.require_human()
        return await caller.client.create_token(data)

    @delete("/{token_id:str}", summary="Revoke a token")
    async def revoke(self, caller: CallerDependency, token_id: FromPath[str]) -> None:
        await caller.client.revoke_token(token_id)


class OtpController(Controller):
    """Endpoints for the one-time passwords (RFC 6238) with which people confirm approvals."""

    path = "/oneTimePassword"
    tags = ["credentials"]

    @get("/", summary="Return your enrollment status")
    async def status(self, caller: CallerDependency) -> OtpStatus:
        return await caller.client.one_time_password()

    @post("/", summary="Start an enrollment")
    async def enroll(self, caller: CallerDependency, data: JSONBody[EnrollmentBody]) -> OtpEnrollment:
        caller.require_human()
        return await caller.client.enroll_otp(data.current)

    @post("/confirmation", status_code=204, summary="Confirm an enrollment with a one-time password")
    async def confirm(self, caller: CallerDependency, data: JSONBody[PasswordBody]) -> None:
        caller.require_human()
        await caller.client.confirm_one_time_password(data.password)

    @delete("/{subject:str}", summary="Delete the enrollment of a subject")
    async def reset(self, caller: CallerDependency, subject: FromPath[str]) -> None:
        caller.require_human()
        await caller.client.reset_one_time_password(subject)
