"""Tests of one-time passwords: enrollment, verification, lockout, reset, and encryption of the secret."""

from __future__ import annotations

import base64

import msgspec
import pytest

from sealyard.engine.state.tables import ONE_TIME_PASSWORDS
from sealyard.model.access import Action
from sealyard.model.audit import AuditAction
from sealyard.model.errors import (
    ConflictError,
    KeyStoreCorruptedError,
    NotFoundError,
    OneTimePasswordError,
    PermissionDeniedError,
)
from tests.support.engine_harness import ADMIN, CLIENT, DEV, GATEWAY, OWNER, SECOND, EngineHarness
from tests.support.otp import confirm_enrollment, enroll, reset_authenticator, start_enrollment, use_code

pytestmark = pytest.mark.anyio


def is_enrolled(harness: EngineHarness, subject: str = OWNER) -> bool:
    return harness.engine.otp.state(subject).enrolled


async def expect_rejection(harness: EngineHarness, password: str | None, message: str, subject: str = OWNER) -> None:
    with pytest.raises(OneTimePasswordError, match=message):
        await use_code(harness, subject, password)


# ---- enrollment


async def test_enrollment_is_active_after_confirmation(harness: EngineHarness) -> None:
    authenticator = await start_enrollment(harness, OWNER)
    assert not is_enrolled(harness)
    await expect_rejection(harness, authenticator.code(harness.clock.now()), "not enrolled")
    await confirm_enrollment(harness, OWNER, authenticator.code(harness.clock.now()))
    assert is_enrolled(harness)
    await harness.reopen()
    assert is_enrolled(harness)


async def test_enrollment_uri_names_user_and_workspace(harness: EngineHarness) -> None:
    authenticator = await start_enrollment(harness, OWNER)
    assert (authenticator.label, authenticator.issuer) == ("Sealyard:owner@test", "Sealyard")


async def test_second_enrollment_replaces_unconfirmed_one(harness: EngineHarness) -> None:
    first, second = await start_enrollment(harness, OWNER), await start_enrollment(harness, OWNER)
    with pytest.raises(OneTimePasswordError, match="wrong"):
        await confirm_enrollment(harness, OWNER, first.code(harness.clock.now()))
    await confirm_enrollment(harness, OWNER, second.code(harness.clock.now()))


async def test_confirmation_without_pending_enrollment_conflicts(harness: EngineHarness) -> None:
    with pytest.raises(ConflictError):
        await confirm_enrollment(harness, OWNER, "123456")
    authenticator = await enroll(harness, OWNER)
    with pytest.raises(ConflictError):
        await confirm_enrollment(harness, OWNER, authenticator.code(harness.clock.now()))


async def test_reenrollment_requires_current_password(harness: EngineHarness) -> None:
    old_authenticator = await enroll(harness, OWNER)
    for password in (None, old_authenticator.invalid_code(harness.clock.now())):
        with pytest.raises(OneTimePasswordError):
            await start_enrollment(harness, OWNER, password)
    new_authenticator = await start_enrollment(harness, OWNER, old_authenticator.code(harness.clock.now()))
    harness.clock.advance(minutes=1)
    await use_code(harness, OWNER, old_authenticator.code(harness.clock.now()))
    await confirm_enrollment(harness, OWNER, new_authenticator.code(harness.clock.now()))
    harness.clock.advance(minutes=1)
    await expect_rejection(harness, old_authenticator.code(harness.clock.now()), "wrong")
    await use_code(harness, OWNER, new_authenticator.code(harness.clock.now()))


async def test_failed_confirmation_keeps_password_used(harness: EngineHarness) -> None:
    authenticator = await enroll(harness, OWNER)
    harness.clock.advance(minutes=1)
    password = authenticator.code(harness.clock.now())
    await start_enrollment(harness, OWNER, password)
    with pytest.raises(OneTimePasswordError):
        await confirm_enrollment(harness, OWNER, authenticator.invalid_code(harness.clock.now()))
    await expect_rejection(harness, password, "already used")


@pytest.mark.parametrize("subject", [CLIENT, "CLIENT:other"])
async def test_machine_client_cannot_enroll(harness: EngineHarness, subject: str) -> None:
    with pytest.raises(PermissionDeniedError):
        await start_enrollment(harness, subject)


# ---- verification


@pytest.mark.parametrize("off", [-1, 0, 1])
async def test_clock_drift_of_one_step_is_accepted(harness: EngineHarness, off: int) -> None:
    authenticator = await enroll(harness, OWNER)
    await use_code(harness, OWNER, authenticator.code(harness.clock.now(), steps_off=off))


@pytest.mark.parametrize("off", [-2, 2])
async def test_clock_drift_of_two_steps_is_rejected(harness: EngineHarness, off: int) -> None:
    authenticator = await enroll(harness, OWNER)
    await expect_rejection(harness, authenticator.code(harness.clock.now(), steps_off=off), "wrong")


