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
from tests.support.engine_harness import ADMIN, CLIENT, DEV, GATEWAY, OWNER, SECOND, House
from tests.support.otp import begun, confirm, enrolled, reset, spend

pytestmark = pytest.mark.anyio


def is_enrolled(house: House, who: str = OWNER) -> bool:
    return house.engine.otp.state(who).enrolled


async def refused(house: House, password: str | None, words: str, who: str = OWNER) -> None:
    with pytest.raises(OneTimePasswordError, match=words):
        await spend(house, who, password)


# ---- enrolling


async def test_an_enrolment_counts_once_a_first_password_confirms_it(house: House) -> None:
    app = await begun(house, OWNER)
    assert not is_enrolled(house)
    await refused(house, app.shows(house.clock.now()), "not enrolled")
    await confirm(house, OWNER, app.shows(house.clock.now()))
    assert is_enrolled(house)
    await house.reopen()
    assert is_enrolled(house)


async def test_the_authenticator_shows_person_and_workspace(house: House) -> None:
    app = await begun(house, OWNER)
    assert (app.label, app.issuer) == ("Sealyard:owner@test", "Sealyard")


async def test_an_enrolment_begun_anew_replaces_the_one_that_was_not_confirmed(house: House) -> None:
    first, second = await begun(house, OWNER), await begun(house, OWNER)
    with pytest.raises(OneTimePasswordError, match="wrong"):
        await confirm(house, OWNER, first.shows(house.clock.now()))
    await confirm(house, OWNER, second.shows(house.clock.now()))


async def test_there_is_nothing_to_confirm_before_an_enrolment_and_after_it(house: House) -> None:
    with pytest.raises(ConflictError):
        await confirm(house, OWNER, "123456")
    app = await enrolled(house, OWNER)
    with pytest.raises(ConflictError):
        await confirm(house, OWNER, app.shows(house.clock.now()))


async def test_another_authenticator_wants_a_password_of_the_one_before(house: House) -> None:
    old = await enrolled(house, OWNER)
    for wrong in (None, old.never(house.clock.now())):
        with pytest.raises(OneTimePasswordError):
            await begun(house, OWNER, wrong)
    new = await begun(house, OWNER, old.shows(house.clock.now()))
    house.clock.move(minutes=1)
    await spend(house, OWNER, old.shows(house.clock.now()))
    await confirm(house, OWNER, new.shows(house.clock.now()))
    house.clock.move(minutes=1)
    await refused(house, old.shows(house.clock.now()), "wrong")
    await spend(house, OWNER, new.shows(house.clock.now()))


async def test_a_wrong_confirmation_makes_no_used_password_good_again(house: House) -> None:
    app = await enrolled(house, OWNER)
    house.clock.move(minutes=1)
    used = app.shows(house.clock.now())
    await begun(house, OWNER, used)
    with pytest.raises(OneTimePasswordError):
        await confirm(house, OWNER, app.never(house.clock.now()))
    await refused(house, used, "already used")


@pytest.mark.parametrize("who", [CLIENT, "CLIENT:other"])
async def test_machine_clients_do_not_enrol(house: House, who: str) -> None:
    with pytest.raises(PermissionDeniedError):
        await begun(house, who)


# ---- taking them


@pytest.mark.parametrize("off", [-1, 0, 1])
async def test_a_clock_that_is_off_by_one_step_is_taken(house: House, off: int) -> None:
    app = await enrolled(house, OWNER)
    await spend(house, OWNER, app.shows(house.clock.now(), steps_off=off))


@pytest.mark.parametrize("off", [-2, 2])
async def test_a_clock_that_is_off_by_more_is_not(house: House, off: int) -> None:
    app = await enrolled(house, OWNER)
    await refused(house, app.shows(house.clock.now(), steps_off=off), "wrong")


async def test_a_password_is_taken_with_a_space_in_the_middle(house: House) -> None:
    shown = (await enrolled(house, OWNER)).shows(house.clock.now())
    await spend(house, OWNER, f" {shown[:3]} {shown[3:]} ")


