"""Follow the set-up of a crypto zone in the documentation, from an empty machine to a downloaded package.

The operator, the servers and the crypto host are processes on this machine, each with its own home folder. Their
commands are those of the documentation; only paths and the address of the object store are replaced.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.support.cluster import ClusterFiles
from tests.support.ministack import REGION, MiniStack
from tests.support.ports import ReservedPort
from tests.support.postgres import PostgresServer, find_programs
from tests.support.processes import find_by_environment, kill_all
from tests.support.programs import require, require_module
from tests.support.root import ALLOW_ROOT

pytestmark = [pytest.mark.interop, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2] / "core" / "sealyard"
DOCUMENT = (ROOT / "agent" / "README.md").read_text()
ROLES = ROOT / "server" / "deploy" / "roles.sql"
COMMAND_TIMEOUT = 120.0
START_TIMEOUT = 120.0
SERVICES = {
    "operator": {
        "sealyard-owner": ("sealyard", "sealyard_owner"),
        "sealyard-bus-owner": ("sealyard_bus", "sealyard_owner"),
    },
    "server": {"sealyard": ("sealyard", "sealyard_server"), "sealyard-bus": ("sealyard_bus", "sealyard_server")},
    "host": {"sealyard-bus": ("sealyard_bus", "sealyard_crypto")},
}
"""By machine, the databases and roles of its services."""


def read_commands(marker: str) -> str:
    """Return the commands of a block of the documentation as a script."""
    (block,) = re.findall(rf"<!-- zone: {re.escape(marker)} -->\n```console\n(.*?)\n```", DOCUMENT, re.DOTALL)
    lines = block.splitlines()
    assert all(line.startswith("$ ") for line in lines)
    return "\n".join(line.removeprefix("$ ") for line in lines)


class Machine:
    """A folder with a home, in which the commands of one machine run."""

    def __init__(self, name: str, folder: Path, postgres: PostgresServer, **environment: str) -> None:
        self.folder = folder
        self._home = folder / "home"
        self._home.mkdir(parents=True)
        (folder / "srv").mkdir()
        services = folder / "pg_service.conf"
        services.write_text(
            "".join(
                f"[{service}]\nhost={postgres.folder}\ndbname={database}\nuser={role}\n"
                for service, (database, role) in SERVICES[name].items()
            )
        )
        self._environment = {
            "HOME": str(self._home),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "LANG": "C.UTF-8",
            "PGSERVICEFILE": str(services),
            **environment,
        }

    def run(self, script: str, **environment: str) -> str:
        """Run commands, which must succeed, and return what they print."""
        process = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self._adapt(script)],
            cwd=self.folder,
            env=self._environment | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT,
            check=False,
        )
        assert process.returncode == 0, f"{script}\n{process.stdout}\n{process.stderr}"
        return process.stdout

    def start(self, command: str, log: str) -> subprocess.Popen[bytes]:
        """Start a command that runs until it is stopped."""
        # A user who follows the documentation is not root, but CI is.
        words = " ".join((f"exec {command}", *ALLOW_ROOT))
        with (self.folder / log).open("wb") as output:
            return subprocess.Popen(
                ["bash", "-c", self._adapt(words)],
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def read_log(self, log: str) -> str:
        return (self.folder / log).read_text(errors="replace")

    def kill_processes(self) -> None:
        # Kill twice, because a process may start between listing and killing.
        for _ in range(2):
            kill_all(find_by_environment(f"HOME={self._home}\0"))

    def _adapt(self, script: str) -> str:
        return script.replace("/srv/", f"{self.folder}/srv/")


class Site:
    """The machines of the documentation, with a PostgreSQL server and an object store."""

    def __init__(self, folder: Path, postgres: PostgresServer, store: MiniStack) -> None:
        self.store = store
        self.files = ClusterFiles(folder / "cluster", "yard")
        self.operator = Machine(
            "operator", folder / "operator", postgres, PGHOST=str(postgres.folder), PGUSER="postgres"
        )
        self.server = Machine(
            "server",
            folder / "server",
            postgres,
            SEALYARD_PASSPHRASE="of the server",
            SEALYARD_ANCHORS=str(self.files.folder / "anchors"),
            SEALYARD_WORKSPACE=str(folder / "server" / "srv" / "yard"),
            AWS_ACCESS_KEY_ID="test",
            AWS_SECRET_ACCESS_KEY="test",
        )
        self.host = Machine("host", folder / "host", postgres, SEALYARD_PASSPHRASE="of the zone")

    def close(self) -> None:
        for machine in (self.operator, self.server, self.host):
            machine.kill_processes()

    def read_server_commands(self, marker: str) -> str:
        """Return commands of a server, with the address of the object store of the test."""
        place = f"region={REGION}"
        return read_commands(marker).replace(place, f"{place}&endpoint={self.store.url}")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    for module in ("psycopg", "alembic", "procrastinate"):
        require_module(module, "postgres")
    require("psql")
    (tmp_path / "store").mkdir()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sealyard-pg-")))
        postgres = PostgresServer(find_programs(), folder)
        stack.callback(postgres.stop)
        port = ReservedPort()
        stack.callback(port.close)
        store = MiniStack(tmp_path / "store", port.number)
        store.start()
        stack.callback(store.kill)
        store.client("s3").create_bucket(Bucket="sealyard", CreateBucketConfiguration={"LocationConstraint": REGION})
        site = Site(tmp_path, postgres, store)
        stack.callback(site.close)
        yield site


def wait_until(condition: Callable[[], bool], describe: Callable[[], str]) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, describe()
        time.sleep(0.1)


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", trust_env=False, timeout=10).is_success
    except httpx.TransportError:
        return False


def start_servers(site: Site) -> list[str]:
    """Start two servers of the workspace, and return their URLs once both are ready."""
    urls = []
    for name in ("server1", "server2"):
        ports = ReservedPort(), ReservedPort()
        settings = site.files.write_settings(name, ports[0].number, ports[1].number)
        for port in ports:
            port.close()
        site.server.start(f"sealyard serve --config {settings}", f"{name}.log")
        url = f"http://127.0.0.1:{ports[0].number}"
        wait_until(lambda url=url: is_ready(url), lambda name=name: site.server.read_log(f"{name}.log"))  # type: ignore[misc]
        urls.append(url)
    return urls


def test_documented_commands_lead_to_a_package(site: Site) -> None:
    shutil.copy(ROLES, site.operator.folder)
    site.operator.run(read_commands("operator"))
    site.server.run(site.read_server_commands("server"))
    shutil.copy(site.server.folder / "enrollment.json", site.host.folder)

    enrolled = json.loads(site.host.run(f"{read_commands('host')} --json"))
    site.server.run(read_commands("admit"), CODE=enrolled["code"])
    host = site.host.start(read_commands("start"), "worker.log")
    urls = start_servers(site)
    wait_until(lambda: "ready" in site.server.run(read_commands("list")), lambda: site.host.read_log("worker.log"))

    (site.server.folder / "app.bin").write_bytes(os.urandom(300_000))
    site.server.run(read_commands("package"))
    (container,) = (site.server.folder / "downloads").iterdir()
    assert container.stat().st_size > 300_000
    assert not list((site.server.folder / "srv" / "yard" / "keys").rglob("*sign*"))

    shutil.copytree(site.host.folder / "srv" / "plant" / "keys", site.host.folder / "copy" / "keys")
    second = json.loads(site.host.run(f"{read_commands('second host')} --json"))
    assert second["code"] == enrolled["code"]

    token = json.loads(site.server.run("sealyard --json token create test --subject USER:olga"))["secret"]
    headers = {"Authorization": f"Bearer {token}"}
    (status,) = httpx.get(f"{urls[1]}/api/v1/zone", headers=headers, trust_env=False).json()["hosts"]
    site.server.run(f"sealyard worker drain '{status['name']}'")
    assert host.wait(START_TIMEOUT) == 0, site.host.read_log("worker.log")
