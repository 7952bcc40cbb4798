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


def is_enrolled(house: EngineHarness, who: str = OWNER) -> bool:
    return house.engine.otp.state(who).enrolled


async def refused(house: EngineHarness, password: str | None, words: str, who: str = OWNER) -> None:
    with pytest.raises(OneTimePasswordError, match=words):
        await use_code(house, who, password)


# ---- enrolling


async def test_an_enrolment_counts_once_a_first_password_confirms_it(house: EngineHarness) -> None:
    app = await start_enrollment(house, OWNER)
    assert not is_enrolled(house)
    await refused(house, app.code(house.clock.now()), "not enrolled")
    await confirm_enrollment(house, OWNER, app.code(house.clock.now()))
    assert is_enrolled(house)
    await house.reopen()
    assert is_enrolled(house)


async def test_the_authenticator_shows_person_and_workspace(house: EngineHarness) -> None:
    app = await start_enrollment(house, OWNER)
    assert (app.label, app.issuer) == ("Sealyard:owner@test", "Sealyard")


async def test_an_enrolment_begun_anew_replaces_the_one_that_was_not_confirmed(house: EngineHarness) -> None:
    first, second = await start_enrollment(house, OWNER), await start_enrollment(house, OWNER)
    with pytest.raises(OneTimePasswordError, match="wrong"):
        await confirm_enrollment(house, OWNER, first.code(house.clock.now()))
    await confirm_enrollment(house, OWNER, second.code(house.clock.now()))


async def test_there_is_nothing_to_confirm_before_an_enrolment_and_after_it(house: EngineHarness) -> None:
    with pytest.raises(ConflictError):
        await confirm_enrollment(house, OWNER, "123456")
    app = await enroll(house, OWNER)
    with pytest.raises(ConflictError):
        await confirm_enrollment(house, OWNER, app.code(house.clock.now()))


async def test_another_authenticator_wants_a_password_of_the_one_before(house: EngineHarness) -> None:
    old = await enroll(house, OWNER)
    for wrong in (None, old.invalid_code(house.clock.now())):
        with pytest.raises(OneTimePasswordError):
            await start_enrollment(house, OWNER, wrong)
    new = await start_enrollment(house, OWNER, old.code(house.clock.now()))
    house.clock.advance(minutes=1)
    await use_code(house, OWNER, old.code(house.clock.now()))
    await confirm_enrollment(house, OWNER, new.code(house.clock.now()))
    house.clock.advance(minutes=1)
    await refused(house, old.code(house.clock.now()), "wrong")
    await use_code(house, OWNER, new.code(house.clock.now()))


async def test_a_wrong_confirmation_makes_no_used_password_good_again(house: EngineHarness) -> None:
    app = await enroll(house, OWNER)
    house.clock.advance(minutes=1)
    used = app.code(house.clock.now())
    await start_enrollment(house, OWNER, used)
    with pytest.raises(OneTimePasswordError):
        await confirm_enrollment(house, OWNER, app.invalid_code(house.clock.now()))
    await refused(house, used, "already used")


@pytest.mark.parametrize("who", [CLIENT, "CLIENT:other"])
async def test_machine_clients_do_not_enrol(house: EngineHarness, who: str) -> None:
    with pytest.raises(PermissionDeniedError):
        await start_enrollment(house, who)


# ---- taking them


@pytest.mark.parametrize("off", [-1, 0, 1])
async def test_a_clock_that_is_off_by_one_step_is_taken(house: EngineHarness, off: int) -> None:
    app = await enroll(house, OWNER)
    await use_code(house, OWNER, app.code(house.clock.now(), steps_off=off))


@pytest.mark.parametrize("off", [-2, 2])
async def test_a_clock_that_is_off_by_more_is_not(house: EngineHarness, off: int) -> None:
    app = await enroll(house, OWNER)
    await refused(house, app.code(house.clock.now(), steps_off=off), "wrong")


async def test_a_password_is_taken_with_a_space_in_the_middle(house: EngineHarness) -> None:
    shown = (await enroll(house, OWNER)).code(house.clock.now())
    await use_code(house, OWNER, f" {shown[:3]} {shown[3:]} ")


@pytest.mark.parametrize("odd", [None, "", "12345", "1234567", "12345a", "１２３４５６", "٠١٢٣٤٥"])
async def test_what_is_no_password_at_all_is_no_try(house: EngineHarness, odd: str | None) -> None:
    app = await enroll(house, OWNER)
    for _ in range(6):
        await refused(house, odd, "six digits")
    await use_code(house, OWNER, app.code(house.clock.now()))


