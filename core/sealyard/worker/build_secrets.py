"""Wrapping of build secrets, so that the engine can store them, but only workers of the workspace can use them."""

from __future__ import annotations

import base64

from sealyard.crypto.build_secret import BuildSecret
from sealyard.keys.derived_keys import derive_key
from sealyard.keys.wrapping import unwrap_secret, wrap_secret
from sealyard.model.build_secrets import WrappedBuildSecret
from sealyard.model.canonical_json import canonical_json
from sealyard.model.errors import IntegrityError, InvalidKeyError
from sealyard.model.tasks import Task

_BUILD_KEY_INFO = b"sealyard build secrets 1"


class BuildSecrets:
    """Wraps the build secrets of one workspace with a key that is derived from its master key.

    A secret is bound to the workspace, the task, the digest of what is approved, and the format and its revision. So it
    is never used for other contents, even if the engine sends it with another job.
    """

    def __init__(self, master_key: bytes, workspace_id: str) -> None:
        self._key = derive_key(master_key, _BUILD_KEY_INFO)
        self._workspace_id = workspace_id

    def wrap(self, secret: BuildSecret, task: Task, format_name: str, revision: int) -> WrappedBuildSecret:
        wrapped = wrap_secret(self._key, secret.value, self._associated_data(task, format_name, revision))
        return WrappedBuildSecret(wrapped=base64.b64encode(wrapped).decode(), format=format_name, revision=revision)

    def unwrap(self, record: WrappedBuildSecret, task: Task) -> BuildSecret:
        """Return the secret. The caller must have verified that the approvals are for the contents of ``task``.

        Raises :class:`IntegrityError` if the record was changed, or belongs to another task or to other contents.
        """
        associated_data = self._associated_data(task, record.format, record.revision)
        try:
            value = unwrap_secret(self._key, base64.b64decode(record.wrapped, validate=True), associated_data)
            return BuildSecret(value, record.format)
        except (InvalidKeyError, ValueError):
            raise IntegrityError(
                "The recorded build secret does not belong to this task and its contents. Nothing was signed.",
                "Check which programs can write to the workspace, then submit the request again.",
            ) from None

    def _associated_data(self, task: Task, format_name: str, revision: int) -> bytes:
        return canonical_json(
            [
                "sealyard build secret 1",
                self._workspace_id,
                task.id,
                task.approval_digest,
                format_name,
                revision,
            ]
        )
