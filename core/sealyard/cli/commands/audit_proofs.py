"""``sealyard audit prove``, ``key`` and ``verify --proof``: proofs that can be verified without the log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from sealyard.audit.checkpoint import key_fingerprint, parse_note
from sealyard.audit.proof import MAX_PROOF_LENGTH, ConsistencyProof, InclusionProof, parse_proof
from sealyard.audit.reader import AuditReader
from sealyard.cli.arguments import Commands, add_command
from sealyard.cli.commands.audit_database import add_database_options, open_audit
from sealyard.cli.context import Context
from sealyard.cli.exit_codes import ExitCode
from sealyard.cli.output import format_fields
from sealyard.client.config.workspaces import has_database
from sealyard.fs.private import write_private_file
from sealyard.model.audit import AuditEntry, Checkpoint
from sealyard.model.errors import InvalidInputError, UsageError
from sealyard.model.formatting import format_time
from sealyard.model.safe_text import escape_text
from sealyard.model.workspace import WorkspacePaths


def add_proof_commands(subcommands: Commands) -> None:
    parser = add_command(
        subcommands, "prove", _prove, "Prove that a checkpoint covers an entry, or that it extends an older one"
    )
    parser.add_argument("seq", metavar="SEQ", type=int, nargs="?", help="number of the entry to prove")
    parser.add_argument(
        "--from",
        dest="old_size",
        metavar="SIZE",
        type=int,
        help="size of the older checkpoint that was stored elsewhere",
    )
    parser.add_argument(
        "--to", dest="new_size", metavar="SIZE", type=int, help="size of the newer checkpoint; by default the last one"
    )
    parser.add_argument("--out", metavar="FILE", type=Path, help="new file; by default standard output")

    key_parser = add_command(subcommands, "key", _key, "Print the public key that verifies checkpoints and proofs")
    key_parser.add_argument("--out", metavar="FILE", type=Path, help="new file; by default standard output")
    for proof_parser in (parser, key_parser):
        add_database_options(proof_parser)


async def _prove(ctx: Context) -> int:
    args = ctx.args
    if (args.seq is None) == (args.old_size is None):
        raise UsageError("Pass either the number of an entry or --from.", "See `sealyard audit prove --help`.")
    if args.new_size is not None and args.old_size is None:
        raise UsageError("--to requires --from.", "See `sealyard audit prove --help`.")
    async with open_audit(ctx) as client:
        if args.seq is not None:
            text = await client.prove_audit_entry(args.seq)
        else:
            text = await client.prove_audit_consistency(args.old_size, args.new_size)
    _print_document(ctx, text, _describe(parse_proof(text)))
    return ExitCode.OK


async def _key(ctx: Context) -> int:
    async with open_audit(ctx) as client:
        text = await client.audit_key()
    _print_document(ctx, text, {"publicKey": text, "fingerprint": key_fingerprint(text.encode())})
    return ExitCode.OK


def _print_document(ctx: Context, text: str, value: dict[str, Any]) -> None:
    """Write ``text`` to the file of ``--out``, or to standard output; with ``--json``, print ``value``."""
    path = ctx.args.out
    if path is not None:
        write_private_file(path, text.encode())
        ctx.out.result({**value, "path": str(path)}, (f"Written to {path}.",))
    elif ctx.out.as_json:
        ctx.out.result(value, ())
    else:
        ctx.out.document(text)


def _describe(proof: InclusionProof | ConsistencyProof) -> dict[str, Any]:
    checkpoint, _ = parse_note(proof.note)
    positions = {"seq": proof.seq} if isinstance(proof, InclusionProof) else {"oldSize": proof.old_size}
    return {
        "kind": "inclusion" if isinstance(proof, InclusionProof) else "consistency",
        **positions,
        **msgspec.to_builtins(checkpoint),
        "hashes": [each.hex() for each in proof.hashes],
        "proof": proof.format(),
    }


async def verify_proof(ctx: Context, checkpoint: str | None) -> int:
    """Verify the proof in the file of ``--proof``, without the log, and print what it proves.

    ``checkpoint`` is the signed note of ``--checkpoint``. Raises :class:`AuditVerificationError` if the proof is wrong,
    and :class:`UsageError` if the key or the older checkpoint of a consistency proof is not given.
    """
    proof = parse_proof(read_text(ctx.args.proof, "proof"))
    public_key, key_source = await _load_key(ctx)
    if isinstance(proof, InclusionProof):
        if checkpoint is not None:
            raise UsageError(
                "An inclusion proof contains its checkpoint; it is not compared with --checkpoint.",
                "Compare the checkpoints with a consistency proof.",
            )
        new_checkpoint, entry = proof.verify(public_key)
        rows = _inclusion_rows(entry, new_checkpoint)
        value: dict[str, Any] = {"entry": msgspec.to_builtins(entry)}
    else:
        if checkpoint is None:
            raise UsageError(
                f"A consistency proof is verified with the checkpoint of size {proof.old_size} that was kept.",
                "Pass it with --checkpoint FILE.",
            )
        old_checkpoint, new_checkpoint = proof.verify(public_key, checkpoint)
        rows = _consistency_rows(old_checkpoint, new_checkpoint)
        value = {"oldCheckpoint": msgspec.to_builtins(old_checkpoint)}
    fingerprint = key_fingerprint(public_key)
    rows += [("root", new_checkpoint.root), ("audit key", f"{fingerprint}, from {key_source}")]
    value |= {"checkpoint": msgspec.to_builtins(new_checkpoint), "keyFingerprint": fingerprint, "key": key_source}
    ctx.out.result(value, _format_report(proof, rows))
    return ExitCode.OK


def _format_report(proof: InclusionProof | ConsistencyProof, rows: list[tuple[str, object]]) -> Iterator[str]:
    kind = "inclusion" if isinstance(proof, InclusionProof) else "consistency"
    yield from format_fields([("proof", f"{kind}, verified"), *rows])


def _inclusion_rows(entry: AuditEntry, checkpoint: Checkpoint) -> list[tuple[str, object]]:
    return [
        ("audit log", checkpoint.origin),
        ("checkpoint", f"of size {checkpoint.size}, covers entry {entry.seq}"),
        ("time", format_time(entry.timestamp)),
        ("author", entry.author),
        ("change", entry.change),
        ("resource", entry.resource),
        ("message", entry.message),
    ]


def _consistency_rows(old_checkpoint: Checkpoint, checkpoint: Checkpoint) -> list[tuple[str, object]]:
    return [
        ("audit log", checkpoint.origin),
        ("checkpoint", f"of size {checkpoint.size}, extends the kept one of size {old_checkpoint.size}"),
    ]


async def _load_key(ctx: Context) -> tuple[bytes, str]:
    """Return the audit key (PEM) and where it comes from: the file of ``--key``, else the selected workspace."""
    path = ctx.args.key
    if path is not None:
        return read_text(path, "audit key").encode(), escape_text(str(path))
    if ctx.args.database is None and ctx.profile.server:
        raise UsageError("A proof is verified with the audit key.", "Pass it with --key FILE: `sealyard audit key`.")
    if ctx.args.database is None and not has_database(ctx.folder):
        return AuditReader(WorkspacePaths(ctx.folder).audit).read_public_key(), "the workspace folder"
    async with open_audit(ctx) as client:
        return (await client.audit_key()).encode(), "the database"


def read_text(path: Path, name: str) -> str:
    """Return the text of a file that was stored elsewhere. Raises :class:`InvalidInputError` if it cannot be read."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return file.read(MAX_PROOF_LENGTH + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"Cannot read the {name} {escape_text(str(path))}.", "Check the path and its permissions."
        ) from error
