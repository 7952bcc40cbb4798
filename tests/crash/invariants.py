"""Invariants of a workspace after a crash test, checked independently of the engine where possible."""

from __future__ import annotations

import base64
import hashlib
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from sealyard.audit.reader import AuditReader
from sealyard.audit.source import AuditSource
from sealyard.client.embedded import EmbeddedClient
from sealyard.containers.se1.format import SE1Format
from sealyard.containers.se1.header import parse_header
from sealyard.crypto.certificates import load_certificate
from sealyard.crypto.ciphers import AesCipher
from sealyard.crypto.segments import decrypt_segment
from sealyard.crypto.signatures import verify
from sealyard.model.audit import AuditAction, AuditEntry
from sealyard.model.requests import TaskFilter
from sealyard.model.tasks import Task, TaskKind, TaskStatus
from sealyard.model.workspace import WorkspacePaths
from tests.crash.chaos_workspace import ENCRYPTION, SIGNING, open_test_master_key
from tests.crash.random_requests import ExpectedTask
from tests.support.audit_trail import require_path
from tests.support.proof_verifier import open_checkpoint, verify_consistency_proof, verify_inclusion_proof
from tests.support.worker_state import verify_records

MAX_PROOFS = 50
"""Number of audit entries whose inclusion proof is checked."""

RETRY_MESSAGE = "signing key used again for the same data, after the signature was lost"


