"""Delivery of the messages in an outbox: in order for each receiver, with retries."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from typing import Any, Generic

from sealyard.client.engine_handle import EngineHandle
from sealyard.engine.state.outbox import D, Outbox
from sealyard.server.delivery.retry_policy import DeliveryFailure, next_delay

RETRY_SECONDS = 5.0
"""Delay in seconds after an unexpected error before the next attempt."""

log = logging.getLogger(__name__)


class OutboxSender(ABC, Generic[D]):
    """Sender that delivers each message at least once. A message keeps its id if it is sent again."""

    def __init__(self, engine_handle: EngineHandle, outbox: Outbox[Any, D]) -> None:
        self._engine_handle = engine_handle
        self._outbox = outbox
        self._workspace_id = engine_handle.engine.metadata.id
        self._clock = engine_handle.engine.repository.clock

    async def run(self) -> None:
        """Deliver messages until cancelled. An interrupted delivery is repeated by the next sender."""
        known_ids: frozenset[str] = frozenset()
        async with asyncio.TaskGroup() as deliveries:
            while True:
                new_ids = await self._engine_handle.run(self._outbox.new_receivers(known_ids))
                for receiver_id in new_ids:
                    deliveries.create_task(self._deliver_all(receiver_id))
                known_ids |= new_ids

    @abstractmethod
    async def _send(self, delivery: D) -> DeliveryFailure | None:
        """Make one delivery attempt. Return the failure, or None if the receiver accepted the messages."""

    async def _deliver_all(self, receiver_id: str) -> None:
        """Deliver the messages of one receiver until it is removed."""
        while True:
            try:
                delivery = await self._engine_handle.run(self._outbox.next_delivery(receiver_id))
                if delivery is None:
                    return
                await self._attempt_delivery(delivery)
            except Exception:
                # An error must not end the deliveries to this receiver nor, by leaving the task group, those to others.
                log.exception("%s: delivery failed unexpectedly", self._outbox.tables.resource(receiver_id))
                await self._clock.sleep(RETRY_SECONDS)

    async def _attempt_delivery(self, delivery: D) -> None:
        messages = delivery.messages
        failure = await self._send(delivery)
        if failure is None:
            await self._engine_handle.run(self._outbox.mark_delivered(messages))
            return
        delay = next_delay(failure, messages[0].attempts + 1)
        if delay is not None:
            await self._engine_handle.run(self._outbox.mark_failed(messages, failure.error, delay))
            return
        resource = self._outbox.tables.resource(messages[0].receiver_id)
        log.warning("%s: message %s is undeliverable: %s", resource, messages[0].id, failure.error)
        await self._engine_handle.run(self._outbox.move_to_dead_letters(messages, failure.error))
