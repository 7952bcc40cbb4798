"""A process that imports renewed certificates of one key without end, to be killed during it.

Arguments: the folder of the key store and the certificate files. Prints the number of each new version once it exists.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from pathlib import Path

from sealyard.keys.local import LocalKeyProvider

MASTER_KEY = bytes(32)
NAME = "imported"


async def import_certificates(folder: Path, paths: list[Path]) -> None:
    keys = LocalKeyProvider(folder, MASTER_KEY)
    for path in itertools.cycle(paths):
        version = await keys.import_certificate(NAME, 1, path.read_bytes())
        os.write(1, f"{version.version}\n".encode())


if __name__ == "__main__":
    asyncio.run(import_certificates(Path(sys.argv[1]), [Path(path) for path in sys.argv[2:]]))
