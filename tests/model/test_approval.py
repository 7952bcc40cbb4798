"""Four eyes: what an approval is bound to, who counts, and whether a quorum can be met at all."""

from __future__ import annotations

from datetime import timedelta
from itertools import combinations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.model.algorithms import EncryptionAlgorithm, SigningAlgorithm
from sealyard.model.approval import (
    DecisionBlocker,
    approval_digest,
    can_reach_quorum,
    decision_blocker,
    has_quorum,
    valid_approvers,
)
from sealyard.model.device_configs import EncryptionKey, SigningKey
from sealyard.model.errors import ConflictError, InvalidTransitionError, PermissionDeniedError
from sealyard.model.lifecycle import advance
from sealyard.model.tasks import DecisionOrigin, Task, TaskKind, TaskStatus, Verdict
from sealyard.model.triggers import DecisionMade
from tests.support.factories.tasks import NOW, decision, file, package, waiting

CTR, CBC = EncryptionAlgorithm.AES128_CTR_NO_PAD, EncryptionAlgorithm.AES128_CBC_PKCS7_PAD
ED25519, RSA = SigningAlgorithm.ED25519, SigningAlgorithm.RSA_3072

TASK = package()
OTHER = "bb" * 32

PARTS: dict[str, dict[str, object]] = {
    "id": {"id": "t2"},
    "kind": {"kind": TaskKind.ENCRYPTION},
    "requester": {"created_by": "USER:other"},
    "name": {"name": "release 2"},
    "content type": {"content_type": "bootloader"},
    "name of an input": {"inputs": (file("0.bin"), file("other.bin"))},
    "size of an input": {"inputs": (file("0.bin"), file("1.bin", size=4))},
    "digest of an input": {"inputs": (file("0.bin"), file("1.bin", sha256=OTHER))},
    "order of inputs": {"inputs": TASK.inputs[::-1]},
    "one input less": {"inputs": TASK.inputs[:1]},
    "an input twice": {"inputs": (*TASK.inputs, TASK.inputs[0])},
    "name of metadata": {"metadata": (file("notes.txt"), file("other.txt"))},
    "size of metadata": {"metadata": (file("notes.txt"), file("version.txt", size=4))},
    "digest of metadata": {"metadata": (file("notes.txt"), file("version.txt", sha256=OTHER))},
    "order of metadata": {"metadata": TASK.metadata[::-1]},
    "no metadata": {"metadata": ()},
    "an input as metadata": {"inputs": TASK.inputs[:1], "metadata": (TASK.inputs[1], *TASK.metadata)},
    "configuration": {"config_id": "c2"},
    "version of the configuration": {"config_version": 5},
    "no encryption key": {"encryption_key": None},
    "encryption algorithm": {"encryption_key": EncryptionKey(algorithm=CBC, uri="local:e", version=1)},
    "encryption key": {"encryption_key": EncryptionKey(algorithm=CTR, uri="local:f", version=1)},
    "version of the encryption key": {"encryption_key": EncryptionKey(algorithm=CTR, uri="local:e", version=2)},
    "no signing key": {"signing_key": None},
    "signing algorithm": {"signing_key": SigningKey(algorithm=RSA, uri="local:s", version=2)},
    "signing key": {"signing_key": SigningKey(algorithm=ED25519, uri="local:r", version=2)},
    "version of the signing key": {"signing_key": SigningKey(algorithm=ED25519, uri="local:s", version=3)},
    "format": {"format": "se-2"},
    "approvals required": {"approvals_required": 2},
}


def changed(task: Task, changes: dict[str, object]) -> Task:
    return msgspec.structs.replace(task, **changes)


def test_the_digest_is_the_same_for_the_same_contents() -> None:
    assert approval_digest(package()) == approval_digest(TASK) == TASK.approval_digest


@pytest.mark.parametrize("part", PARTS)
def test_the_digest_changes_with_each_of_its_parts(part: str) -> None:
    assert approval_digest(changed(TASK, PARTS[part])) != TASK.approval_digest


def test_names_and_descriptions_of_keys_do_not_change_the_digest() -> None:
    assert TASK.encryption_key is not None
    named_key = msgspec.structs.replace(TASK.encryption_key, name="content", description="for new devices")
    assert approval_digest(msgspec.structs.replace(TASK, encryption_key=named_key)) == TASK.approval_digest


def test_no_two_of_the_changes_have_the_same_digest() -> None:
    digests = {approval_digest(changed(TASK, each)) for each in PARTS.values()}
    assert len(digests) == len(PARTS)


def test_the_digest_does_not_move_while_the_task_does() -> None:
    moved = changed(waiting(), {"status": TaskStatus.RUNNING, "updated_at": NOW, "fencing_token": 3, "worker": "w"})
    assert approval_digest(moved) == moved.approval_digest


def test_approvals_of_other_contents_do_not_count() -> None:
    task = waiting()
    assert valid_approvers(task, [decision(task, digest="00" * 32)]) == frozenset()


