"""Open the artifact store of a workspace: in its folder, or in an S3 bucket."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from msgspec import UNSET

from sealyard.concurrency.threads import run_uncancellable
from sealyard.model.errors import WorkspaceError
from sealyard.model.workspace import WorkspaceMetadata, WorkspacePaths
from sealyard.storage.artifacts import ArtifactStore, FileArtifacts


async def open_artifacts(paths: WorkspacePaths, metadata: WorkspaceMetadata) -> ArtifactStore:
    """Open the artifact store for writing. The workspace must be locked.

    Raises :class:`ArtifactStoreError` if the bucket cannot be used, and :class:`WorkspaceError` if the packages for a
    bucket are not installed.
    """
    if metadata.artifacts is UNSET:
        return FileArtifacts(paths.artifacts)
    with require_s3_packages():
        from sealyard.storage.s3.artifacts import S3Artifacts
        from sealyard.storage.s3.location import S3Location

    location = S3Location.parse(metadata.artifacts)
    return await run_uncancellable(partial(S3Artifacts.open, paths.artifacts, location, metadata.id))


def open_artifacts_reader(paths: WorkspacePaths, metadata: WorkspaceMetadata) -> ArtifactStore:
    """Open the artifact store for reading. Raises :class:`WorkspaceError` if packages are not installed."""
    if metadata.artifacts is UNSET:
        return FileArtifacts(paths.artifacts)
    with require_s3_packages():
        from sealyard.storage.s3.artifacts import S3Artifacts
        from sealyard.storage.s3.location import S3Location

    return S3Artifacts.open_reader(paths.artifacts, S3Location.parse(metadata.artifacts), metadata.id)


def check_artifacts_url(url: str) -> None:
    """Raise :class:`UsageError` if ``url`` is not that of a place in S3, or contains credentials.

    Raises :class:`WorkspaceError` if the packages for a bucket are not installed.
    """
    with require_s3_packages():
        from sealyard.storage.s3.bucket import Bucket
        from sealyard.storage.s3.location import S3Location

    Bucket(S3Location.parse(url))


@contextmanager
def require_s3_packages() -> Iterator[None]:
    """Raise :class:`WorkspaceError` if an import in the block fails because a package is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise WorkspaceError(
            f"S3 needs the Python package {error.name}, which is not installed.",
            "Install the extra: pip install 'sealyard[s3]'.",
        ) from error