async def test_password_with_spaces_is_accepted(harness: EngineHarness) -> None:
    password = (await enroll(harness, OWNER)).code(harness.clock.now())
    await use_code(harness, OWNER, f" {password[:3]} {password[3:]} ")


@pytest.mark.parametrize("password", [None, "", "12345", "1234567", "12345a", "１２３４５６", "٠١٢٣٤٥"])
async def test_malformed_password_is_not_an_attempt(harness: EngineHarness, password: str | None) -> None:
    authenticator = await enroll(harness, OWNER)
    for _ in range(6):
        await expect_rejection(harness, password, "six digits")
    await use_code(harness, OWNER, authenticator.code(harness.clock.now()))


async def test_confirmation_password_is_consumed(harness: EngineHarness) -> None:
    authenticator = await start_enrollment(harness, OWNER)
    password = authenticator.code(harness.clock.now())
    await confirm_enrollment(harness, OWNER, password)
    await expect_rejection(harness, password, "already used")


async def test_used_and_older_passwords_are_rejected(harness: EngineHarness) -> None:
    authenticator = await enroll(harness, OWNER)
    older_password, password = (authenticator.code(harness.clock.now(), steps_off=off) for off in (-1, 0))
    await use_code(harness, OWNER, password)
    for _ in range(2):
        await expect_rejection(harness, password, "already used")
        await expect_rejection(harness, older_password, "already used")
        await harness.reopen()


async def test_used_password_is_rejected_after_crash(harness: EngineHarness) -> None:
    authenticator = await enroll(harness, OWNER)
    password = authenticator.code(harness.clock.now())
    await use_code(harness, OWNER, password)
    crash_copy = await harness.copy_as_if_killed()
    await crash_copy.open(work=False)
    await expect_rejection(crash_copy, password, "already used")
    await crash_copy.close()


async def test_password_of_other_user_is_rejected(harness: EngineHarness) -> None:
    owner_authenticator, second_authenticator = await enroll(harness, OWNER), await enroll(harness, SECOND)
    await expect_rejection(harness, owner_authenticator.code(harness.clock.now()), "wrong", subject=SECOND)
    await use_code(harness, SECOND, second_authenticator.code(harness.clock.now()))


# ---- lockout


async def test_five_wrong_passwords_lock_for_15_minutes(harness: EngineHarness) -> None:
    authenticator = await enroll(harness, OWNER)
    for _ in range(5):
        await expect_rejection(harness, authenticator.invalid_code(harness.clock.now()), "wrong")
    locked_until = harness.engine.otp.state(OWNER).locked_until
    assert locked_until is not None
    await harness.reopen()
    harness.clock.advance(minutes=14, seconds=59)
    await expect_rejection(harness, authenticator.code(harness.clock.now()), "locked for 1s")
    harness.clock.move_to(locked_until)
    assert harness.engine.otp.state(OWNER).locked_until is None
    await use_code(harness, OWNER, authenticator.code(harness.clock.now()))


async def test_attempts_during_lock_do_not_extend_it(harness: EngineHarness) -> None:
    authenticator = await enroll(harness, OWNER)
    for _ in range(20):
        with pytest.raises(OneTimePasswordError):
            await use_code(harness, OWNER, authenticator.invalid_code(harness.clock.now()))
    harness.clock.advance(minutes=15)
    await use_code(harness, OWNER, authenticator.code(harness.clock.now()))


async def test_valid_password_resets_failed_attempts(harness: EngineHarness) -> None:
    authenticator = await enroll(harness, OWNER)
    for _ in range(3):
        for _ in range(4):
            await expect_rejection(harness, authenticator.invalid_code(harness.clock.now()), "wrong")
        await use_code(harness, OWNER, authenticator.code(harness.clock.now()))
        harness.clock.advance(minutes=1)


async def test_failed_confirmation_and_reenrollment_count_as_attempts(harness: EngineHarness) -> None:
    authenticator = await enroll(harness, OWNER)
    wrong_password = authenticator.invalid_code(harness.clock.now())
    await start_enrollment(harness, OWNER, authenticator.code(harness.clock.now()))
    for _ in range(3):
        with pytest.raises(OneTimePasswordError):
            await confirm_enrollment(harness, OWNER, wrong_password)
    for _ in range(2):
        with pytest.raises(OneTimePasswordError):
            await start_enrollment(harness, OWNER, wrong_password)
    await expect_rejection(harness, authenticator.code(harness.clock.now(), steps_off=1), "locked")