def test_the_requester_never_counts_however_often_it_is_said() -> None:
    task = waiting(by="USER:dev")
    assert valid_approvers(task, [decision(task, "USER:dev")] * 3) == frozenset()
    client = waiting(by="CLIENT:ci")
    assert valid_approvers(client, [decision(client, "CLIENT:ci")]) == frozenset()


def test_the_requester_counts_under_the_trial_switch_only() -> None:
    task = waiting(by="USER:dev", trial=True)
    assert valid_approvers(task, [decision(task, "USER:dev")]) == {"USER:dev"}


def test_clients_groups_and_rejections_do_not_count() -> None:
    task = waiting(trial=True)
    said = [
        decision(task, "CLIENT:ci"),
        decision(task, "GROUP:owners"),
        decision(task, "USER:no", Verdict.REJECTED),
        decision(task, "USER:yes"),
    ]
    assert valid_approvers(task, said) == {"USER:yes"}


def test_a_quorum_counts_persons_and_not_approvals() -> None:
    task = waiting(approvals=2)
    twice = changed(task, {"approvals": (decision(task, "USER:a"), decision(task, "USER:a"))})
    assert not has_quorum(twice)
    assert has_quorum(changed(task, {"approvals": (decision(task, "USER:a"), decision(task, "USER:b"))}))


people = st.frozensets(st.sampled_from(["USER:a", "USER:b", "USER:c", "USER:d", "CLIENT:ci"]))


@given(st.integers(1, 4), people, people)
def test_a_quorum_is_possible_when_it_is_whoever_asks(
    required: int, approvers: frozenset[str], requesters: frozenset[str]
) -> None:
    def can_be_approved(asking: str) -> bool:
        return any(asking not in chosen for chosen in combinations(sorted(approvers), required))

    # Nobody may ask yet: it is enough that somebody could approve.
    expected = all(can_be_approved(each) for each in requesters or {"USER:nobody"})
    assert can_reach_quorum(required, approvers, requesters) is expected


def test_where_and_how_an_approval_was_made_changes_neither_its_digest_nor_whether_it_counts() -> None:
    task = waiting()
    made = decision(task)
    for each in (made, msgspec.structs.replace(made, origin=DecisionOrigin.TERMINAL, one_time_password=True)):
        approved = msgspec.structs.replace(task, approvals=(each,))
        assert approval_digest(approved) == task.approval_digest
        assert has_quorum(approved)


def test_an_approval_recorded_before_its_origin_was_still_counts() -> None:
    task = waiting()
    old = {"by": "USER:owner", "verdict": "APPROVED", "at": "2026-01-01T00:00:00Z", "digest": task.approval_digest}
    stored = {**msgspec.to_builtins(task), "approvals": [old]}
    read = msgspec.json.decode(msgspec.json.encode(stored), type=Task)
    assert has_quorum(read)
    assert (read.approvals[0].origin, read.approvals[0].one_time_password) == (None, False)


# ---- who may decide

APPROVER = "USER:omar"


@pytest.mark.parametrize(
    ("changes", "subject", "may_approve", "expected"),
    [
        ({}, APPROVER, True, None),
        ({"status": TaskStatus.SCHEDULED}, APPROVER, True, DecisionBlocker.NOT_WAITING),
        ({"approval_expires_at": NOW}, APPROVER, True, DecisionBlocker.EXPIRED),
        ({"approval_expires_at": NOW + timedelta(microseconds=1)}, APPROVER, True, None),
        ({"approval_expires_at": None}, APPROVER, True, None),
        ({}, TASK.created_by, True, DecisionBlocker.OWN_TASK),
        ({"self_approved": True}, TASK.created_by, True, None),
        ({}, "CLIENT:ci", True, DecisionBlocker.NOT_A_PERSON),
        ({}, APPROVER, False, DecisionBlocker.NO_PERMISSION),
    ],
)
def test_decision_blocker_names_the_reason(
    changes: dict[str, object], subject: str, may_approve: bool, expected: DecisionBlocker | None
) -> None:
    task = changed(waiting(), {"approval_expires_at": NOW + timedelta(days=1), **changes})
    assert decision_blocker(task, subject, NOW, may_approve=may_approve) is expected


def test_decision_blocker_after_own_decision() -> None:
    task = waiting()
    decided = changed(task, {"approvals": (decision(task, by=APPROVER),)})
    assert decision_blocker(decided, APPROVER, NOW, may_approve=True) is DecisionBlocker.ALREADY_DECIDED


@given(st.sampled_from(TaskStatus), st.sampled_from([APPROVER, TASK.created_by, "CLIENT:ci"]), st.booleans())
def test_decision_blocker_agrees_with_life_cycle(status: TaskStatus, subject: str, self_approved: bool) -> None:
    task = changed(waiting(), {"status": status, "self_approved": self_approved})
    trigger = DecisionMade(decision=decision(task, by=subject))
    if decision_blocker(task, subject, NOW, may_approve=True) is None:
        assert advance(task, trigger, NOW).approvals == (trigger.decision,)
    else:
        with pytest.raises((InvalidTransitionError, PermissionDeniedError, ConflictError)):
            advance(task, trigger, NOW)
