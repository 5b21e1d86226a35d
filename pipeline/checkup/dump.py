"""Whether dumps of embeddings are whole, and whether they can be searched together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evaluate.dump import Dump, open_shard
from evaluate.dumps.verify import verify
from evaluate.vectors import UNKNOWN_CHECKPOINT
from launch.logs import progress
from pipeline.checkup.sheet import Sheet

AGAIN = "embed again"


def check_dumps(paths: Sequence[str | Path], quick: bool = False) -> list[Sheet]:
    """A sheet for each dump; one that was made by another checkpoint than the first has that as a problem.

    Args:
        quick: the shards' attributes alone, no checksums and no rows.
    """
    sheets = []
    first: Dump | None = None
    for path in paths:
        sheet = Sheet(f"dump {path}")
        sheets.append(sheet)
        with sheet.noting(path, AGAIN):
            dump = Dump(path)
            _check_one(sheet, dump, quick)
            first = first or dump
            if dump.checkpoint != first.checkpoint and UNKNOWN_CHECKPOINT not in (dump.checkpoint, first.checkpoint):
                sheet.problem(
                    f"{path}: made by checkpoint {dump.checkpoint[:12]}, {first.folder} by {first.checkpoint[:12]}; they cannot be searched "
                    "together: embed both with one checkpoint"
                )
    return sheets


def _check_one(sheet: Sheet, dump: Dump, quick: bool) -> None:
    sheet.row("holds", f"{dump.rows:,} rows of {' and '.join(dump.domains)}, width {dump.dim}, {dump.dtype}, recipe {dump.recipe or 'not known'}")
    if quick:
        for shard in progress(dump.shards, what="dump", unit="shard"):
            with sheet.noting(shard.path, AGAIN):
                open_shard(dump, shard).close()
        sheet.row("looked at", f"attributes of {len(dump.shards)} shards")
    else:
        for line in verify(dump.folder).problems:
            sheet.problem(line)
        sheet.row("looked at", f"checksums, rows and ids of {len(dump.shards)} shards")
    failed = sum(shard.failed for shard in dump.shards)
    if failed:
        sheet.problem(
            f"{dump.folder}: {failed:,} items failed and are not searched, listed in failed.jsonl with the reason; mend them and {AGAIN}, "
            "or do without them"
        )
