"""API calls for access tokens and one-time passwords."""

from __future__ import annotations

from sealyard.client.http.requests import ApiCalls, json_call, path_segment
from sealyard.model.base import SecretStruct
from sealyard.model.credentials import (
    AccessToken,
    IssuedToken,
    OtpEnrollment,
    OtpStatus,
    TokenRequest,
)


class _EnrollmentBody(SecretStruct, frozen=True, kw_only=True):
    current: str | None


class _PasswordBody(SecretStruct, frozen=True, kw_only=True):
    password: str


class CredentialCalls(ApiCalls):
    """API calls for access tokens and one-time passwords."""

    async def tokens(self) -> tuple[AccessToken, ...]:
        return await self._sender.get("/token", tuple[AccessToken, ...])

    async def create_token(self, request: TokenRequest) -> IssuedToken:
        return await self._sender.send("POST", "/token", request, IssuedToken)

    async def revoke_token(self, token_id: str) -> None:
        await self._sender.delete(f"/token/{path_segment(token_id)}")

    async def one_time_password(self) -> OtpStatus:
        return await self._sender.get("/oneTimePassword", OtpStatus)

    async def enroll_otp(self, current: str | None = None) -> OtpEnrollment:
        return await self._sender.send("POST", "/oneTimePassword", _EnrollmentBody(current=current), OtpEnrollment)

    async def confirm_one_time_password(self, password: str) -> None:
        await self._sender.send_retrying(
            json_call("POST", "/oneTimePassword/confirmation", _PasswordBody(password=password))
        )

    async def reset_one_time_password(self, subject: str) -> None:
        await self._sender.delete(f"/oneTimePassword/{path_segment(subject)}")
