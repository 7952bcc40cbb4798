"""Tokens and one-time passwords, kept by a server."""

from __future__ import annotations

from sealyard.client.http.calls import json_call, segment
from sealyard.client.http.part import Part
from sealyard.model.credentials import (
    AccessToken,
    IssuedToken,
    OneTimePasswordEnrolment,
    OneTimePasswordState,
    TokenRequest,
)
from sealyard.model.value import SecretValue


class _Current(SecretValue, frozen=True, kw_only=True):
    current: str | None


class _Password(SecretValue, frozen=True, kw_only=True):
    password: str


class Credentials(Part):
    async def tokens(self) -> tuple[AccessToken, ...]:
        return await self._calls.get("/token", tuple[AccessToken, ...])

    async def create_token(self, request: TokenRequest) -> IssuedToken:
        return await self._calls.send("POST", "/token", request, IssuedToken)

    async def revoke_token(self, token_id: str) -> None:
        await self._calls.delete(f"/token/{segment(token_id)}")

    async def one_time_password(self) -> OneTimePasswordState:
        return await self._calls.get("/oneTimePassword", OneTimePasswordState)

    async def enrol_one_time_password(self, current: str | None = None) -> OneTimePasswordEnrolment:
        return await self._calls.send("POST", "/oneTimePassword", _Current(current=current), OneTimePasswordEnrolment)

    async def confirm_one_time_password(self, password: str) -> None:
        await self._calls.answer(json_call("POST", "/oneTimePassword/confirmation", _Password(password=password)))

    async def reset_one_time_password(self, subject: str) -> None:
        await self._calls.delete(f"/oneTimePassword/{segment(subject)}")
