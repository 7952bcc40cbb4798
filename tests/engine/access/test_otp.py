"""One-time passwords: enrolling, each taken at most once, few tries, and a secret that is nowhere in plain text."""

from __future__ import annotations

import base64

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


def is_enrolled(harness: EngineHarness, who: str = OWNER) -> bool:
    return harness.engine.otp.state(who).enrolled


async def refused(harness: EngineHarness, password: str | None, words: str, who: str = OWNER) -> None:
    with pytest.raises(OneTimePasswordError, match=words):
        await use_code(harness, who, password)


# ---- enrolling


async def test_an_enrolment_counts_once_a_first_password_confirms_it(harness: EngineHarness) -> None:
    app = await start_enrollment(harness, OWNER)
    assert not is_enrolled(harness)
    await refused(harness, app.code(harness.clock.now()), "not enrolled")
    await confirm_enrollment(harness, OWNER, app.code(harness.clock.now()))
    assert is_enrolled(harness)
    await harness.reopen()
    assert is_enrolled(harness)


async def test_the_authenticator_shows_person_and_workspace(harness: EngineHarness) -> None:
    app = await start_enrollment(harness, OWNER)
    assert (app.label, app.issuer) == ("Sealyard:owner@test", "Sealyard")


async def test_an_enrolment_begun_anew_replaces_the_one_that_was_not_confirmed(harness: EngineHarness) -> None:
    first, second = await start_enrollment(harness, OWNER), await start_enrollment(harness, OWNER)
    with pytest.raises(OneTimePasswordError, match="wrong"):
        await confirm_enrollment(harness, OWNER, first.code(harness.clock.now()))
    await confirm_enrollment(harness, OWNER, second.code(harness.clock.now()))


async def test_there_is_nothing_to_confirm_before_an_enrolment_and_after_it(harness: EngineHarness) -> None:
    with pytest.raises(ConflictError):
        await confirm_enrollment(harness, OWNER, "123456")
    app = await enroll(harness, OWNER)
    with pytest.raises(ConflictError):
        await confirm_enrollment(harness, OWNER, app.code(harness.clock.now()))


async def test_another_authenticator_wants_a_password_of_the_one_before(harness: EngineHarness) -> None:
    old = await enroll(harness, OWNER)
    for wrong in (None, old.invalid_code(harness.clock.now())):
        with pytest.raises(OneTimePasswordError):
            await start_enrollment(harness, OWNER, wrong)
    new = await start_enrollment(harness, OWNER, old.code(harness.clock.now()))
    harness.clock.advance(minutes=1)
    await use_code(harness, OWNER, old.code(harness.clock.now()))
    await confirm_enrollment(harness, OWNER, new.code(harness.clock.now()))
    harness.clock.advance(minutes=1)
    await refused(harness, old.code(harness.clock.now()), "wrong")
    await use_code(harness, OWNER, new.code(harness.clock.now()))


async def test_a_wrong_confirmation_makes_no_used_password_good_again(harness: EngineHarness) -> None:
    app = await enroll(harness, OWNER)
    harness.clock.advance(minutes=1)
    used = app.code(harness.clock.now())
    await start_enrollment(harness, OWNER, used)
    with pytest.raises(OneTimePasswordError):
        await confirm_enrollment(harness, OWNER, app.invalid_code(harness.clock.now()))
    await refused(harness, used, "already used")


@pytest.mark.parametrize("who", [CLIENT, "CLIENT:other"])
async def test_machine_clients_do_not_enrol(harness: EngineHarness, who: str) -> None:
    with pytest.raises(PermissionDeniedError):
        await start_enrollment(harness, who)


# ---- taking them


@pytest.mark.parametrize("off", [-1, 0, 1])
async def test_a_clock_that_is_off_by_one_step_is_taken(harness: EngineHarness, off: int) -> None:
    app = await enroll(harness, OWNER)
    await use_code(harness, OWNER, app.code(harness.clock.now(), steps_off=off))


@pytest.mark.parametrize("off", [-2, 2])
async def test_a_clock_that_is_off_by_more_is_not(harness: EngineHarness, off: int) -> None:
    app = await enroll(harness, OWNER)
    await refused(harness, app.code(harness.clock.now(), steps_off=off), "wrong")