async def test_the_password_of_the_confirmation_is_used(house: EngineHarness) -> None:
    app = await start_enrollment(house, OWNER)
    password = app.code(house.clock.now())
    await confirm_enrollment(house, OWNER, password)
    await refused(house, password, "already used")


async def test_no_password_is_taken_twice_nor_an_older_one_also_after_a_restart(house: EngineHarness) -> None:
    app = await enroll(house, OWNER)
    before, password = (app.code(house.clock.now(), steps_off=off) for off in (-1, 0))
    await use_code(house, OWNER, password)
    for _ in range(2):
        await refused(house, password, "already used")
        await refused(house, before, "already used")
        await house.reopen()


async def test_a_password_that_was_taken_is_used_when_the_engine_is_killed_next(house: EngineHarness) -> None:
    app = await enroll(house, OWNER)
    password = app.code(house.clock.now())
    await use_code(house, OWNER, password)
    other = await house.copy_as_if_killed()
    await other.open(work=False)
    await refused(other, password, "already used")
    await other.close()


async def test_passwords_are_the_persons_own(house: EngineHarness) -> None:
    owners, seconds = await enroll(house, OWNER), await enroll(house, SECOND)
    await refused(house, owners.code(house.clock.now()), "wrong", who=SECOND)
    await use_code(house, SECOND, seconds.code(house.clock.now()))


# ---- trying


async def test_five_wrong_ones_lock_for_a_quarter_of_an_hour_also_over_a_restart(house: EngineHarness) -> None:
    app = await enroll(house, OWNER)
    for _ in range(5):
        await refused(house, app.invalid_code(house.clock.now()), "wrong")
    locked = house.engine.otp.state(OWNER).locked_until
    assert locked is not None
    await house.reopen()
    house.clock.advance(minutes=14, seconds=59)
    await refused(house, app.code(house.clock.now()), "locked for 1s")
    house.clock.move_to(locked)
    assert house.engine.otp.state(OWNER).locked_until is None
    await use_code(house, OWNER, app.code(house.clock.now()))


async def test_tries_while_it_is_locked_do_not_prolong_the_lock(house: EngineHarness) -> None:
    app = await enroll(house, OWNER)
    for _ in range(20):
        with pytest.raises(OneTimePasswordError):
            await use_code(house, OWNER, app.invalid_code(house.clock.now()))
    house.clock.advance(minutes=15)
    await use_code(house, OWNER, app.code(house.clock.now()))


async def test_a_right_one_forgets_the_wrong_ones_before_it(house: EngineHarness) -> None:
    app = await enroll(house, OWNER)
    for _ in range(3):
        for _ in range(4):
            await refused(house, app.invalid_code(house.clock.now()), "wrong")
        await use_code(house, OWNER, app.code(house.clock.now()))
        house.clock.advance(minutes=1)


async def test_confirming_and_enrolling_anew_count_as_tries_too(house: EngineHarness) -> None:
    app = await enroll(house, OWNER)
    wrong = app.invalid_code(house.clock.now())
    await start_enrollment(house, OWNER, app.code(house.clock.now()))
    for _ in range(3):
        with pytest.raises(OneTimePasswordError):
            await confirm_enrollment(house, OWNER, wrong)
    for _ in range(2):
        with pytest.raises(OneTimePasswordError):
            await start_enrollment(house, OWNER, wrong)
    await refused(house, app.code(house.clock.now(), steps_off=1), "locked")


async def test_each_wrong_one_and_the_lock_are_audited_and_no_password_ever(house: EngineHarness) -> None:
    app = await enroll(house, OWNER)
    wrong, right = app.invalid_code(house.clock.now()), app.code(house.clock.now())
    for _ in range(5):
        await refused(house, wrong, "wrong")
    house.clock.advance(minutes=15)
    await use_code(house, OWNER, right := app.code(house.clock.now()))
    entries = [each for each in await house.audit_entries(AuditAction.REFUSED) if each.resource == f"SUBJECT:{OWNER}"]
    assert [each.code for each in entries] == [OneTimePasswordError.code] * 5
    assert "4 of 5" in entries[3].message
    assert "locked until" in entries[4].message
    text = "".join(str(each.message) + str(each.new_value) for each in await house.audit_entries())
    assert wrong not in text
    assert right not in text


