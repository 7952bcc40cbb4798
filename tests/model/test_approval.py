"""Tests of the approval rules: the digest, valid approvers, the quorum and decision blockers."""

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
    "an input repeated": {"inputs": (*TASK.inputs, TASK.inputs[0])},
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


def replace_fields(task: Task, changes: dict[str, object]) -> Task:
    return msgspec.structs.replace(task, **changes)


def test_digest_of_equal_tasks_is_equal() -> None:
    assert approval_digest(package()) == approval_digest(TASK) == TASK.approval_digest


@pytest.mark.parametrize("part", PARTS)
def test_digest_covers_each_part(part: str) -> None:
    assert approval_digest(replace_fields(TASK, PARTS[part])) != TASK.approval_digest


def test_digest_ignores_names_and_descriptions_of_keys() -> None:
    assert TASK.encryption_key is not None
    named_key = msgspec.structs.replace(TASK.encryption_key, name="content", description="for new devices")
    assert approval_digest(msgspec.structs.replace(TASK, encryption_key=named_key)) == TASK.approval_digest


def test_digests_of_all_changes_differ() -> None:
    digests = {approval_digest(replace_fields(TASK, each)) for each in PARTS.values()}
    assert len(digests) == len(PARTS)


def test_digest_is_unchanged_by_execution() -> None:
    running_task = replace_fields(
        waiting(), {"status": TaskStatus.RUNNING, "updated_at": NOW, "fencing_token": 3, "worker": "w"}
    )
    assert approval_digest(running_task) == running_task.approval_digest


def test_approval_of_other_contents_is_ignored() -> None:
    task = waiting()
    assert valid_approvers(task, [decision(task, digest="00" * 32)]) == frozenset()


def test_approval_by_requester_is_ignored() -> None:
    task = waiting(by="USER:dev")
    assert valid_approvers(task, [decision(task, "USER:dev")] * 3) == frozenset()
    client = waiting(by="CLIENT:ci")
    assert valid_approvers(client, [decision(client, "CLIENT:ci")]) == frozenset()


def test_requester_counts_if_self_approved() -> None:
    task = waiting(by="USER:dev", self_approved=True)
    assert valid_approvers(task, [decision(task, "USER:dev")]) == {"USER:dev"}


def test_only_approvals_by_users_count() -> None:
    task = waiting(self_approved=True)
    decisions = [
        decision(task, "CLIENT:ci"),
        decision(task, "GROUP:owners"),
        decision(task, "USER:no", Verdict.REJECTED),
        decision(task, "USER:yes"),
    ]
    assert valid_approvers(task, decisions) == {"USER:yes"}


def test_quorum_counts_each_user_once() -> None:
    task = waiting(approvals=2)
    repeated = replace_fields(task, {"approvals": (decision(task, "USER:a"), decision(task, "USER:a"))})
    assert not has_quorum(repeated)
    assert has_quorum(replace_fields(task, {"approvals": (decision(task, "USER:a"), decision(task, "USER:b"))}))


subject_sets = st.frozensets(st.sampled_from(["USER:a", "USER:b", "USER:c", "USER:d", "CLIENT:ci"]))


@given(st.integers(1, 4), subject_sets, subject_sets)
def test_can_reach_quorum_for_every_requester(
    required: int, approvers: frozenset[str], requesters: frozenset[str]
) -> None:
    def can_be_approved(requester: str) -> bool:
        return any(requester not in chosen for chosen in combinations(sorted(approvers), required))

    # Without a requester, any combination of approvers is sufficient.
    expected = all(can_be_approved(each) for each in requesters or {"USER:none"})
    assert can_reach_quorum(required, approvers, requesters) is expected


def test_decision_origin_changes_no_digest() -> None:
    task = waiting()
    made_decision = decision(task)
    for each in (
        made_decision,
        msgspec.structs.replace(made_decision, origin=DecisionOrigin.TERMINAL, one_time_password=True),
    ):
        approved = msgspec.structs.replace(task, approvals=(each,))
        assert approval_digest(approved) == task.approval_digest
        assert has_quorum(approved)


def test_approval_without_origin_counts() -> None:
    task = waiting()
    stored_approval = {
        "by": "USER:owner",
        "verdict": "APPROVED",
        "at": "2026-01-01T00:00:00Z",
        "digest": task.approval_digest,
    }
    stored = {**msgspec.to_builtins(task), "approvals": [stored_approval]}
    loaded = msgspec.json.decode(msgspec.json.encode(stored), type=Task)
    assert has_quorum(loaded)
    assert (loaded.approvals[0].origin, loaded.approvals[0].one_time_password) == (None, False)


# ---- decision blockers

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
    task = replace_fields(waiting(), {"approval_expires_at": NOW + timedelta(days=1), **changes})
    assert decision_blocker(task, subject, NOW, may_approve=may_approve) is expected


def test_decision_blocker_after_own_decision() -> None:
    task = waiting()
    decided = replace_fields(task, {"approvals": (decision(task, by=APPROVER),)})
    assert decision_blocker(decided, APPROVER, NOW, may_approve=True) is DecisionBlocker.ALREADY_DECIDED


@given(st.sampled_from(TaskStatus), st.sampled_from([APPROVER, TASK.created_by, "CLIENT:ci"]), st.booleans())
def test_decision_blocker_agrees_with_lifecycle(status: TaskStatus, subject: str, self_approved: bool) -> None:
    task = replace_fields(waiting(), {"status": status, "self_approved": self_approved})
    trigger = DecisionMade(decision=decision(task, by=subject))
    if decision_blocker(task, subject, NOW, may_approve=True) is None:
        assert advance(task, trigger, NOW).approvals == (trigger.decision,)
    else:
        with pytest.raises((InvalidTransitionError, PermissionDeniedError, ConflictError)):
            advance(task, trigger, NOW)