async def test_a_password_is_taken_with_a_space_in_the_middle(harness: EngineHarness) -> None:
    shown = (await enroll(harness, OWNER)).code(harness.clock.now())
    await use_code(harness, OWNER, f" {shown[:3]} {shown[3:]} ")


@pytest.mark.parametrize("odd", [None, "", "12345", "1234567", "12345a", "１２３４５６", "٠١٢٣٤٥"])
async def test_what_is_no_password_at_all_is_no_try(harness: EngineHarness, odd: str | None) -> None:
    app = await enroll(harness, OWNER)
    for _ in range(6):
        await refused(harness, odd, "six digits")
    await use_code(harness, OWNER, app.code(harness.clock.now()))


async def test_the_password_of_the_confirmation_is_used(harness: EngineHarness) -> None:
    app = await start_enrollment(harness, OWNER)
    password = app.code(harness.clock.now())
    await confirm_enrollment(harness, OWNER, password)
    await refused(harness, password, "already used")


async def test_no_password_is_taken_twice_nor_an_older_one_also_after_a_restart(harness: EngineHarness) -> None:
    app = await enroll(harness, OWNER)
    before, password = (app.code(harness.clock.now(), steps_off=off) for off in (-1, 0))
    await use_code(harness, OWNER, password)
    for _ in range(2):
        await refused(harness, password, "already used")
        await refused(harness, before, "already used")
        await harness.reopen()


async def test_a_password_that_was_taken_is_used_when_the_engine_is_killed_next(harness: EngineHarness) -> None:
    app = await enroll(harness, OWNER)
    password = app.code(harness.clock.now())
    await use_code(harness, OWNER, password)
    other = await harness.copy_as_if_killed()
    await other.open(work=False)
    await refused(other, password, "already used")
    await other.close()


async def test_passwords_are_the_persons_own(harness: EngineHarness) -> None:
    owners, seconds = await enroll(harness, OWNER), await enroll(harness, SECOND)
    await refused(harness, owners.code(harness.clock.now()), "wrong", who=SECOND)
    await use_code(harness, SECOND, seconds.code(harness.clock.now()))


# ---- trying


async def test_five_wrong_ones_lock_for_a_quarter_of_an_hour_also_over_a_restart(harness: EngineHarness) -> None:
    app = await enroll(harness, OWNER)
    for _ in range(5):
        await refused(harness, app.invalid_code(harness.clock.now()), "wrong")
    locked = harness.engine.otp.state(OWNER).locked_until
    assert locked is not None
    await harness.reopen()
    harness.clock.advance(minutes=14, seconds=59)
    await refused(harness, app.code(harness.clock.now()), "locked for 1s")
    harness.clock.move_to(locked)
    assert harness.engine.otp.state(OWNER).locked_until is None
    await use_code(harness, OWNER, app.code(harness.clock.now()))


async def test_tries_while_it_is_locked_do_not_prolong_the_lock(harness: EngineHarness) -> None:
    app = await enroll(harness, OWNER)
    for _ in range(20):
        with pytest.raises(OneTimePasswordError):
            await use_code(harness, OWNER, app.invalid_code(harness.clock.now()))
    harness.clock.advance(minutes=15)
    await use_code(harness, OWNER, app.code(harness.clock.now()))


async def test_a_right_one_forgets_the_wrong_ones_before_it(harness: EngineHarness) -> None:
    app = await enroll(harness, OWNER)
    for _ in range(3):
        for _ in range(4):
            await refused(harness, app.invalid_code(harness.clock.now()), "wrong")
        await use_code(harness, OWNER, app.code(harness.clock.now()))
        harness.clock.advance(minutes=1)


async def test_confirming_and_enrolling_anew_count_as_tries_too(harness: EngineHarness) -> None:
    app = await enroll(harness, OWNER)
    wrong = app.invalid_code(harness.clock.now())
    await start_enrollment(harness, OWNER, app.code(harness.clock.now()))
    for _ in range(3):
        with pytest.raises(OneTimePasswordError):
            await confirm_enrollment(harness, OWNER, wrong)
    for _ in range(2):
        with pytest.raises(OneTimePasswordError):
            await start_enrollment(harness, OWNER, wrong)
    await refused(harness, app.code(harness.clock.now(), steps_off=1), "locked")


