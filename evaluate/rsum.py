"""R@1, 5, 10 both ways and their sum from two evaluations, of image2text and of text2image.

python -m evaluate.rsum OUT/image2text OUT/text2image [--out OUT/rsum.json]
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluate.judging.image_text import TASKS, Numbers, image_text_numbers, table
from launch.command import CommandParser, run_command
from launch.files import read_json, write_json
from launch.logs import say


def rsum(folders: Sequence[str | Path]) -> Numbers:
    """The numbers out of the metrics.json of two folders, one of each task, in any order.

    Raises ValueError where they are not of both tasks, or not of one checkpoint and one split.
    """
    found: dict[str, dict[str, Any]] = {}
    for folder in folders:
        path = Path(folder) / "metrics.json"
        if not path.is_file():
            raise ValueError(f"{path}: no such file; give the --out folders of two evaluations, of {' and of '.join(TASKS)}")
        metrics = read_json(path)
        found[metrics["task"]] = metrics
    if set(found) != set(TASKS) or len(folders) != len(TASKS):
        raise ValueError(f"{', '.join(map(str, folders))}: evaluations of {', '.join(found)}; wanted one of {' and one of '.join(TASKS)}")
    one, other = (found[task] for task in TASKS)
    for what in ("checkpoint", "split"):
        if one[what] != other[what]:
            raise ValueError(
                f"{' and '.join(map(str, folders))}: evaluations of two {what}s ({one[what][:12]}, {other[what][:12]}); evaluate both alike"
            )
    return image_text_numbers(found)


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and print the numbers."""
    parser = CommandParser("python -m evaluate.rsum", __doc__)
    parser.add_argument("folders", nargs="+", metavar="OUT", help="the --out folders of both evaluations")
    parser.add_argument("--out", metavar="FILE", help="JSON file to write (default: none)")
    given = parser.parse_args(argv)
    numbers = rsum(given.folders)
    if given.out:
        write_json(given.out, numbers)
    say(table({"": numbers}))
    say(json.dumps({name: round(value, 2) for name, value in numbers.items()}))


if __name__ == "__main__":
    run_command(main)
