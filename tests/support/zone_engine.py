"""The engine's side of a crypto zone: signs orders, encrypts key commands, and verifies reports."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from sealyard.crypto.sealing import COMMAND_INFO, RESPONSE_INFO, seal, unseal
from sealyard.crypto.signed_messages import MessageLabel, sign_message, verify_message
from sealyard.model.key_commands import KeyCommand
from sealyard.model.signed_message import SignedMessage
from sealyard.model.worker_messages import KeyResponse
from sealyard.model.zone_messages import CommandContent, Order, SealedCommand, SealedResponse, WorkerReport
from sealyard.model.zones import Enrollment, ZonePublicKeys

COMMAND_SECONDS = 60


class ZoneEngine:
    """Acts as the engine of a workspace. ``zone_keys``: of its zone, set when the zone is admitted."""

    def __init__(self, workspace_id: str = "w1", seed: bytes = b"o" * 32) -> None:
        self.workspace_id = workspace_id
        self.zone_keys: ZonePublicKeys
        self._order_key = seed
        self._reply_key = X25519PrivateKey.from_private_bytes(b"r" * 32)
        self._last_request_id = 0

    @property
    def order_key(self) -> bytes:
        """The public key that verifies the orders."""
        return Ed25519PrivateKey.from_private_bytes(self._order_key).public_key().public_bytes_raw()

    @property
    def enrollment(self) -> Enrollment:
        return Enrollment(
            workspace_id=self.workspace_id, workspace_name="gateway", zone="vault", order_key=self.order_key
        )

    def sign(self, message: Any, *, workspace: str = "", label: MessageLabel = MessageLabel.ORDER) -> SignedMessage:
        """Sign an order to a worker."""
        order = Order(workspace=workspace or self.workspace_id, message=message)
        return sign_message(self._order_key, label, msgspec.json.encode(order))

    def seal(self, command: KeyCommand, *, seconds: float = COMMAND_SECONDS, sealing_key: bytes = b"") -> SealedCommand:
        """Encrypt a key command that is valid for ``seconds``."""
        self._last_request_id += 1
        reply_key = self._reply_key.public_key().public_bytes_raw()
        content = CommandContent(request_id=self._last_request_id, command=command, reply_key=reply_key)
        return SealedCommand(
            request_id=self._last_request_id,
            ciphertext=seal(sealing_key or self.zone_keys.sealing_key, msgspec.json.encode(content), COMMAND_INFO),
            not_after=datetime.now(UTC) + timedelta(seconds=seconds),
        )

    def open_response(self, response: SealedResponse) -> KeyResponse:
        plaintext = unseal(self._reply_key.private_bytes_raw(), response.ciphertext, RESPONSE_INFO)
        return msgspec.json.decode(plaintext, type=KeyResponse)

    def open_report(self, report: SignedMessage) -> Any:
        """Return the verified message of a report."""
        body = verify_message(self.zone_keys.report_key, MessageLabel.REPORT, report)
        content = msgspec.json.decode(body, type=WorkerReport)
        assert content.workspace == self.workspace_id
        return content.message