async def test_each_wrong_one_and_the_lock_are_audited_and_no_password_ever(harness: EngineHarness) -> None:
    app = await enroll(harness, OWNER)
    wrong, right = app.invalid_code(harness.clock.now()), app.code(harness.clock.now())
    for _ in range(5):
        await refused(harness, wrong, "wrong")
    harness.clock.advance(minutes=15)
    await use_code(harness, OWNER, right := app.code(harness.clock.now()))
    entries = [each for each in await harness.audit_entries(AuditAction.REFUSED) if each.resource == f"SUBJECT:{OWNER}"]
    assert [each.code for each in entries] == [OneTimePasswordError.code] * 5
    assert "4 of 5" in entries[3].message
    assert "locked until" in entries[4].message
    text = "".join(str(each.message) + str(each.new_value) for each in await harness.audit_entries())
    assert wrong not in text
    assert right not in text


# ---- resetting


async def test_who_may_add_subjects_resets_those_of_others(harness: EngineHarness) -> None:
    app = await enroll(harness, OWNER)
    for _ in range(5):
        await refused(harness, app.invalid_code(harness.clock.now()), "wrong")
    await reset_authenticator(harness, ADMIN, OWNER)
    assert not is_enrolled(harness)
    await refused(harness, app.code(harness.clock.now()), "not enrolled")
    await enroll(harness, OWNER)
    assert (await harness.audit_entries(AuditAction.DELETED))[-1].author == ADMIN


async def test_nobody_resets_their_own_or_without_the_right(harness: EngineHarness) -> None:
    for who in (ADMIN, OWNER):
        await enroll(harness, who)
    for by, whose in ((ADMIN, ADMIN), (ADMIN, "admin"), (OWNER, OWNER), (DEV, OWNER)):
        with pytest.raises(PermissionDeniedError):
            await reset_authenticator(harness, by, whose)
    assert is_enrolled(harness, ADMIN)
    assert is_enrolled(harness, OWNER)


async def test_what_is_not_there_cannot_be_reset(harness: EngineHarness) -> None:
    with pytest.raises(NotFoundError):
        await reset_authenticator(harness, ADMIN, OWNER)


# ---- the secret


async def test_the_secret_is_in_no_file_of_the_workspace_and_in_nothing_printed(harness: EngineHarness) -> None:
    enrolment = await harness.execute(OWNER, harness.engine.otp.enroll(OWNER, None))
    await harness.close()
    secret = base64.b32decode(enrolment.secret)
    forms = [secret, enrolment.secret.encode(), secret.hex().encode(), base64.b64encode(secret).rstrip(b"=")]
    for path in harness.paths.root.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert not any(form in content for form in forms), path
    assert enrolment.secret not in repr(enrolment)


async def test_the_key_is_for_its_owner_alone_and_made_once(harness: EngineHarness) -> None:
    assert not harness.paths.secrets_key.exists()
    await start_enrollment(harness, OWNER)
    key = harness.paths.secrets_key
    assert key.stat().st_mode & 0o777 == 0o600
    before = key.read_bytes()
    assert len(before) == 32
    await start_enrollment(harness, SECOND)
    assert key.read_bytes() == before


async def test_a_secret_that_was_moved_to_somebody_else_opens_nothing(harness: EngineHarness) -> None:
    """Who can write to the journal cannot give a person an authenticator they have themselves."""
    app = await enroll(harness, SECOND)
    draft = harness.engine.repository.begin()
    stolen = harness.engine.repository.get(ONE_TIME_PASSWORDS, SECOND)
    assert stolen is not None
    draft.put(ONE_TIME_PASSWORDS, OWNER, stolen)
    await draft.commit()
    with pytest.raises(KeyStoreCorruptedError):
        await use_code(harness, OWNER, app.code(harness.clock.now()))


@pytest.mark.parametrize("content", [None, b"", b"x" * 32])
async def test_without_its_key_no_password_is_taken(harness: EngineHarness, content: bytes | None) -> None:
    app = await enroll(harness, OWNER)
    if content is None:
        harness.paths.secrets_key.unlink()
    else:
        harness.paths.secrets_key.write_bytes(content)
    with pytest.raises(KeyStoreCorruptedError, match=r"encrypted secrets|Cannot decrypt the secret of"):
        await use_code(harness, OWNER, app.code(harness.clock.now()))


# ---- what the administrator is told


async def test_who_sees_a_configuration_is_told_that_too_few_have_enrolled_for_it(empty_harness: EngineHarness) -> None:
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