async def test_failed_attempts_are_audited_without_passwords(harness: EngineHarness) -> None:
    authenticator = await enroll(harness, OWNER)
    wrong_password, valid_password = (
        authenticator.invalid_code(harness.clock.now()),
        authenticator.code(harness.clock.now()),
    )
    for _ in range(5):
        await expect_rejection(harness, wrong_password, "wrong")
    harness.clock.advance(minutes=15)
    await use_code(harness, OWNER, valid_password := authenticator.code(harness.clock.now()))
    entries = [each for each in await harness.audit_entries(AuditAction.REFUSED) if each.resource == f"SUBJECT:{OWNER}"]
    assert [each.code for each in entries] == [OneTimePasswordError.code] * 5
    assert "4 of 5" in entries[3].message
    assert "locked until" in entries[4].message
    text = "".join(str(each.message) + str(each.new_value) for each in await harness.audit_entries())
    assert wrong_password not in text
    assert valid_password not in text


# ---- reset


async def test_administrator_resets_authenticator_of_other(harness: EngineHarness) -> None:
    authenticator = await enroll(harness, OWNER)
    for _ in range(5):
        await expect_rejection(harness, authenticator.invalid_code(harness.clock.now()), "wrong")
    await reset_authenticator(harness, ADMIN, OWNER)
    assert not is_enrolled(harness)
    await expect_rejection(harness, authenticator.code(harness.clock.now()), "not enrolled")
    await enroll(harness, OWNER)
    assert (await harness.audit_entries(AuditAction.DELETED))[-1].author == ADMIN


async def test_own_or_unauthorized_reset_is_rejected(harness: EngineHarness) -> None:
    for subject in (ADMIN, OWNER):
        await enroll(harness, subject)
    for by, target in ((ADMIN, ADMIN), (ADMIN, "admin"), (OWNER, OWNER), (DEV, OWNER)):
        with pytest.raises(PermissionDeniedError):
            await reset_authenticator(harness, by, target)
    assert is_enrolled(harness, ADMIN)
    assert is_enrolled(harness, OWNER)


async def test_reset_without_enrollment_raises_not_found(harness: EngineHarness) -> None:
    with pytest.raises(NotFoundError):
        await reset_authenticator(harness, ADMIN, OWNER)


# ---- the secret


async def test_secret_is_never_stored_or_printed(harness: EngineHarness) -> None:
    enrollment = await harness.execute(OWNER, harness.engine.otp.enroll(OWNER, None))
    await harness.close()
    secret = base64.b32decode(enrollment.secret)
    forms = [secret, enrollment.secret.encode(), secret.hex().encode(), base64.b64encode(secret).rstrip(b"=")]
    for path in harness.paths.root.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert not any(form in content for form in forms), path
    assert enrollment.secret not in repr(enrollment)


async def test_secrets_key_is_not_stored(harness: EngineHarness) -> None:
    await start_enrollment(harness, OWNER)
    assert not harness.paths.secrets_key.exists()
    key = harness.shelf.engine_keys.secrets_key
    assert not any(key in path.read_bytes() for path in harness.paths.root.rglob("*") if path.is_file())


async def test_secret_copied_to_other_user_is_rejected(harness: EngineHarness) -> None:
    """Write access to the journal is not enough to give a user the authenticator of an attacker."""
    authenticator = await enroll(harness, SECOND)
    draft = harness.engine.repository.begin()
    copied_secret = harness.engine.repository.get(ONE_TIME_PASSWORDS, SECOND)
    assert copied_secret is not None
    draft.put(ONE_TIME_PASSWORDS, OWNER, copied_secret)
    await draft.commit()
    with pytest.raises(KeyStoreCorruptedError):
        await use_code(harness, OWNER, authenticator.code(harness.clock.now()))


async def test_wrong_key_raises_corrupted(harness: EngineHarness) -> None:
    authenticator = await enroll(harness, OWNER)
    keys = harness.shelf.engine_keys
    harness.shelf.engine_keys = msgspec.structs.replace(keys, secrets_key=bytes(32))
    await harness.reopen()
    with pytest.raises(KeyStoreCorruptedError, match=r"encrypted secrets|Cannot decrypt the secret of"):
        await use_code(harness, OWNER, authenticator.code(harness.clock.now()))


# ---- warnings


async def test_too_few_enrolled_approvers_cause_warning(empty_harness: EngineHarness) -> None:
    await empty_harness.add_default_subjects(approvals=2)
    warnings = empty_harness.engine.otp.warnings
    assert warnings(ADMIN) == ()
    await empty_harness.set_policy(require_otp=True)
    await enroll(empty_harness, OWNER)
    assert GATEWAY in warnings(ADMIN)[0]
    assert warnings(OWNER) == warnings(ADMIN)
    await empty_harness.add_subject("USER:stranger")
    assert warnings("USER:stranger") == ()
    await enroll(empty_harness, SECOND)
    assert warnings(ADMIN) == ()
    await empty_harness.add_rule(SECOND, f"DEVICE_CONFIG:{GATEWAY}", Action.VIEW)
    await reset_authenticator(empty_harness, ADMIN, SECOND)
    assert len(warnings(SECOND)) == 1
