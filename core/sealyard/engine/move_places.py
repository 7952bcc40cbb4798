"""The places between which a workspace moves: its folder, databases and buckets."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from sealyard.engine.move_artifacts import ArtifactsMove
from sealyard.engine.state.open_state import require_postgres_packages
from sealyard.engine.state.tables import CHECKPOINTS, TASKS, TOKENS
from sealyard.fs import atomic
from sealyard.model.base import JSON_ERRORS
from sealyard.model.errors import InvalidInputError, WorkspaceError
from sealyard.model.formatting import format_count
from sealyard.model.hints import Hint, HintCode
from sealyard.model.moves import FOLDER, ArtifactsPlan, MovePlan, MoveRecord
from sealyard.model.safe_text import escape_text
from sealyard.model.workspace import WorkspacePaths
from sealyard.storage.content import CopyTarget, WorkspaceContent
from sealyard.storage.folder_copy import STORE_NOTE, FolderTarget, retire_files
from sealyard.storage.frame_chain import StoreCredentials

_PROTECTED_TABLES = frozenset({TASKS.name, CHECKPOINTS.name, TOKENS.name})
"""Tables whose documents are covered by approval digests, signatures or digests of requests."""


MAX_SHOWN_TEXTS = 5


class MovePlaces:
    """Operations of a move on the folder, on databases and buckets, and the record of the move. They block."""

    def __init__(self, paths: WorkspacePaths) -> None:
        self._paths = paths
        self._artifacts_moves: dict[tuple[str, str], ArtifactsMove] = {}
        """By source and target, because clients of a bucket are expensive to create."""

    # ---- the record of the move

    def load_record(self) -> MoveRecord | None:
        """Return the record of an unfinished move. Raises :class:`WorkspaceError` if it cannot be read."""
        try:
            return msgspec.json.decode(self._paths.move.read_bytes(), type=MoveRecord)
        except FileNotFoundError:
            return None
        except (OSError, *JSON_ERRORS) as error:
            raise WorkspaceError(f"Cannot read {escape_text(str(self._paths.move))}: {error}.") from error

    def save_record(self, record: MoveRecord) -> None:
        content = msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"
        try:
            atomic.write_atomic(self._paths.move, content)
        except OSError as error:
            raise atomic.storage_error(error, "recording the move") from error

    def remove_record(self) -> None:
        try:
            self._paths.move.unlink(missing_ok=True)
            atomic.sync_folder(self._paths.root)
        except OSError as error:
            raise atomic.storage_error(error, "finishing the move") from error

    # ---- source and target

    def open_target(
        self, target: str, credentials: StoreCredentials, attempts: Sequence[str], old_record: MoveRecord | None
    ) -> CopyTarget:
        """Return the target. ``old_record``: that of an earlier run, which was interrupted."""
        if target == FOLDER:
            has_unfinished_copy = old_record is not None and old_record.plan.target == FOLDER
            return FolderTarget(
                self._paths.store, self._paths.audit, credentials, has_unfinished_copy=has_unfinished_copy
            )
        with require_postgres_packages():
            from sealyard.storage.postgres.connection import Database
            from sealyard.storage.postgres.copying import PgTarget

        return PgTarget(Database(target), credentials, attempts)

    def make_supported(self, content: WorkspaceContent, *, repair: bool) -> tuple[WorkspaceContent, int, Sequence[str]]:
        """Return the content for a database, the number of repaired texts, and what it cannot contain."""
        from sealyard.storage.postgres.unsupported_texts import find_unsupported_texts, repair_names

        repaired_count = 0
        if repair:
            content, repaired_count = repair_names(content, _PROTECTED_TABLES)
        return content, repaired_count, list(find_unsupported_texts(content))

    def open_artifacts_move(self, workspace_id: str, plan: ArtifactsPlan) -> ArtifactsMove:
        """Return the move of inputs and results, without a request."""
        key = (plan.source, plan.target)
        if key not in self._artifacts_moves:
            self._artifacts_moves[key] = ArtifactsMove(self._paths, workspace_id, plan.source, plan.target)
        return self._artifacts_moves[key]

    def require_current(self, record: MoveRecord, workspace_id: str) -> None:
        """Check that the source is still the one that was copied, and that the copy is not used. A locked folder is."""
        plan = record.plan
        if plan.moves_store and plan.source != FOLDER:
            from sealyard.storage.postgres.connection import Database
            from sealyard.storage.postgres.copying import require_generation

            require_generation(Database(plan.source), workspace_id, record.generation.mac)
        if plan.artifacts is not None:
            self.open_artifacts_move(workspace_id, plan.artifacts).require_current(record.attempts[-1])

    def activate(self, record: MoveRecord, workspace_id: str) -> None:
        """Let engines open the copy. Idempotent."""
        plan = record.plan
        if plan.moves_store and plan.target != FOLDER:
            with require_postgres_packages():
                from sealyard.storage.postgres.connection import Database
                from sealyard.storage.postgres.copying import activate_rows

            activate_rows(Database(plan.target), workspace_id, record.attempts[-1])
        if plan.artifacts is not None:
            self.open_artifacts_move(workspace_id, plan.artifacts).activate()

    def retire(self, record: MoveRecord, workspace_id: str) -> None:
        """Make sure that no engine opens the source again. Idempotent."""
        if record.plan.moves_store:
            self._retire_store(record, workspace_id)
        if record.plan.artifacts is not None:
            self.open_artifacts_move(workspace_id, record.plan.artifacts).retire(record.retired_artifacts)

    def _retire_store(self, record: MoveRecord, workspace_id: str) -> None:
        if record.plan.source == FOLDER:
            generation = record.generation.number
            retired_folder = self._paths.moved / f"generation-{generation}"
            note = STORE_NOTE.format(generation=generation)
            retire_files((self._paths.store, self._paths.audit), retired_folder, note)
            return
        with require_postgres_packages():
            from sealyard.storage.postgres.connection import Database
            from sealyard.storage.postgres.copying import retire_rows

        retire_rows(Database(record.plan.source), workspace_id, record.generation.mac)


def require_supported(plan: MovePlan) -> None:
    """Raise :class:`InvalidInputError` if the target cannot contain a text."""
    texts = plan.unsupported
    if not texts:
        return
    shown_texts = ", ".join(texts[:MAX_SHOWN_TEXTS])
    more = ", …" if len(texts) > MAX_SHOWN_TEXTS else ""
    raise InvalidInputError(
        f"{format_count(len(texts), 'text contains', 'texts contain')} the character U+0000, which the database does"
        f" not support: {escape_text(shown_texts, 1000)}{more}.",
        Hint.of(HintCode.REPAIR_NAMES),
    )