@pytest.mark.parametrize("odd", [None, "", "12345", "1234567", "12345a", "１２３４５６", "٠١٢٣٤٥"])
async def test_what_is_no_password_at_all_is_no_try(house: House, odd: str | None) -> None:
    app = await enrolled(house, OWNER)
    for _ in range(6):
        await refused(house, odd, "six digits")
    await spend(house, OWNER, app.shows(house.clock.now()))


async def test_the_password_of_the_confirmation_is_used(house: House) -> None:
    app = await begun(house, OWNER)
    password = app.shows(house.clock.now())
    await confirm(house, OWNER, password)
    await refused(house, password, "already used")


async def test_no_password_is_taken_twice_nor_an_older_one_also_after_a_restart(house: House) -> None:
    app = await enrolled(house, OWNER)
    before, password = (app.shows(house.clock.now(), steps_off=off) for off in (-1, 0))
    await spend(house, OWNER, password)
    for _ in range(2):
        await refused(house, password, "already used")
        await refused(house, before, "already used")
        await house.reopen()


async def test_a_password_that_was_taken_is_used_when_the_engine_is_killed_next(house: House) -> None:
    app = await enrolled(house, OWNER)
    password = app.shows(house.clock.now())
    await spend(house, OWNER, password)
    other = await house.killed()
    await other.open(work=False)
    await refused(other, password, "already used")
    await other.close()


async def test_passwords_are_the_persons_own(house: House) -> None:
    owners, seconds = await enrolled(house, OWNER), await enrolled(house, SECOND)
    await refused(house, owners.shows(house.clock.now()), "wrong", who=SECOND)
    await spend(house, SECOND, seconds.shows(house.clock.now()))


# ---- trying


async def test_five_wrong_ones_lock_for_a_quarter_of_an_hour_also_over_a_restart(house: House) -> None:
    app = await enrolled(house, OWNER)
    for _ in range(5):
        await refused(house, app.never(house.clock.now()), "wrong")
    locked = house.engine.otp.state(OWNER).locked_until
    assert locked is not None
    await house.reopen()
    house.clock.move(minutes=14, seconds=59)
    await refused(house, app.shows(house.clock.now()), "locked for 1s")
    house.clock.move_to(locked)
    assert house.engine.otp.state(OWNER).locked_until is None
    await spend(house, OWNER, app.shows(house.clock.now()))


async def test_tries_while_it_is_locked_do_not_prolong_the_lock(house: House) -> None:
    app = await enrolled(house, OWNER)
    for _ in range(20):
        with pytest.raises(OneTimePasswordError):
            await spend(house, OWNER, app.never(house.clock.now()))
    house.clock.move(minutes=15)
    await spend(house, OWNER, app.shows(house.clock.now()))


async def test_a_right_one_forgets_the_wrong_ones_before_it(house: House) -> None:
    app = await enrolled(house, OWNER)
    for _ in range(3):
        for _ in range(4):
            await refused(house, app.never(house.clock.now()), "wrong")
        await spend(house, OWNER, app.shows(house.clock.now()))
        house.clock.move(minutes=1)


async def test_confirming_and_enrolling_anew_count_as_tries_too(house: House) -> None:
    app = await enrolled(house, OWNER)
    wrong = app.never(house.clock.now())
    await begun(house, OWNER, app.shows(house.clock.now()))
    for _ in range(3):
        with pytest.raises(OneTimePasswordError):
            await confirm(house, OWNER, wrong)
    for _ in range(2):
        with pytest.raises(OneTimePasswordError):
            await begun(house, OWNER, wrong)
    await refused(house, app.shows(house.clock.now(), steps_off=1), "locked")


async def test_each_wrong_one_and_the_lock_are_audited_and_no_password_ever(house: House) -> None:
    app = await enrolled(house, OWNER)
    wrong, right = app.never(house.clock.now()), app.shows(house.clock.now())
    for _ in range(5):
        await refused(house, wrong, "wrong")
    house.clock.move(minutes=15)
    await spend(house, OWNER, right := app.shows(house.clock.now()))
    entries = [each for each in await house.audit(AuditAction.REFUSED) if each.resource == f"SUBJECT:{OWNER}"]
    assert [each.code for each in entries] == [OneTimePasswordError.code] * 5
    assert "4 of 5" in entries[3].message
    assert "locked until" in entries[4].message
    text = "".join(str(each.message) + str(each.new_value) for each in await house.audit())
    assert wrong not in text
    assert right not in text


