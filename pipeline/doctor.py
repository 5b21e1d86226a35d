"""Look at this machine and, where wanted, at what a run reads and writes, and say what is wrong and what to do: one screen.

    python -m pipeline.doctor
    python -m pipeline.doctor --path /data/runs --shards SHARDS --checkpoint RUN --dump OUT/dumps/goods --dump OUT/dumps/video

Exit code 0: all is well; 1: something is wrong, a line that begins with `!` for each thing; 2: a flag that is wrong. Nothing is changed.
--quick leaves out checksums and the rows of dumps: a file that was damaged without a change of its size is not seen then. A checkpoint
is loaded all the same.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from launch.command import CommandParser, run_command
from pipeline.checkup.builds import builds
from pipeline.checkup.cards import cards
from pipeline.checkup.checkpoint import check_checkpoint
from pipeline.checkup.dump import check_dumps
from pipeline.checkup.machine import machine
from pipeline.checkup.shard_set import check_shards
from pipeline.checkup.sheet import Sheet
from pipeline.remote.settings import add_cache_arguments, use_cache


def examine(
    path: str | Path, shards: Sequence[str] = (), checkpoints: Sequence[str] = (), dumps: Sequence[str] = (), quick: bool = False
) -> list[Sheet]:
    """All sheets of the screen: builds, cards, machine, then everything that is named.

    Args:
        path: where runs will be written.
        quick: no checksums.
    """
    sheets = [builds(), cards(), machine(path)]
    for folder in shards:
        sheets += check_shards(folder, quick)
    sheets += [check_checkpoint(folder) for folder in checkpoints]
    return sheets + check_dumps(dumps, quick)


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, print the screen. Raises SystemExit with 1 where something is wrong."""
    parser = CommandParser("python -m pipeline.doctor", __doc__)
    parser.add_argument("--path", default=".", help="folder where runs are written, there already or not (default: this one)")
    parser.add_argument(
        "--shards", action="append", default=[], metavar="SHARDS", help="packed split, folder of splits or their address; may be given again"
    )
    parser.add_argument("--checkpoint", action="append", default=[], metavar="RUN", help="run folder or checkpoint; may be given again")
    parser.add_argument("--dump", action="append", default=[], metavar="DUMP", help="folder of a dump; may be given again")
    parser.add_argument("--quick", action="store_true", help="no checksums of shards and dumps")
    add_cache_arguments(parser)
    given = parser.parse_args(argv)
    use_cache(given)
    sheets = examine(given.path, given.shards, given.checkpoint, given.dump, given.quick)
    for sheet in sheets:
        print(*sheet.lines(), sep="\n")
    found = sum(len(sheet.problems) for sheet in sheets)
    print(f"{found} problem{'s' if found > 1 else ''}, the lines with !" if found else "all is well")
    if found:
        sys.exit(1)


if __name__ == "__main__":
    run_command(main)
