"""``sealyard worker invite``, ``enroll`` and ``admit``: connect the crypto hosts of a zone with a workspace."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sealyard.cli.arguments import Commands, add_command, folder, input_path
from sealyard.cli.context import Context, is_interactive, select_folder
from sealyard.cli.exit_codes import ExitCode
from sealyard.cli.output import format_fields
from sealyard.model.errors import ConfirmationRequiredError, InvalidInputError
from sealyard.model.hints import Hint, HintCode
from sealyard.model.safe_text import escape_text
from sealyard.model.workspace import WorkspacePaths

if TYPE_CHECKING:
    from sealyard.client.config.key_holder import KeyHolder
    from sealyard.model.key_holder_messages import KeyStoreLocation
    from sealyard.model.zones import Enrollment

T = TypeVar("T")

BUS_HELP = "connection string of the bus database for crypto hosts, without a password: service=sealyard-bus"


def add_commands(subcommands: Commands) -> None:
    invite_parser = add_command(
        subcommands, "invite", _invite, "Write the enrollment that a crypto host needs to serve the workspace"
    )
    invite_parser.add_argument(
        *("-o", "--out"),
        metavar="FILE",
        type=Path,
        required=True,
        help="new file for the enrollment; - for standard output",
    )
    enroll_parser = add_command(
        subcommands, "enroll", _enroll, "Create the folder of a crypto host, with the keys of its zone"
    )
    enroll_parser.add_argument("folder", metavar="FOLDER", type=folder, help="new folder of the crypto host")
    enroll_parser.add_argument(
        "--enrollment", metavar="FILE", type=input_path, required=True, help="file from `sealyard worker invite`"
    )
    enroll_parser.add_argument("--bus", metavar="DATABASE", required=True, help=BUS_HELP)
    enroll_parser.add_argument(
        "--keys",
        metavar="DIR",
        type=input_path,
        help="copy of the folder keys of another host of the zone; without it, the keys of the zone are created",
    )
    admit_parser = add_command(
        subcommands, "admit", _admit, "Let the crypto hosts of a zone execute the tasks of the workspace"
    )
    admit_parser.add_argument("code", metavar="CODE", help="code of the zone, from `sealyard worker enroll`")
    admit_parser.add_argument(
        "--replace", action="store_true", help="replace the keys of a zone that was admitted before"
    )
    admit_parser.add_argument(
        "--yes", action="store_true", help="admit the zone; without it, only its fingerprint is shown"
    )


# ---- on the server


async def _invite(ctx: Context) -> int:
    from sealyard.engine.admit_zone import build_enrollment
    from sealyard.model.zone_codes import compute_fingerprint, encode_enrollment

    enrollment = await _with_key_holder(ctx, build_enrollment)
    if str(ctx.args.out) == "-":
        ctx.out.document(encode_enrollment(enrollment).decode())
        ctx.out.warn(f"The fingerprint of the enrollment is {compute_fingerprint(enrollment)}.")
        return ExitCode.OK
    _write_new_file(ctx.args.out, encode_enrollment(enrollment))
    fingerprint = compute_fingerprint(enrollment)
    lines = format_fields(
        (
            ("enrollment", escape_text(str(ctx.args.out))),
            ("zone", escape_text(enrollment.zone)),
            ("fingerprint", fingerprint),
        )
    )
    ctx.out.result(
        {"path": str(ctx.args.out), "zone": enrollment.zone, "fingerprint": fingerprint},
        (
            *lines,
            "Copy the file to the crypto host, then run `sealyard worker enroll` there. Compare the fingerprints.",
        ),
    )
    return ExitCode.OK


async def _admit(ctx: Context) -> int:
    from sealyard.model.zone_codes import compute_fingerprint, parse_zone_keys

    keys = parse_zone_keys(ctx.args.code)
    fingerprint = compute_fingerprint(keys)
    if not ctx.args.yes:
        raise ConfirmationRequiredError(
            f"The fingerprint of the zone's keys is {fingerprint}. Hosts with these keys can report results of tasks.",
            Hint.of(HintCode.CONFIRM),
        )

    from sealyard.engine.admit_zone import admit_zone

    async def admit(paths: WorkspacePaths, key_holder: KeyHolder) -> None:
        await admit_zone(paths, keys, key_holder, replace=ctx.args.replace)

    await _with_key_holder(ctx, admit)
    ctx.out.result({"fingerprint": fingerprint}, (f"Admitted the zone with the fingerprint {fingerprint}.",))
    return ExitCode.OK


async def _with_key_holder(ctx: Context, action: Callable[[WorkspacePaths, KeyHolder], Coroutine[None, None, T]]) -> T:
    """Run an action with the key holder of the selected workspace."""
    import os

    from sealyard.client.config.key_holder import forget_passphrases, start_key_holder

    workspace = select_folder(ctx)
    key_holder = start_key_holder(workspace, may_prompt=is_interactive())
    forget_passphrases(os.environ)
    try:
        return await action(WorkspacePaths(workspace.absolute()), key_holder)
    finally:
        key_holder.close()


# ---- on the crypto host


async def _enroll(ctx: Context) -> int:
    import os

    from sealyard.concurrency.clock import SystemClock
    from sealyard.engine.state.open_state import require_postgres_packages
    from sealyard.jobs.key_holder_start import forget_passphrases, open_key_holder
    from sealyard.model.zone_codes import compute_fingerprint, encode_zone_keys, parse_enrollment

    with require_postgres_packages():
        from sealyard.agent.host_folder import create_host

    enrollment = parse_enrollment(_read_file(ctx.args.enrollment))

    def start(location: KeyStoreLocation, enrollment: Enrollment) -> KeyHolder:
        return open_key_holder(location, may_prompt=is_interactive(), enrollment=enrollment)

    identity = await create_host(
        ctx.args.folder,
        enrollment,
        ctx.args.bus,
        start,
        SystemClock().now(),
        copied_keys=ctx.args.keys,
    )
    forget_passphrases(os.environ)
    code, fingerprint = encode_zone_keys(identity.keys), compute_fingerprint(identity.keys)
    enrollment_fingerprint = compute_fingerprint(identity.enrollment)
    lines = format_fields(
        (
            ("crypto host", escape_text(str(ctx.args.folder))),
            ("workspace", f"{escape_text(enrollment.workspace_name)} ({escape_text(enrollment.workspace_id)})"),
            ("zone", escape_text(enrollment.zone)),
            ("enrollment", f"fingerprint {enrollment_fingerprint}, must be that of `sealyard worker invite`"),
            ("zone keys", f"fingerprint {fingerprint}"),
            ("zone code", code),
        )
    )
    ctx.out.result(
        {
            "folder": str(ctx.args.folder),
            "workspace": enrollment.workspace_id,
            "zone": enrollment.zone,
            "enrollmentFingerprint": enrollment_fingerprint,
            "fingerprint": fingerprint,
            "code": code,
        },
        (*lines, *_format_next_step(ctx, code)),
    )
    return ExitCode.OK


def _format_next_step(ctx: Context, code: str) -> tuple[str, ...]:
    run = f"Start the host: sealyard worker run {escape_text(str(ctx.args.folder))}"
    if ctx.args.keys is not None:
        return (run,)
    return (f"Admit the zone on the server: sealyard worker admit {code}", run)


def _read_file(path: Path) -> bytes:
    from sealyard.model.zone_codes import MAX_ENROLLMENT_BYTES

    try:
        with path.open("rb") as file:
            return file.read(MAX_ENROLLMENT_BYTES + 1)
    except OSError as error:
        raise InvalidInputError(
            f"Cannot read {escape_text(str(path))}: {error.strerror}.", "Copy the file from the server again."
        ) from error


def _write_new_file(path: Path, content: bytes) -> None:
    from sealyard.fs.atomic import storage_error, write_all
    from sealyard.model.errors import AlreadyExistsError

    try:
        with path.open("xb") as file:
            write_all(file.fileno(), content)
    except FileExistsError:
        raise AlreadyExistsError(
            f"{escape_text(str(path))} exists already.", "Choose a new file for the enrollment."
        ) from None
    except OSError as error:
        raise storage_error(error, "writing the enrollment") from error
