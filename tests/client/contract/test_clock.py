"""Test the confirmation of the system clock with both clients: in this process and over HTTP."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sealyard.model.audit import AuditAction, AuditFilter
from sealyard.model.errors import ClockError, ConfirmationRequiredError, PermissionDeniedError
from sealyard.model.hints import HintCode
from tests.support.client_kinds import ADMIN, ClientHarness, ContractSubjects


def test_administrator_confirms_the_clock(harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        admin, _, _ = await subjects.all_clients()
        subjects.clock.ahead = timedelta(days=60)
        warning = (await admin.workspace()).clock_warning
        assert warning is not None
        assert (warning.code, warning.hint_code) == (ClockError.code, HintCode.CONFIRM_CLOCK)
        assert "60 days ahead" in warning.message
        with pytest.raises(ConfirmationRequiredError, match="60 days ahead") as caught:
            await admin.confirm_clock()
        assert caught.value.structured_hint.code == HintCode.CONFIRM
        confirmation = await admin.confirm_clock(confirmed=True)
        assert not confirmation.already_trusted
        assert abs(confirmation.time - subjects.clock.now()) < timedelta(minutes=1)
        info = await admin.workspace()
        assert info.clock_warning is None
        assert not any("clock" in each for each in info.warnings)
        entry = (await admin.audit(AuditFilter(resource_type="WORKSPACE", change=AuditAction.UPDATED))).entries[0]
        assert entry.author == ADMIN
        assert entry.new_value is not None
        assert entry.new_value["leadSeconds"] == pytest.approx(60 * 24 * 3600, abs=60)

    harness.run(test)


def test_trusted_clock_needs_no_confirmation(harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        admin, _, _ = await subjects.all_clients()
        assert (await admin.workspace()).clock_warning is None
        assert (await admin.confirm_clock()).already_trusted
        assert (await admin.confirm_clock(confirmed=True)).already_trusted

    harness.run(test)


def test_other_subjects_cannot_confirm_the_clock(harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        admin, dev, owner = await subjects.all_clients()
        for client in (dev, owner):
            with pytest.raises(PermissionDeniedError):
                await client.confirm_clock()
        subjects.clock.ahead = timedelta(days=60)
        for client in (dev, owner):
            with pytest.raises(PermissionDeniedError):
                await client.confirm_clock(confirmed=True)
        assert (await admin.workspace()).clock_warning is not None

    harness.run(test)
