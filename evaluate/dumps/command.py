"""The command line of `python -m evaluate.dump`: info, verify, export, convert."""

from __future__ import annotations

from pathlib import Path

from evaluate import dump as reader
from evaluate.dumps.convert import convert
from evaluate.dumps.export import export, has_parquet
from evaluate.dumps.info import info
from evaluate.dumps.verify import verify
from evaluate.vectors import UNKNOWN_CHECKPOINT
from launch.command import CommandParser
from launch.logs import say


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and do what it says. Raises ValueError (one line, exit code 2) where `verify` found something."""
    parser = CommandParser("python -m evaluate.dump", reader.__doc__)
    commands = parser.add_subparsers(dest="what", required=True, metavar="info|verify|export|convert")
    for name, what in (("info", "say what a dump is"), ("verify", "look whether it is whole and sound"), ("export", "write it for other programs")):
        commands.add_parser(name, help=what, description=what).add_argument("dump", metavar="DUMP", help="folder of a finished dump")
    exporting = commands.choices["export"]
    exporting.add_argument("--out", required=True, metavar="FOLDER", help="where embeddings.npy, ids.txt and ids.parquet go")
    exporting.add_argument("--domain", help="rows of this domain alone (default: all)")
    exporting.add_argument("--dtype", choices=["float16", "float32"], default="", help="of the array (default: the dump's)")
    what = "make a dump of a .npy or of released text features"
    converting = commands.add_parser("convert", help=what, description=what)
    converting.add_argument("source", metavar="FILE", help=".npy [N, D], or a text file of `id TAB comma-separated floats`")
    converting.add_argument("--out", required=True, metavar="DUMP", help="folder of the dump to be")
    converting.add_argument("--domain", required=True, help="what its items are: goods, video, ...; letters, digits, _ . -")
    converting.add_argument("--ids", metavar="FILE", help="id list of a .npy: .txt, an id a line, or .json (default: the one beside it)")
    converting.add_argument("--labels", metavar="FILE", help="JSON lines with `id` and `labels`, e.g. a catalog.jsonl")
    converting.add_argument(
        "--dtype", choices=["float16", "float32"], default="float32", help="of the embeddings (default: %(default)s, as they are)"
    )
    converting.add_argument("--checkpoint", default=UNKNOWN_CHECKPOINT, metavar="NAME", help="what made them; two names are not searched together")
    given = parser.parse_args(argv)
    if given.what == "info":
        for line in info(given.dump):
            say(line)
    elif given.what == "verify":
        _verify(given.dump)
    elif given.what == "export":
        for path in export(reader.Dump(given.dump), given.out, given.domain, given.dtype):
            say(str(path))
        if not has_parquet():
            say("ids.parquet was left out: it needs pyarrow (pip install -e .[parquet]); ids.txt holds the same ids")
    else:
        convert(given.source, given.out, given.domain, given.ids, given.labels, given.dtype, given.checkpoint)


def _verify(folder: str | Path) -> None:
    findings = verify(folder)
    for problem in findings.problems:
        say(problem)
    if findings.problems:
        raise ValueError(f"{folder}: {len(findings.problems)} {'problems' if len(findings.problems) > 1 else 'problem'}, listed above")
    say(f"{folder}: {findings.rows:,} rows, all whole; {findings.lengths}")
