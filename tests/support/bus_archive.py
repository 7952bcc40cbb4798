"""Records everything that passes through a bus database, as its administrator or a backup can, and sends it again."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from sealyard.model.zone_messages import Instruction
from tests.support.bus_database import BusDatabase

_CREATE = """
CREATE SCHEMA archive;
CREATE TABLE archive.instruction AS SELECT * FROM bus.instruction WITH NO DATA;
CREATE TABLE archive.report AS SELECT * FROM bus.report WITH NO DATA;
CREATE FUNCTION archive.keep() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
  EXECUTE format('INSERT INTO archive.%I SELECT ($1).*', TG_TABLE_NAME) USING NEW;
  RETURN NEW;
END $$;
CREATE TRIGGER keep AFTER INSERT ON bus.instruction FOR EACH ROW EXECUTE FUNCTION archive.keep();
CREATE TRIGGER keep AFTER INSERT ON bus.report FOR EACH ROW EXECUTE FUNCTION archive.keep();
"""


class ArchivedInstruction(NamedTuple):
    """A row of ``bus.instruction``."""

    host: str
    task: str
    body: bytes
    signature: bytes

    @property
    def content(self) -> Instruction:
        return msgspec.json.decode(self.body, type=Instruction)


class BusArchive:
    """Records the rows that are inserted from now on."""

    def __init__(self, bus: BusDatabase, workspace_id: str) -> None:
        self._bus = bus
        self._workspace_id = workspace_id
        bus.execute(_CREATE)

    @property
    def instructions(self) -> list[ArchivedInstruction]:
        rows = self._bus.execute("SELECT host, task, body, signature FROM archive.instruction ORDER BY n")
        return [ArchivedInstruction(*row) for row in rows]

    @property
    def reports(self) -> list[bytes]:
        return [body for (body,) in self._bus.execute("SELECT body FROM archive.report ORDER BY n")]

    def send_again(self, instruction: ArchivedInstruction, host: str) -> None:
        """Insert an instruction again, for the agent ``host``."""
        self._bus.execute(
            "INSERT INTO bus.instruction (id, workspace, host, task, body, signature)"
            " VALUES (gen_random_uuid(), %s, %s, %s, %s, %s)",
            (self._workspace_id, host, instruction.task, instruction.body, instruction.signature),
        )
