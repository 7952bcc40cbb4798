"""How many tasks a subject sees: sums over the store's index, without reading a task."""

from __future__ import annotations

from collections.abc import Mapping

from sealyard.engine.rights import Permissions
from sealyard.engine.tables import TASKS
from sealyard.model.access import Action, ResourceType, device_id_of, resource_type_uri
from sealyard.storage.documents import DocumentStore


class _VisibleCounts:
    """What is seen: tasks of configurations one may view, and one's own."""

    def __init__(self, store: DocumentStore, rights: Permissions) -> None:
        self._store = store
        self._rights = rights

    def count(self, subject: str, indexed: Mapping[str, str]) -> int:
        """How many of the tasks that ``subject`` sees match these indexed fields."""
        creator, config = indexed.get("createdBy"), indexed.get("configId")
        if creator == subject or self._rights.is_allowed(
            subject, Action.VIEW, resource_type_uri(ResourceType.DEVICE_CONFIG)
        ):
            return self._count(indexed)
        viewed = {device_id_of(resource) for resource, _ in self._rights.granted_to(subject)} - {""}
        if config is not None:
            viewed &= {config}
        seen = self._sum(viewed, indexed)
        if creator is not None:
            return seen
        own = {**indexed, "createdBy": subject}
        return seen + self._count(own) - self._sum(viewed, own)

    def _sum(self, configs: set[str], indexed: Mapping[str, str]) -> int:
        return sum(self._count({**indexed, "configId": each}) for each in configs)

    def _count(self, indexed: Mapping[str, str]) -> int:
        return self._store.count(TASKS.name, indexed)