# ---- resetting


async def test_who_may_add_subjects_resets_those_of_others(house: EngineHarness) -> None:
    app = await enroll(house, OWNER)
    for _ in range(5):
        await refused(house, app.invalid_code(house.clock.now()), "wrong")
    await reset_authenticator(house, ADMIN, OWNER)
    assert not is_enrolled(house)
    await refused(house, app.code(house.clock.now()), "not enrolled")
    await enroll(house, OWNER)
    assert (await house.audit_entries(AuditAction.DELETED))[-1].author == ADMIN


async def test_nobody_resets_their_own_or_without_the_right(house: EngineHarness) -> None:
    for who in (ADMIN, OWNER):
        await enroll(house, who)
    for by, whose in ((ADMIN, ADMIN), (ADMIN, "admin"), (OWNER, OWNER), (DEV, OWNER)):
        with pytest.raises(PermissionDeniedError):
            await reset_authenticator(house, by, whose)
    assert is_enrolled(house, ADMIN)
    assert is_enrolled(house, OWNER)


async def test_what_is_not_there_cannot_be_reset(house: EngineHarness) -> None:
    with pytest.raises(NotFoundError):
        await reset_authenticator(house, ADMIN, OWNER)


# ---- the secret


async def test_the_secret_is_in_no_file_of_the_workspace_and_in_nothing_printed(house: EngineHarness) -> None:
    enrolment = await house.execute(OWNER, house.engine.otp.enroll(OWNER, None))
    await house.close()
    secret = base64.b32decode(enrolment.secret)
    forms = [secret, enrolment.secret.encode(), secret.hex().encode(), base64.b64encode(secret).rstrip(b"=")]
    for path in house.paths.root.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert not any(form in content for form in forms), path
    assert enrolment.secret not in repr(enrolment)


async def test_the_key_is_for_its_owner_alone_and_made_once(house: EngineHarness) -> None:
    assert not house.paths.secrets_key.exists()
    await start_enrollment(house, OWNER)
    key = house.paths.secrets_key
    assert key.stat().st_mode & 0o777 == 0o600
    before = key.read_bytes()
    assert len(before) == 32
    await start_enrollment(house, SECOND)
    assert key.read_bytes() == before


async def test_a_secret_that_was_moved_to_somebody_else_opens_nothing(house: EngineHarness) -> None:
    """Who can write to the journal cannot give a person an authenticator they have themselves."""
    app = await enroll(house, SECOND)
    draft = house.engine.repository.begin()
    stolen = house.engine.repository.get(ONE_TIME_PASSWORDS, SECOND)
    assert stolen is not None
    draft.put(ONE_TIME_PASSWORDS, OWNER, stolen)
    await draft.commit()
    with pytest.raises(KeyStoreCorruptedError):
        await use_code(house, OWNER, app.code(house.clock.now()))


@pytest.mark.parametrize("content", [None, b"", b"x" * 32])
async def test_without_its_key_no_password_is_taken(house: EngineHarness, content: bytes | None) -> None:
    app = await enroll(house, OWNER)
    if content is None:
        house.paths.secrets_key.unlink()
    else:
        house.paths.secrets_key.write_bytes(content)
    with pytest.raises(KeyStoreCorruptedError, match=r"encrypted secrets|Cannot decrypt the secret of"):
        await use_code(house, OWNER, app.code(house.clock.now()))


# ---- what the administrator is told


async def test_who_sees_a_configuration_is_told_that_too_few_have_enrolled_for_it(empty: EngineHarness) -> None:
    await empty.add_default_subjects(approvals=2)
    warnings = empty.engine.otp.warnings
    assert warnings(ADMIN) == ()
    await empty.set_policy(require_otp=True)
    await enroll(empty, OWNER)
    assert GATEWAY in warnings(ADMIN)[0]
    assert warnings(OWNER) == warnings(ADMIN)
    await empty.add_subject("USER:stranger")
    assert warnings("USER:stranger") == ()
    await enroll(empty, SECOND)
    assert warnings(ADMIN) == ()
    await empty.add_rule(SECOND, f"DEVICE_CONFIG:{GATEWAY}", Action.VIEW)
    await reset_authenticator(empty, ADMIN, SECOND)
    assert len(warnings(SECOND)) == 1
