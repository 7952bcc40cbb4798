"""Several `sealyard` processes on one workspace: who holds it, who waits, who reads, and how they end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

from sealyard.client.sharing.socket import is_listening
from sealyard.fs.workspace_lock import WorkspaceLock
from tests.support.cli_runner import LIMIT, CliWorkspace, run_process, start_process, wait_until


def test_package_waits_without_the_lock_until_another_process_approves(
    house: CliWorkspace, firmware: Path, tmp_path: Path
) -> None:
    name = f"awaited {tmp_path.name}"
    out = tmp_path / "down"
    with start_process(
        *house.as_user("developer", "package", "--device", "gateway", "--firmware", firmware, "--name", name),
        *("--wait", "--timeout", LIMIT, "--out", out, "--json"),
    ) as waiting:
        wait_until(lambda: len(house.value("owner", "tasks", "--search", name, "--awaiting-approval")) == 1)
        task = house.value("owner", "tasks", "--search", name)[0]["id"]
        wait_until(lambda: house.run("owner", "approve", task).code == 0)
        stdout, stderr = waiting.communicate(timeout=LIMIT)
    assert waiting.returncode == 0, stderr
    value = json.loads(stdout)
    assert (value["id"], value["status"]) == (task, "DONE")
    assert [each.stat().st_size for each in out.iterdir()] == [value["result"]["size"]]
    assert house.value("auditor", "audit", "list", "--resource", f"TASK:{task}", "--change", "DOWNLOADED")["entries"]


def test_a_wait_that_is_over_says_so_and_names_the_task(house: CliWorkspace, firmware: Path) -> None:
    asked = ("package", "--device", "gateway", "--firmware", firmware, "--wait", "--timeout", "0.2")
    ran = house.run("developer", *asked, "--json")
    assert ran.code == 5
    assert (ran.value["status"], ran.value["error"]["code"]) == ("WAITING", "still-waiting")
    assert house.value("owner", "show", ran.value["id"])["status"] == "WAITING"


def test_an_interrupted_wait_closes_and_keeps_the_task(house: CliWorkspace, firmware: Path) -> None:
    asked = ("package", "--device", "gateway", "--firmware", firmware, "--name", "interrupted", "--wait")
    with start_process(*house.as_user("developer", *asked)) as waiting:
        assert waiting.stderr is not None
        assert "sealyard show" in waiting.stderr.readline()
        waiting.send_signal(signal.SIGINT)
        _, stderr = waiting.communicate(timeout=LIMIT)
    assert waiting.returncode == 130
    assert "Traceback" not in stderr
    assert house.value("developer", "tasks", "--search", "interrupted")[0]["status"] == "WAITING"
    assert house.run("admin", "subject", "add", "next").code == 0


READING = (
    ("developer", "tasks"),
    ("developer", "device", "list"),
    ("admin", "key", "list"),
    ("admin", "acl", "list"),
    ("admin", "subject", "list"),
    ("admin", "policy", "show"),
    ("auditor", "audit", "list"),
    ("auditor", "audit", "verify"),
)


def test_beside_a_holder_that_lets_others_in_every_command_works(house: CliWorkspace, firmware: Path) -> None:
    with start_process(*house.as_user("admin", "run", "--json")) as holder:
        wait_until(lambda: is_listening(house.folder))
        assert run_process(*house.as_user("developer", "tasks")).code == 0
        for profile, *reading in READING:
            assert house.run(profile, *reading).code == 0, reading
        assert house.run("admin", "subject", "add", "anna").code == 0
        task = house.package(firmware, "--name", "beside")["id"]
        assert house.value("owner", "approve", task)["status"] == "DONE"
        assert holder.poll() is None
        holder.send_signal(signal.SIGTERM)
        stdout, stderr = holder.communicate(timeout=LIMIT)
    assert (holder.returncode, stderr) == (0, "")
    assert json.loads(stdout) == {"ended": {"DONE": 1}}
    assert house.value("developer", "show", task)["status"] == "DONE"


def test_beside_a_holder_that_lets_nobody_in_readers_work_and_writers_are_told_who_it_is(house: CliWorkspace) -> None:
    with WorkspaceLock.acquire(house.folder / "lock", "a long import"):
        for profile, *reading in READING:
            assert house.run(profile, *reading).code == 0, reading
        for writing in (("subject", "add", "anna"), ("run",), ("serve", "--listen", "127.0.0.1:0")):
            held = run_process(*house.as_user("admin", *writing))
            assert held.code == 6
            assert f"process {os.getpid()} " in held.err
            assert "a long import" in held.err
    assert house.run("admin", "subject", "add", "anna").code == 0


def test_a_second_run_stands_by_and_takes_over_with_the_work_that_was_under_way(
    house: CliWorkspace, firmware: Path
) -> None:
    with start_process(*house.as_user("admin", "run")) as holder:
        wait_until(lambda: is_listening(house.folder))
        with start_process(*house.as_user("admin", "run")) as other:
            _stands_by_and_takes_over(house, firmware, holder, other)


def _stands_by_and_takes_over(
    house: CliWorkspace, firmware: Path, holder: subprocess.Popen[str], other: subprocess.Popen[str]
) -> None:
    assert other.stdout is not None
    assert other.stdout.readline().startswith("Running tasks in")
    task = house.package(firmware)["id"]
    holder.kill()
    wait_until(lambda: _holds(house, other))
    assert house.value("owner", "approve", task)["status"] == "DONE"
    while f"{task}  DONE" not in (line := other.stdout.readline()):
        assert line, "it ended without a word of the task's end"
    other.send_signal(signal.SIGTERM)
    _, stderr = other.communicate(timeout=LIMIT)
    assert other.returncode == 0
    assert f"locked by process {holder.pid} " in stderr
    assert "this process now owns it" in stderr


def _holds(house: CliWorkspace, process: subprocess.Popen[str]) -> bool:
    holder = WorkspaceLock.holder(house.folder / "lock")
    return holder is not None and holder.pid == process.pid


def test_run_works_on_what_was_left_and_says_so(house: CliWorkspace) -> None:
    house.value("owner", "approve", house.waiting, "--no-wait")
    with start_process(*house.as_user("admin", "run")) as running:
        wait_until(lambda: house.value("developer", "show", house.waiting)["status"] == "DONE")
        running.send_signal(signal.SIGINT)
        stdout, _ = running.communicate(timeout=LIMIT)
    assert running.returncode == 0
    assert stdout.splitlines()[-1].startswith("Stopped.")


def test_watch_submits_what_is_dropped(house: CliWorkspace, firmware: Path, tmp_path: Path) -> None:
    drop = tmp_path / "drop"
    drop.mkdir()
    (drop / "dropped.bin").write_bytes(firmware.read_bytes())
    with start_process(*house.as_user("developer", "watch", drop, "--device", "gateway", "--submit")) as watching:
        assert watching.stdout is not None
        told = next(line for line in watching.stdout if line.startswith("dropped.bin: created task "))
        watching.send_signal(signal.SIGINT)
        watching.communicate(timeout=LIMIT)
    assert watching.returncode == 0
    (task,) = house.value("developer", "tasks", "--search", "dropped.bin")
    assert (task["id"], task["status"]) == (told.split()[3].rstrip(","), "WAITING")


def test_a_watch_without_a_folder_ends_with_what_is_wrong(house: CliWorkspace, tmp_path: Path) -> None:
    ran = house.run("developer", "watch", tmp_path / "nowhere", "--device", "gateway")
    assert ran.code == 1
    assert "nowhere" in ran.err


def test_a_reader_who_leaves_is_no_trouble(house: CliWorkspace) -> None:
    with start_process(*house.as_user("auditor", "audit", "list", "--json")) as process:
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        _, stderr = process.communicate(timeout=LIMIT)
    assert (process.returncode, stderr) == (141, "")


def test_the_worker_leaves_when_nobody_speaks_to_it(house: CliWorkspace) -> None:
    with start_process("worker") as worker:
        assert worker.wait(LIMIT) is not None