# ---- resetting


async def test_who_may_add_subjects_resets_those_of_others(house: House) -> None:
    app = await enrolled(house, OWNER)
    for _ in range(5):
        await refused(house, app.never(house.clock.now()), "wrong")
    await reset(house, ADMIN, OWNER)
    assert not is_enrolled(house)
    await refused(house, app.shows(house.clock.now()), "not enrolled")
    await enrolled(house, OWNER)
    assert (await house.audit(AuditAction.DELETED))[-1].author == ADMIN


async def test_nobody_resets_their_own_or_without_the_right(house: House) -> None:
    for who in (ADMIN, OWNER):
        await enrolled(house, who)
    for by, whose in ((ADMIN, ADMIN), (ADMIN, "admin"), (OWNER, OWNER), (DEV, OWNER)):
        with pytest.raises(PermissionDeniedError):
            await reset(house, by, whose)
    assert is_enrolled(house, ADMIN)
    assert is_enrolled(house, OWNER)


async def test_what_is_not_there_cannot_be_reset(house: House) -> None:
    with pytest.raises(NotFoundError):
        await reset(house, ADMIN, OWNER)


# ---- the secret


async def test_the_secret_is_in_no_file_of_the_workspace_and_in_nothing_printed(house: House) -> None:
    enrolment = await house.do(OWNER, house.engine.otp.enroll(OWNER, None))
    await house.close()
    secret = base64.b32decode(enrolment.secret)
    forms = [secret, enrolment.secret.encode(), secret.hex().encode(), base64.b64encode(secret).rstrip(b"=")]
    for path in house.places.root.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert not any(form in content for form in forms), path
    assert enrolment.secret not in repr(enrolment)


async def test_the_key_is_for_its_owner_alone_and_made_once(house: House) -> None:
    assert not house.places.secrets_key.exists()
    await begun(house, OWNER)
    key = house.places.secrets_key
    assert key.stat().st_mode & 0o777 == 0o600
    before = key.read_bytes()
    assert len(before) == 32
    await begun(house, SECOND)
    assert key.read_bytes() == before


async def test_a_secret_that_was_moved_to_somebody_else_opens_nothing(house: House) -> None:
    """Who can write to the journal cannot give a person an authenticator they have themselves."""
    app = await enrolled(house, SECOND)
    draft = house.engine.repository.begin()
    stolen = house.engine.repository.get(ONE_TIME_PASSWORDS, SECOND)
    assert stolen is not None
    draft.put(ONE_TIME_PASSWORDS, OWNER, stolen)
    await draft.commit()
    with pytest.raises(KeyStoreCorruptedError):
        await spend(house, OWNER, app.shows(house.clock.now()))


@pytest.mark.parametrize("content", [None, b"", b"x" * 32])
async def test_without_its_key_no_password_is_taken(house: House, content: bytes | None) -> None:
    app = await enrolled(house, OWNER)
    if content is None:
        house.places.secrets_key.unlink()
    else:
        house.places.secrets_key.write_bytes(content)
    with pytest.raises(KeyStoreCorruptedError, match=r"encrypted secrets|Cannot decrypt the secret of"):
        await spend(house, OWNER, app.shows(house.clock.now()))


# ---- what the administrator is told


async def test_who_sees_a_configuration_is_told_that_too_few_have_enrolled_for_it(empty: House) -> None:
    await empty.settle(approvals=2)
    warnings = empty.engine.otp.warnings
    assert warnings(ADMIN) == ()
    await empty.policy(require_otp=True)
    await enrolled(empty, OWNER)
    assert GATEWAY in warnings(ADMIN)[0]
    assert warnings(OWNER) == warnings(ADMIN)
    await empty.add("USER:stranger")
    assert warnings("USER:stranger") == ()
    await enrolled(empty, SECOND)
    assert warnings(ADMIN) == ()
    await empty.rule(SECOND, f"DEVICE_CONFIG:{GATEWAY}", Action.VIEW)
    await reset(empty, ADMIN, SECOND)
    assert len(warnings(SECOND)) == 1