class InvariantCheck:
    """Checks the tasks of one workspace with its keys."""

    def __init__(
        self,
        paths: WorkspacePaths,
        device_key: bytes,
        audit: AuditSource | None = None,
        signers: Mapping[Path, bytes] | None = None,
        results: Path | None = None,
    ) -> None:
        """Check the workspace in ``paths``. ``audit``: its audit log, by default the files in the folder.

        ``signers``: the master key of each folder with a worker state, by default those of the workspace. ``results``:
        the folder with the results, by default that of the workspace.
        """
        self._paths = paths
        self._audit = audit or AuditReader(paths.audit)
        self._signers = signers or {paths.root: open_test_master_key(paths.root)}
        self._results = results or paths.artifacts / "results"
        self._cipher = AesCipher(ENCRYPTION, device_key)
        self.repeated_signatures = 0

    def check_accepted(
        self,
        tasks: dict[str, Task],
        accepted: dict[str, str],
        expected_tasks: dict[str, ExpectedTask],
        stopped: dict[str, float],
    ) -> None:
        """Check that each accepted task exists once, and is DONE or was stopped as requested.

        ``stopped``: the time of the acknowledged withdrawal, rejection or cancellation, by task ID.
        """
        assert len(tasks) == len(set(accepted.values())) == len(accepted)
        for token, task_id in accepted.items():
            task = tasks[task_id]
            assert task.client_token == token
            assert task.kind.value == expected_tasks[token].kind
            if task_id in stopped or (expected_tasks[token].stop and task.status is TaskStatus.CANCELLED):
                assert task.status is TaskStatus.CANCELLED, f"{task.id} was stopped, but is {task.status}"
                assert task.result is None
            else:
                assert task.status is TaskStatus.DONE, f"{task.id} is {task.status}: {task.reason}"

    def check_acknowledged(self, tasks: dict[str, Task], finished: dict[str, str], downloads: dict[str, str]) -> None:
        """Check that final statuses and downloaded artifacts are those of which a client was notified."""
        for task_id, status in finished.items():
            assert tasks[task_id].status == status, f"{task_id} was {status}, and is {tasks[task_id].status}"
        for task_id, digest in downloads.items():
            result = tasks[task_id].result
            assert result is not None
            assert result.sha256 == digest

    def check_signed_once(self, tasks: dict[str, Task], stopped: dict[str, float]) -> None:
        """Check the worker states: one signed input per task, every use of the key audited, none after a stop."""
        inputs: dict[str, list[str]] = defaultdict(list)
        records = [record for folder, key in self._signers.items() for record in verify_records(folder, key)]
        for record in [each for each in records if each["type"] == "intent"]:
            inputs[record["task"]].append(record["sha256"])
            assert record["at"] < stopped.get(record["task"], record["at"] + 1), f"{record['task']} signed after a stop"
        uses = self._key_uses()
        signed = {task.id for task in tasks.values() if task.kind is not TaskKind.ENCRYPTION and task.result}
        assert signed <= inputs.keys() <= uses.keys()
        for task_id in uses:
            digests = [digest for digest, _ in uses[task_id]]
            intent = tasks[task_id].intent
            assert intent is not None
            assert {*inputs[task_id], *digests} == {intent.sha256}, f"{task_id} has two signed inputs"
            assert len(inputs[task_id]) <= len(digests)
            first, *later = [message for _, message in uses[task_id]]
            assert first != RETRY_MESSAGE
            assert set(later) <= {RETRY_MESSAGE}
            self.repeated_signatures += len(later)

    async def check_results(
        self, client: EmbeddedClient, tasks: dict[str, Task], expected_tasks: dict[str, ExpectedTask]
    ) -> None:
        """Check each result with the certificate and the device key alone."""
        for task in tasks.values():
            if task.status is not TaskStatus.DONE:
                continue
            assert task.client_token is not None
            expected = expected_tasks[task.client_token]
            match task.kind:
                case TaskKind.PACKAGING:
                    self._check_package(task, expected, await client.certificate(task.id))
                case TaskKind.ENCRYPTION:
                    self._check_encrypted(task, expected)
                case TaskKind.SIGNING:
                    self._check_signature(task, expected, await client.certificate(task.id))

    def _check_package(self, task: Task, expected: ExpectedTask, certificate: str) -> None:
        """Check the signature, the decrypted files, and that the digest of the header is that of the intent."""
        assert task.result is not None
        assert task.intent is not None
        sizes = [each.stat().st_size for each in expected.files]
        with self._result_path(task).open("rb") as file:
            report, digests = SE1Format().verify_digests(file, certificate.encode(), self._cipher, sizes)
            header = parse_header(file).raw
        assert (report.sha256, report.size) == (task.result.sha256, task.result.size)
        assert digests == tuple(sha256_of(each) for each in expected.files)
        assert hashlib.sha256(header).hexdigest() == task.intent.sha256

    def _check_encrypted(self, task: Task, expected: ExpectedTask) -> None:
        assert task.result is not None
        ciphertext_hash, plaintext_hash = hashlib.sha256(), hashlib.sha256()
        length = self._result_path(task).stat().st_size
        with self._result_path(task).open("rb") as file:
            decrypt_segment(file, length, self._cipher, plaintext_hash.update, [ciphertext_hash.update], lambda _: None)
        assert (ciphertext_hash.hexdigest(), length) == (task.result.sha256, task.result.size)
        assert plaintext_hash.hexdigest() == sha256_of(expected.files[0])

    def _check_signature(self, task: Task, expected: ExpectedTask, certificate: str) -> None:
        assert task.result is not None
        assert task.result.signature is not None
        signature = base64.b64decode(task.result.signature)
        public_key = load_certificate(certificate.encode()).public_key
        assert verify(public_key, SIGNING, expected.message, signature, prehashed=False)

    def check_trails(self, tasks: dict[str, Task]) -> None:
        """Check by the audit log that each task was created and finished once, along valid transitions."""
        entries: dict[str, list[AuditEntry]] = defaultdict(list)
        for entry in self._audit.all_entries():
            entries[entry.resource.removeprefix("TASK:")].append(entry)
        for task in tasks.values():
            require_path(task, entries[task.id])
            assert [entry.change for entry in entries[task.id]].count(AuditAction.CREATED) == 1

    async def check_proofs(self, client: EmbeddedClient) -> None:
        """Check proofs of entries, and from all earlier checkpoints, with a verifier that has no code of Sealyard."""
        key = self._audit.find_public_key()
        assert key is not None
        lines = [line.data for line in self._audit.lines()]
        notes = list(self._audit.notes())
        sizes = [open_checkpoint(note, key)[0] for note in notes]
        for size, note in zip(sizes, notes, strict=True):
            if size:
                verify_consistency_proof(await client.prove_audit_consistency(size), note, key)
        for seq in range(0, sizes[-1], max(1, sizes[-1] // MAX_PROOFS)):
            assert verify_inclusion_proof(await client.prove_audit_entry(seq), key) == lines[seq].removesuffix(b"\n")

    def check_no_leftover_files(self, tasks: dict[str, Task]) -> None:
        artifacts = self._paths.artifacts
        assert not list((artifacts / "work").iterdir())
        assert not [each for each in (artifacts / "inputs").rglob("*") if each.is_file()]
        assert not list((artifacts / "incoming").iterdir())
        with_file = {task.id for task in tasks.values() if task.result and task.result.signature is None}
        assert {each.name for each in self._results.iterdir()} == with_file

    def _key_uses(self) -> dict[str, list[tuple[str, str]]]:
        """Return digest and message of each audited use of the signing key, by task ID."""
        uses: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for entry in self._audit.all_entries():
            if entry.change is AuditAction.KEY_USED:
                assert entry.new_value is not None
                uses[entry.resource.removeprefix("TASK:")].append((entry.new_value["sha256"], entry.message))
        return uses

    def _result_path(self, task: Task) -> Path:
        return self._results / task.id


async def load_tasks(client: EmbeddedClient) -> dict[str, Task]:
    """Return all tasks by id."""
    tasks: dict[str, Task] = {}
    after = None
    while True:
        page = await client.tasks(TaskFilter(), after=after, limit=1000)
        tasks |= {each.id: each for each in page.tasks}
        if page.next is None:
            return tasks
        after = page.next


@cache
def sha256_of(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
