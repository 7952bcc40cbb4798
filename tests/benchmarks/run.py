"""Run the benchmarks: `python -m tests.benchmarks.run [NAME …]`; without names, all of them."""

from __future__ import annotations

import os
import sys
import tempfile

from tests.benchmarks import (
    application,
    cluster,
    growth,
    key_services,
    memory,
    postgres,
    rates,
    server,
    throughput,
    tokens,
    verification,
    zone,
)

MEASUREMENTS = {
    "throughput": throughput.rows,
    "verification": verification.rows,
    "memory": memory.rows,
    "rates": rates.rows,
    "growth": growth.rows,
    "application": application.rows,
    "server": server.rows,
    "key_services": key_services.rows,
    "tokens": tokens.rows,
    "postgres": postgres.rows,
    "cluster": cluster.rows,
    "zone": zone.rows,
}


def main(names: list[str]) -> int:
    print("| measurement | result | budget |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as anchors:
        os.environ.setdefault("SEALYARD_ANCHORS", anchors)
        for name in names or list(MEASUREMENTS):
            for row in MEASUREMENTS[name]():
                print(row, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
